//! The `farshore-agent` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    farshore_agent::cli::main()
}
