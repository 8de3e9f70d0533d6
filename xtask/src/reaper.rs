//! Somebody above everything that a chore starts, who buries orphans at once. An emulator is
//! nobody's child: libvirt hands it to the system's first process, and when a machine is stopped
//! waits until that has taken note of its end. A real host's does at once; that of a container or
//! a small virtual machine may look once a second only, which is then what every stop of a machine
//! seems to take. This module must never know what the chore is.

use std::process::{Command, ExitCode};

use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        signal::{SigSet, Signal},
        wait::{WaitStatus, wait},
    },
};

/// Set below the reaper.
const BELOW: &str = "FARSHORE_BELOW_REAPER";

/// Runs this program once more below a reaper, and gives what came of it; none: this is already
/// below one, or there can be none, which only costs time.
pub(crate) fn above() -> Option<ExitCode> {
    if std::env::var_os(BELOW).is_some() {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    set_child_subreaper(true).ok()?;
    let child = Command::new(program).args(std::env::args_os().skip(1)).env(BELOW, "1").spawn().ok()?;
    // Whoever is below ends in good order by itself; this one only waits for that.
    let mut theirs = SigSet::empty();
    theirs.add(Signal::SIGINT);
    let _ = theirs.thread_block();
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw().cast_unsigned() == child.id() => {
                return Some(ExitCode::from(u8::try_from(code).unwrap_or(1)));
            }
            Ok(WaitStatus::Signaled(pid, ..)) if pid.as_raw().cast_unsigned() == child.id() => {
                return Some(ExitCode::FAILURE);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Some(ExitCode::FAILURE),
        }
    }
}
