//! The full guest: a Debian of the distribution's own packages, with its init, its userland and
//! its guest agent with the freeze hook, on an ext4 file system with a journal; a second one
//! holds what a program writes all the time. From a copy of both it can be told, with stock
//! tools alone, whether it was taken of a frozen guest.
//!
//! ```text
//! vda  GRUB, and one partition with the root file system
//! vdb  an ext4 file system, mounted on /data: `ledger`, `pages`, `open`, and the hook's `hook`
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::boot_disk::{self, GRUB_COMMANDS, Root};
use crate::build::{GuestImage, in_place, lock};
use crate::command::{output_of, program};
use crate::error::GuestError;
use crate::initramfs;
use crate::packages::Parts;

/// Virtual size in bytes of the first disk.
pub const DEBIAN_ROOT_BYTES: u64 = 384 << 20;

/// Virtual size in bytes of the second disk.
pub const DEBIAN_DATA_BYTES: u64 = 96 << 20;

/// Raised when the way of building changes in a way that the hashed parts do not show.
const RECIPE_VERSION: u32 = 1;

/// Packages besides the essential ones.
const PACKAGES: &str = "sysvinit-core,initscripts,qemu-guest-agent,kmod";

/// What nobody reads there.
const LEFT_OUT: [&str; 5] = [
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/doc/*",
    "/usr/share/zoneinfo/*",
    "/usr/share/info/*",
];

/// Goes from the drivers to the distribution's own init.
const HAND_OVER: &str = "exec $b switch_root /sysroot /sbin/init";

const LEDGER: &str = include_str!("debian/ledger.pl");
const HOOK: &str = include_str!("debian/freeze-hook.sh");
const ORDERS: &str = include_str!("debian/orders.sh");
const BOOT: &str = include_str!("debian/boot.sh");
const INITTAB: &str = include_str!("debian/inittab");
const FSTAB: &str = "/dev/vda1 / ext4 defaults 0 0\n/dev/vdb /data ext4 defaults 0 0\n";
/// The hook is run only where the agent is told so.
const AGENT: &str = "DAEMON_ARGS=-F/etc/qemu/fsfreeze-hook\n";

/// Every file that is put over the distribution's: its place, its content, whether it runs.
const FILES: [(&str, &str, bool); 8] = [
    ("usr/local/sbin/farshore-ledger", LEDGER, true),
    ("etc/qemu/fsfreeze-hook.d/ledger", HOOK, true),
    ("usr/local/sbin/farshore-boot", BOOT, true),
    ("usr/local/sbin/farshore-orders", ORDERS, true),
    ("etc/inittab", INITTAB, false),
    ("etc/fstab", FSTAB, false),
    ("etc/default/qemu-guest-agent", AGENT, false),
    ("etc/hostname", "guest\n", false),
];

/// Builds the full guest under `out_dir`, or finds it there. Several may ask at once: one builds.
/// Takes a minute or two where its packages are not there yet.
///
/// # Errors
/// When a package cannot be had, a program is missing or fails, or a file cannot be written.
pub fn build_debian(out_dir: &Path) -> Result<GuestImage, GuestError> {
    let _lock = lock(out_dir)?;
    let parts = Parts::in_dir(&out_dir.join("packages"))?;
    let initramfs = initramfs::archive(&parts, HAND_OVER)?;
    let dir = out_dir.join(format!("debian-{}", key_of(&parts, &initramfs)?));
    if !dir.exists() {
        let tar = root_archive(out_dir)?;
        in_place(&dir, out_dir, |work, done| make(work, done, &tar, &parts, &initramfs))?;
    }
    Ok(GuestImage { disk1: dir.join("disk1.qcow2"), disk2: dir.join("disk2.qcow2") })
}

fn key_of(parts: &Parts, initramfs: &[u8]) -> Result<String, GuestError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&RECIPE_VERSION.to_le_bytes());
    hasher.update(&DEBIAN_ROOT_BYTES.to_le_bytes()).update(&DEBIAN_DATA_BYTES.to_le_bytes());
    hasher.update(GRUB_COMMANDS.as_bytes()).update(PACKAGES.as_bytes());
    for (place, content, _) in FILES {
        hasher.update(place.as_bytes()).update(content.as_bytes());
    }
    let kernel = fs::read(&parts.kernel).map_err(GuestError::file("read", &parts.kernel))?;
    hasher.update(blake3::hash(&kernel).as_bytes()).update(initramfs);
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// The distribution's root file system as an archive, made once; delete the file for a newer one.
fn root_archive(out_dir: &Path) -> Result<PathBuf, GuestError> {
    let archive = out_dir.join("debian-root.tar");
    if archive.exists() {
        return Ok(archive);
    }
    tracing::info!(PACKAGES, "putting a Debian together from its packages");
    let new = out_dir.join("debian-root-new.tar");
    let mut make = program("mmdebstrap");
    make.args(["--quiet", "--format=tar", "--variant=essential"]);
    make.arg(format!("--include={PACKAGES}"));
    make.args(["--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io"]);
    make.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    make.arg(suite()?).arg(&new).args(sources()?);
    output_of(make.env("TMPDIR", out_dir))?;
    fs::rename(&new, &archive).map_err(GuestError::file("move into place", &archive))?;
    Ok(archive)
}

/// The suite of this machine's own distribution.
fn suite() -> Result<String, GuestError> {
    let path = Path::new("/etc/os-release");
    let text = fs::read_to_string(path).map_err(GuestError::file("read", path))?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).ok_or_else(|| GuestError::Unfit {
        package: path.display().to_string(),
        what: "VERSION_CODENAME".to_owned(),
    })
}

/// Where this machine has its packages from: a mirror that it uses is used here, too.
fn sources() -> Result<Vec<PathBuf>, GuestError> {
    let dir = Path::new("/etc/apt/sources.list.d");
    let mut found = vec![PathBuf::from("/etc/apt/sources.list")];
    for entry in fs::read_dir(dir).into_iter().flatten() {
        found.push(entry.map_err(GuestError::file("list", dir))?.path());
    }
    let is_list = |path: &PathBuf| path.extension().is_some_and(|e| e == "list" || e == "sources");
    found.retain(|path| is_list(path) && fs::metadata(path).is_ok_and(|file| file.len() > 0));
    found.sort();
    Ok(found)
}

fn make(work: &Path, done: &Path, tar: &Path, parts: &Parts, initramfs: &[u8]) -> Result<(), GuestError> {
    tracing::info!("building the full guest");
    let over = overlay(work, parts, initramfs)?;
    let raw = work.join("disk1.raw");
    boot_disk::write(&raw, DEBIAN_ROOT_BYTES, Root::Tar { tar, over: &over }, work)?;
    qcow2_of(&raw, &done.join("disk1.qcow2"))?;
    let raw = work.join("disk2.raw");
    let file = File::create(&raw).map_err(GuestError::file("create", &raw))?;
    file.set_len(DEBIAN_DATA_BYTES).map_err(GuestError::file("size", &raw))?;
    output_of(
        program("mkfs.ext4")
            .args(["-q", "-F", "-L", "data", "-J", "size=8"])
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
            .arg(&raw),
    )?;
    qcow2_of(&raw, &done.join("disk2.qcow2"))
}

fn qcow2_of(raw: &Path, to: &Path) -> Result<(), GuestError> {
    output_of(program("qemu-img").args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(raw).arg(to))
        .map(drop)
}

/// What is put over the distribution's files, as a tree.
fn overlay(work: &Path, parts: &Parts, initramfs: &[u8]) -> Result<PathBuf, GuestError> {
    let over = work.join("over");
    let put = |place: &str, content: &[u8], mode: u32| {
        let path = over.join(place);
        let dir = path.parent().unwrap_or(&over);
        fs::create_dir_all(dir).map_err(GuestError::file("create", dir))?;
        let mut file = File::create(&path).map_err(GuestError::file("create", &path))?;
        file.write_all(content).map_err(GuestError::file("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(GuestError::file("change", &path))
    };
    for (place, content, runs) in FILES {
        put(place, content.as_bytes(), if runs { 0o755 } else { 0o644 })?;
    }
    let kernel = fs::read(&parts.kernel).map_err(GuestError::file("read", &parts.kernel))?;
    put("boot/vmlinuz", &kernel, 0o644)?;
    put("boot/initrd", initramfs, 0o644)?;
    let data = over.join("data");
    fs::create_dir_all(&data).map_err(GuestError::file("create", &data))?;
    Ok(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_made_of_this_machines_own_sources() {
        assert!(!suite().unwrap().is_empty());
        assert!(!sources().unwrap().is_empty());
    }

    #[test]
    fn the_init_of_the_distribution_runs_ledger_and_agent_as_its_own() {
        assert!(INITTAB.contains(&format!("respawn:/{}", FILES[0].0)));
        assert!(
            AGENT.contains("-F/etc/qemu/fsfreeze-hook\n")
                && FILES[1].0.starts_with("etc/qemu/fsfreeze-hook.d/")
        );
    }
}
