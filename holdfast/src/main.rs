//! The program; see [`holdfast::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Requests are read on one thread, handled on another, and freed on either. Measured in
/// docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    holdfast::cli::main()
}
