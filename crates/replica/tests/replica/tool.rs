//! Stock tools as judges, each ended by a deadline or with the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use farshore_sim::{MemoryFiles, ModelDisk};

/// Longest that any tool may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A child that does not outlive the test.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a tool to its end and returns what it said; its output goes to files, never to
/// pipes that could outlive it.
pub(crate) fn run(dir: &Path, tool: &str, args: &[&str]) -> (bool, String) {
    let said = dir.join("said");
    let out = fs::File::create(&said).unwrap();
    let mut command = Command::new(tool);
    command.args(args).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = Tool(command.spawn().unwrap());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < DEADLINE, "{tool} {args:?} takes too long");
        std::thread::sleep(Duration::from_millis(2));
    };
    (status.success(), fs::read_to_string(said).unwrap())
}

/// Writes a tree in memory to real files.
pub(crate) fn write_out(files: &MemoryFiles, from: &Path, to: &Path) {
    for path in files.paths() {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, files.content(&path).unwrap()).unwrap();
    }
}

/// `qemu-img check` finds nothing in any image of a directory.
pub(crate) fn check_images(dir: &Path) {
    for disk in ["vda", "vdb"] {
        let image = dir.join(format!("{disk}.qcow2")).display().to_string();
        let (fine, said) = run(dir, "qemu-img", &["check", &image]);
        assert!(fine && said.contains("No errors were found"), "{image}: {said}");
    }
}

/// A published point of a disk, read by stock tools, equals the model.
pub(crate) fn compare(dir: &Path, disk: &str, point: &str, model: &ModelDisk, size: u64) {
    let image = dir.join(format!("{disk}.qcow2")).display().to_string();
    let raw = dir.join("point.raw");
    let out = raw.display().to_string();
    let (fine, said) = run(dir, "qemu-img", &["convert", "-U", "-l", point, "-O", "raw", &image, &out]);
    assert!(fine, "{image}, {point}: {said}");
    let read = fs::read(raw).unwrap();
    // Stock `convert` shows a point as far as the active tables reach.
    let len = read.len().min(usize::try_from(size).unwrap());
    assert!(read[..len] == model.bytes(size)[..len], "{image}: point {point} differs by stock tools");
}

/// A block device over a file, until dropped.
pub(crate) struct LoopDevice(pub(crate) PathBuf);

impl LoopDevice {
    /// None where this system gives us none.
    pub(crate) fn of(file: &Path) -> Option<LoopDevice> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        made.status.success().then(|| LoopDevice(name.into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("--detach").arg(&self.0).status());
    }
}
