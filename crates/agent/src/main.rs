//! The `farshore-agent` program.

use std::process::ExitCode;

/// Buffers of a megabyte come and go on many threads here. The system's allocator gives
/// them back each time, and the page faults of getting them again cost as much as encrypting.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Of a huge page, whatever part is used counts and is cleared as a whole; here buffers are
    // used again, and each of many threads has a few. Machines that it starts have them (see
    // the hypervisor). Where it cannot be had, all works on.
    nix::sys::prctl::set_thp_disable(true).ok();
    farshore_agent::cli::main()
}
