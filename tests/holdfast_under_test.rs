//! The product, built for the tests; see `api::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    api::cli::main()
}
