//! The program; see [`holdfast::cli`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Requests are taken on one thread, answered on another, and freed on either: measured in docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    holdfast::cli::main()
}
