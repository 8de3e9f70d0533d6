//! The full guest under plain QEMU, asked by its own agent: it boots, writes, is frozen after its
//! hook has let the ledger end its transaction, and a copy of its disk taken then needs no
//! recovery, while one taken of the running guest does.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside what clippy takes for a test")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use farshore_guest::{GuestImage, build_debian, default_out_dir};

const PATIENCE: Duration = Duration::from_secs(180);

/// A guest that runs until this is dropped.
struct Running {
    child: Child,
    console: PathBuf,
    agent: PathBuf,
}

impl Running {
    fn start(image: &GuestImage, dir: &Path) -> Running {
        let (console, agent) = (dir.join("console"), dir.join("agent.sock"));
        let drive = |path: &Path| format!("file={},if=virtio,discard=unmap", path.display());
        let child = Command::new("qemu-system-x86_64")
            .args(["-machine", "pc", "-accel", "tcg", "-m", "256", "-nodefaults", "-display", "none"])
            .args(["-monitor", "none", "-serial", &format!("file:{}", console.display())])
            .args(["-drive", &drive(&image.disk1), "-drive", &drive(&image.disk2)])
            .args(["-chardev", &format!("socket,id=ga,path={},server=on,wait=off", agent.display())])
            .args(["-device", "virtio-serial"])
            .args(["-device", "virtserialport,chardev=ga,name=org.qemu.guest_agent.0"])
            .stdin(Stdio::null())
            .spawn();
        Running { child: child.expect("QEMU is installed"), console, agent }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// The newest transaction that the guest has told of.
    fn written(&self) -> Option<u64> {
        self.said()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("FARSHORE-LEDGER n=")?.trim().parse().ok())
    }

    fn until_it_writes(&self) -> u64 {
        let (begun, before) = (Instant::now(), self.written());
        while self.written() <= before {
            assert!(begun.elapsed() < PATIENCE, "it does not write; the console says:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.written().unwrap()
    }

    fn ask(&self, command: &str) -> String {
        let begun = Instant::now();
        loop {
            let mut line = UnixStream::connect(&self.agent).unwrap();
            line.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            writeln!(line, "{{\"execute\":\"{command}\"}}").unwrap();
            let mut answer = String::new();
            if BufReader::new(line).read_line(&mut answer).is_ok_and(|read| read > 0) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer to {command}:\n{}", self.said());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `debugfs` reads of a file of the data disk.
fn file_of(disk: &Path, name: &str) -> String {
    let output = Command::new("/sbin/debugfs").args(["-R", &format!("cat /{name}")]).arg(disk).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

fn needs_recovery(disk: &Path) -> bool {
    let output = Command::new("/sbin/dumpe2fs").arg("-h").arg(disk).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("needs_recovery")
}

/// The data disk as it is now, raw.
fn copy(image: &GuestImage, to: &Path) {
    let convert =
        Command::new("qemu-img").args(["convert", "-U", "-O", "raw"]).arg(&image.disk2).arg(to).status();
    assert!(convert.unwrap().success());
}

#[test]
fn a_frozen_guest_has_ended_its_transaction_and_its_disk_needs_no_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let image = build_debian(&default_out_dir()).unwrap().copy_to(dir.path()).unwrap();
    eprintln!("built in {:?}", begun.elapsed());
    let (begun, guest) = (Instant::now(), Running::start(&image, dir.path()));
    guest.until_it_writes();
    eprintln!("writes after {:?}", begun.elapsed());
    let (running, frozen) = (dir.path().join("running"), dir.path().join("frozen"));
    copy(&image, &running);
    assert!(needs_recovery(&running), "of a running guest");
    std::thread::sleep(Duration::from_secs(3));

    let begun = Instant::now();
    let answer = guest.ask("guest-fsfreeze-freeze");
    eprintln!("frozen in {:?}: {answer}", begun.elapsed());
    assert!(answer.contains("\"return\": 2"), "root and data: {answer}");
    let at = guest.written();
    std::thread::sleep(Duration::from_secs(1));
    copy(&image, &frozen);
    assert_eq!(guest.written(), at, "it stands still");
    let answer = guest.ask("guest-fsfreeze-thaw");
    assert!(answer.contains("\"return\": 2"), "{answer}");
    guest.until_it_writes();

    assert!(!needs_recovery(&frozen), "of a frozen guest");
    let hook = file_of(&frozen, "hook");
    let last = hook.lines().next_back().and_then(|line| line.strip_prefix("freeze ")).expect("its trace");
    assert!(file_of(&frozen, "ledger").ends_with(&format!("{last} done\n")), "all that was done is there");
    assert_eq!(file_of(&frozen, "open"), "", "and nothing half done");
}
