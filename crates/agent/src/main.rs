//! The `farshore-agent` program.

use std::process::ExitCode;

/// Buffers of a megabyte come and go on many threads here. The system's allocator gives
/// them back each time, and the page faults of getting them again cost as much as encrypting.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    farshore_agent::cli::main()
}
