//! A process that does without huge pages for itself (as the agent does) hands that on to all
//! that it starts, and an embedded libvirt starts machines from this process: a guest without
//! huge pages is slower. So while a machine is started, the process is as the system made it.
//! This module must never know what is started.

use std::sync::{Mutex, PoisonError};

use nix::sys::prctl::{get_thp_disable, set_thp_disable};

/// Starts under way, and whether the first of them found huge pages switched off.
static UNDER_WAY: Mutex<(usize, bool)> = Mutex::new((0, false));

/// Does `start` while what it starts may have huge pages.
pub(super) fn allowed<T>(start: impl FnOnce() -> T) -> T {
    let _given_back = Allowed::begin();
    start()
}

/// Gives the process its own way back when dropped, also by a panic.
struct Allowed;

impl Allowed {
    fn begin() -> Allowed {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.0 == 0 {
            // Where the system does not say, there is nothing to switch.
            under_way.1 = get_thp_disable().unwrap_or(false);
            switch_off(&under_way, false);
        }
        under_way.0 += 1;
        Allowed
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.0 -= 1;
        if under_way.0 == 0 {
            switch_off(&under_way, true);
        }
    }
}

fn switch_off((_, was_off): &(usize, bool), off: bool) {
    if *was_off && let Err(error) = set_thp_disable(off) {
        tracing::warn!(%error, "huge pages cannot be switched");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a process started now is allowed.
    fn child_may() -> bool {
        let out = Command::new("cat").arg("/proc/self/status").output().unwrap();
        let status = String::from_utf8(out.stdout).unwrap();
        status.lines().find(|line| line.starts_with("THP_enabled:")).unwrap().contains('1')
    }

    #[test]
    fn what_is_started_may_have_huge_pages_though_this_process_does_without() {
        assert!(allowed(child_may));
        set_thp_disable(true).unwrap();
        assert!(!child_may(), "else there would be nothing to see to");
        assert!(allowed(child_may));
        assert!(allowed(|| allowed(child_may) && child_may()), "two starts at once");
        assert!(get_thp_disable().unwrap(), "it goes on as it was");
        set_thp_disable(false).unwrap();
    }
}
