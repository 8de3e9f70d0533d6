//! Putting the guest together, once per content: the same parts give the same folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::boot_disk::{self, GRUB_COMMANDS, Root};
use crate::command::{output_of, program};
use crate::error::GuestError;
use crate::initramfs;
use crate::ledger_program;
use crate::packages::Parts;

/// Virtual size in bytes of the first disk: loader, kernel, root, and room for the load.
pub const BOOT_DISK_BYTES: u64 = 192 << 20;

/// Virtual size in bytes of the second disk: a ring of 16,384 records.
pub const LEDGER_DISK_BYTES: u64 = 64 << 20;

/// Raised when the way of building changes in a way that the hashed parts do not show.
const RECIPE_VERSION: u32 = 1;

/// Goes from the drivers to the ledger.
const HAND_OVER: &str = "exec $b switch_root /sysroot /sbin/farshore-ledger";

/// The guest's disks as built, both qcow2. They are shared: copy them before a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage {
    /// Boots; holds the root file system.
    pub disk1: PathBuf,
    /// The ledger's, empty.
    pub disk2: PathBuf,
}

impl GuestImage {
    /// Copies both disks into `dir` as `vda.qcow2` and `vdb.qcow2`.
    ///
    /// # Errors
    /// When `dir` cannot be made or written.
    pub fn copy_to(&self, dir: &Path) -> Result<GuestImage, GuestError> {
        fs::create_dir_all(dir).map_err(GuestError::file("create", dir))?;
        let copy = GuestImage { disk1: dir.join("vda.qcow2"), disk2: dir.join("vdb.qcow2") };
        for (from, to) in [(&self.disk1, &copy.disk1), (&self.disk2, &copy.disk2)] {
            fs::copy(from, to).map_err(GuestError::file("copy to", to))?;
        }
        Ok(copy)
    }
}

/// Where the project builds its guest: `target/guest` in the workspace.
#[must_use]
pub fn default_out_dir() -> PathBuf {
    workspace().join("target/guest")
}

/// The folder of the project, two above this crate's.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Builds the guest under `out_dir`, or finds it there. Several may ask at once: one builds.
///
/// # Errors
/// When a package cannot be had, a program is missing or fails, or a file cannot be written.
pub fn build(out_dir: &Path) -> Result<GuestImage, GuestError> {
    // Held until this function returns.
    let _lock = lock(out_dir)?;
    let parts = Parts::in_dir(&out_dir.join("packages"))?;
    let ledger = ledger_program::build(&out_dir.join("build"))?;
    let initramfs = initramfs::archive(&parts, HAND_OVER)?;
    let contents = Root::Files { kernel: &parts.kernel, initramfs: &initramfs, program: &ledger };
    let dir = out_dir.join(format!("image-{}", key_of(&parts.kernel, &initramfs, &ledger)?));
    if !dir.exists() {
        in_place(&dir, out_dir, |work, done| make(work, done, contents))?;
    }
    Ok(GuestImage { disk1: dir.join("disk1.qcow2"), disk2: dir.join("disk2.qcow2") })
}

/// Names what is built by all that goes into it.
fn key_of(kernel: &Path, initramfs: &[u8], ledger: &Path) -> Result<String, GuestError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&RECIPE_VERSION.to_le_bytes());
    hasher.update(&BOOT_DISK_BYTES.to_le_bytes()).update(&LEDGER_DISK_BYTES.to_le_bytes());
    hasher.update(GRUB_COMMANDS.as_bytes());
    for path in [kernel, ledger] {
        let bytes = fs::read(path).map_err(GuestError::file("read", path))?;
        hasher.update(blake3::hash(&bytes).as_bytes());
    }
    hasher.update(initramfs);
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Keeps others from building under `out_dir` until it is dropped.
pub(crate) fn lock(out_dir: &Path) -> Result<File, GuestError> {
    fs::create_dir_all(out_dir).map_err(GuestError::file("create", out_dir))?;
    let lock = out_dir.join("lock");
    File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(GuestError::file("lock", &lock))
}

/// Lets `make` make a folder's content, beside its place and with a folder for what comes
/// between, and moves it there whole.
pub(crate) fn in_place(
    dir: &Path,
    out_dir: &Path,
    make: impl FnOnce(&Path, &Path) -> Result<(), GuestError>,
) -> Result<(), GuestError> {
    let work = tempfile::tempdir_in(out_dir).map_err(GuestError::file("create a folder in", out_dir))?;
    let done = work.path().join("done");
    fs::create_dir(&done).map_err(GuestError::file("create", &done))?;
    make(work.path(), &done)?;
    fs::rename(&done, dir).map_err(GuestError::file("move into place", dir))
}

/// Makes both disks in `done`.
fn make(work: &Path, done: &Path, root: Root<'_>) -> Result<(), GuestError> {
    tracing::info!("building the demo guest");
    let raw = work.join("disk1.raw");
    boot_disk::write(&raw, BOOT_DISK_BYTES, root, work)?;
    let (disk1, disk2) = (done.join("disk1.qcow2"), done.join("disk2.qcow2"));
    output_of(program("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(disk1))?;
    let bytes = LEDGER_DISK_BYTES.to_string();
    output_of(program("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(disk2).arg(bytes)).map(drop)
}
