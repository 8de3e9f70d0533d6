//! Where things are measured: directories, content of real files, the other tools.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use farshore_e2e::host::{Outcome, TestHost, make_authority, run};

use crate::Arguments;

/// Bytes of real files on the disk that is copied.
const CONTENT: u64 = 1 << 30;
/// Where real files are found on every Linux machine, in this order.
const SOURCES: [&str; 3] = ["/usr", "/opt", "/var/lib"];

/// The place of all measurements.
pub(crate) struct Lab {
    pub(crate) arguments: Arguments,
    pub(crate) dir: PathBuf,
    pub(crate) agent: PathBuf,
}

impl Lab {
    pub(crate) fn new(arguments: Arguments) -> Outcome<Lab> {
        let made = fs::create_dir_all(&arguments.dir).and_then(|()| arguments.dir.canonicalize());
        let dir = made.map_err(|e| format!("making {}: {e}", arguments.dir.display()))?;
        let agent = arguments.agent.canonicalize().map_err(|e| format!("finding the agent: {e}"))?;
        Ok(Lab { arguments, dir, agent })
    }

    /// The program of vault, site servers and operators: it is beside the agent's.
    pub(crate) fn farshore(&self) -> PathBuf {
        self.agent.with_file_name("farshore")
    }

    /// Two hosts of their own; the target's agent runs. Everything goes with the directory.
    pub(crate) fn pair(&self) -> Outcome<Pair> {
        let dir = tempfile::Builder::new().prefix("pair-").tempdir_in(&self.dir).map_err(text)?;
        let ca = make_authority(&self.agent, dir.path())?;
        let home = TestHost::new(&self.agent, dir.path(), "home", &ca)?;
        let mut away = TestHost::new(&self.agent, dir.path(), "away", &ca)?;
        away.start_agent()?;
        Ok(Pair { home, away, _dir: dir })
    }

    /// A qcow2 disk of 4 GiB with about 1 GiB of this machine's own files in a file system.
    /// Made once.
    pub(crate) fn disk_of_files(&self) -> Outcome<PathBuf> {
        let disk = self.dir.join("files.qcow2");
        if disk.exists() {
            return Ok(disk);
        }
        println!("    making a disk of real files");
        let (tree, raw) = (self.dir.join("tree"), self.dir.join("files.raw"));
        let _ = fs::remove_dir_all(&tree);
        let mut left = CONTENT;
        for source in SOURCES {
            gather(Path::new(source), &tree, &mut left).map_err(text)?;
        }
        let file = fs::File::create(&raw).map_err(text)?;
        file.set_len(4 << 30).map_err(text)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).args([&tree, &raw]))?;
        let new = self.dir.join("files.new");
        run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).args([&raw, &new]))?;
        for gone in [fs::remove_dir_all(&tree), fs::remove_file(&raw), fs::rename(&new, &disk)] {
            gone.map_err(text)?;
        }
        Ok(disk)
    }

    /// Files of `len` bytes each with content of real files, no two alike; made once.
    pub(crate) fn pieces(&self, len: u64, count: usize) -> Outcome<Vec<PathBuf>> {
        let dir = self.dir.join(format!("pieces-{len}"));
        let names: Vec<PathBuf> = (0..count).map(|n| dir.join(n.to_string())).collect();
        // Made in order: where the last one is whole, all are.
        let whole = |path: &PathBuf| fs::metadata(path).is_ok_and(|m| m.len() == len);
        if names.last().is_some_and(whole) {
            return Ok(names);
        }
        fs::create_dir_all(&dir).map_err(text)?;
        let (disk, flat) = (self.disk_of_files()?, self.dir.join("pieces.raw"));
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).args([&disk, &flat]))?;
        let mut raw = fs::File::open(&flat).map_err(text)?;
        let len = usize::try_from(len).map_err(text)?;
        let (mut piece, mut made) = (vec![0; len], Vec::new());
        while made.len() < count {
            raw.read_exact(&mut piece).map_err(|e| format!("the disk of files is too small: {e}"))?;
            // Half empty pieces are of metadata, and of no interest.
            if piece.iter().filter(|b| **b != 0).count() < len / 2 {
                continue;
            }
            let path = dir.join(made.len().to_string());
            fs::File::create(&path).and_then(|mut f| f.write_all(&piece)).map_err(text)?;
            made.push(path);
        }
        fs::remove_file(&flat).map_err(text)?;
        Ok(made)
    }
}

/// Two hosts.
pub(crate) struct Pair {
    pub(crate) home: TestHost,
    pub(crate) away: TestHost,
    _dir: tempfile::TempDir,
}

impl Pair {
    /// Waits until both agents have done what they do at their start.
    pub(crate) fn settle(&self) -> Outcome<()> {
        self.home.settle()?;
        self.away.settle()
    }
}

/// Copies of files under `from`, until `left` bytes are there.
fn gather(from: &Path, to: &Path, left: &mut u64) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if *left == 0 {
            break;
        }
        let Ok(kind) = entry.file_type() else { continue };
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            gather(&entry.path(), &target, left)?;
        } else if kind.is_file() {
            let len = entry.metadata().map_or(0, |m| m.len());
            if len <= *left && fs::copy(entry.path(), &target).is_ok() {
                *left -= len;
            }
        }
    }
    Ok(())
}

/// What something took: time on the clock, and time that all processors of the machine
/// were busy meanwhile, whoever kept them so.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) busy: Duration,
}

/// Runs something and tells what it took.
pub(crate) fn timed<T>(what: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Cost)> {
    let (begun, busy) = (Instant::now(), busy()?);
    let done = what()?;
    let wall = begun.elapsed();
    Ok((done, Cost { wall, busy: self::busy()?.saturating_sub(busy) }))
}

/// Time that the machine's processors have been busy, in the kernel's ticks of 10 ms.
fn busy() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/stat").map_err(text)?;
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .map_or(Vec::new(), |l| l.split_whitespace().filter_map(|n| n.parse().ok()).collect());
    // Fields: user, nice, system, idle, waiting for disks, interrupts (two), stolen.
    let busy =
        ticks.iter().enumerate().filter(|(n, _)| *n < 7 && *n != 3 && *n != 4).map(|(_, t)| t).sum::<u64>();
    Ok(Duration::from_millis(busy * 10))
}

/// One of the pieces, by any number.
pub(crate) fn pick(pieces: &[PathBuf], number: u64) -> &Path {
    &pieces[usize::try_from(number % pieces.len() as u64).unwrap_or(0)]
}

/// An error in words.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Bytes that a process made the kernel write to disks.
pub(crate) fn written_by(pid: u32) -> Outcome<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).map_err(text)?;
    field(&io, "write_bytes:")
}

/// The most memory that a process ever had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(text)?;
    Ok(field(&status, "VmHWM:")? * 1024)
}

/// Memory of a process that is resident now, in bytes.
pub(crate) fn memory(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(text)?;
    Ok(field(&status, "VmRSS:")? * 1024)
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Outcome<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).map_err(text)?.count())
}

fn field(text: &str, name: &str) -> Outcome<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.split_whitespace().next());
    value.and_then(|v| v.parse().ok()).ok_or_else(|| format!("the kernel does not say {name}"))
}
