//! Takes the place of init for what the hosts of this process leave behind.
//!
//! Libvirt holds a machine for stopped once its QEMU cannot be signalled any more, which is when
//! somebody has asked how it ended. QEMU is nobody's child, so that is process 1: a real one does
//! it at once, one of a container or of a small virtual machine every few seconds or never, and
//! each stop of a machine takes as long. This process asks instead. It must never ask for its own
//! children: whoever started those waits for them.

use std::{fs, str::FromStr, sync::Once, thread, time::Duration};

use nix::{
    sys::{
        prctl::set_child_subreaper,
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{Pid, getpid},
};

/// What libvirt leaves to run by itself; nothing of the test side starts one of these.
const DAEMONS: [&str; 3] = ["qemu-system", "swtpm", "dnsmasq"];

/// How long a child of our own that ended may keep this from sleeping, and so the longest that
/// an orphan waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Adopts, from now on, what the agents of this process leave behind. Where the system does not
/// let it, process 1 goes on doing that.
pub fn adopt() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if set_child_subreaper(true).is_ok() {
            thread::spawn(ask_for_ever);
        }
    });
}

fn ask_for_ever() {
    let own = getpid();
    loop {
        // Only looks: an answer that was taken would be missing to whoever started that child.
        // An error is that there is no child.
        let _ = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        for orphan in ended_daemons(own) {
            let _ = waitid(Id::Pid(orphan), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
        thread::sleep(PAUSE);
    }
}

/// Daemons that ended as children of this process.
fn ended_daemons(own: Pid) -> Vec<Pid> {
    processes::<i32>()
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            is_ended_daemon(&stat, own)
        })
        .map(Pid::from_raw)
        .collect()
}

/// The ids of all processes.
pub(crate) fn processes<Id: FromStr>() -> impl Iterator<Item = Id> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// By proc_pid_stat(5): `pid (comm) state ppid …`, where `comm` may hold anything.
fn is_ended_daemon(stat: &str, own: Pid) -> bool {
    let Some((front, rest)) = stat.rsplit_once(')') else { return false };
    let Some((_, name)) = front.split_once('(') else { return false };
    let mut rest = rest.split_ascii_whitespace();
    let ended = rest.next() == Some("Z");
    let ours = rest.next().and_then(|parent| parent.parse().ok()) == Some(own.as_raw());
    ended && ours && DAEMONS.iter().any(|daemon| name.starts_with(daemon))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ended_daemons_of_our_own_are_asked_for() {
        let own = Pid::from_raw(7);
        assert!(is_ended_daemon("12 (qemu-system-x86) Z 7 12 12", own));
        assert!(is_ended_daemon("12 (swtpm) Z 7 12 12", own));
        for other in [
            "12 (qemu-system-x86) S 7 12 12",
            "12 (qemu-system-x86) Z 1 12 12",
            "12 (farshore-agent) Z 7 12 12",
            "12 (a) Z 7 (qemu-system) S 7 12 12",
            "",
        ] {
            assert!(!is_ended_daemon(other, own), "{other}");
        }
    }
}
