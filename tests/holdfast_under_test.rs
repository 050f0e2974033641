//! The product's `main`, built with the tests; see `holdfast::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast::cli::main()
}
