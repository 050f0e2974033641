//! The product, built for the tests; see `holdfast::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::cli::main()
}
