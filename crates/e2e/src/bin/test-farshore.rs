//! The program `farshore` as the tests run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    farshore::cli::main()
}
