//! The product's `main`, built with the tests; see `api::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    api::cli::main()
}
