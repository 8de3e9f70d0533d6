//! The distribution's part of the guest: kernel, disk drivers and busybox, downloaded and
//! unpacked but never installed. Kept for the next build; delete the folder to get newer ones.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{output_of, program};
use crate::error::GuestError;

/// Names the newest kernel package by depending on it.
const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";

/// Drivers in the order in which they must be loaded. A kernel that has one built in ships
/// no file for it. The last three are the power button, and the guest agent's line.
const MODULES: [&str; 9] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "button",
    "evdev",
    "virtio_console",
];

/// What the packages gave.
pub(crate) struct Parts {
    /// The compressed kernel.
    pub(crate) kernel: PathBuf,
    /// A busybox that needs no libraries.
    pub(crate) busybox: PathBuf,
    /// Drivers, uncompressed, in loading order.
    pub(crate) modules: Vec<PathBuf>,
}

impl Parts {
    /// Takes the parts from `dir`, or downloads them into it.
    pub(crate) fn in_dir(dir: &Path) -> Result<Parts, GuestError> {
        // Those of an earlier list lack what was added since.
        let stamp = fs::read_to_string(dir.join("complete"));
        if !stamp.is_ok_and(|stamp| stamp.ends_with(&MODULES.join(" "))) {
            download(dir)?;
        }
        let module = |name: &&str| dir.join(format!("{name}.ko"));
        Ok(Parts {
            kernel: dir.join("vmlinuz"),
            busybox: dir.join("busybox"),
            modules: MODULES.iter().map(module).filter(|path| path.exists()).collect(),
        })
    }
}

fn download(dir: &Path) -> Result<(), GuestError> {
    fs::create_dir_all(dir).map_err(GuestError::file("create", dir))?;
    let work = tempfile::tempdir_in(dir).map_err(GuestError::file("create a folder in", dir))?;
    let kernel = kernel_package()?;
    tracing::info!(kernel, busybox = BUSYBOX, "downloading the guest's packages");
    for package in [kernel.as_str(), BUSYBOX] {
        output_of(program("apt-get").args(["-q", "download", package]).current_dir(work.path()))?;
    }
    let tree = work.path().join("tree");
    for package in files_under(work.path(), |name| name.ends_with(".deb"))? {
        output_of(program("dpkg").arg("-x").arg(package).arg(&tree))?;
    }
    take(&tree, |name| name.starts_with("vmlinuz-"), &dir.join("vmlinuz"), &kernel)?;
    take(&tree, |name| name == "busybox", &dir.join("busybox"), BUSYBOX)?;
    for name in MODULES {
        take_module(&tree, name, dir, &kernel)?;
    }
    let stamp = dir.join("complete");
    fs::write(&stamp, format!("{kernel} {}", MODULES.join(" "))).map_err(GuestError::file("write", &stamp))
}

/// The real package behind the distribution's newest kernel.
fn kernel_package() -> Result<String, GuestError> {
    let depends = output_of(program("apt-cache").args(["depends", KERNEL]))?;
    parse_kernel_package(&depends).ok_or_else(|| GuestError::Unfit {
        package: KERNEL.to_owned(),
        what: "kernel to depend on".to_owned(),
    })
}

fn parse_kernel_package(depends: &str) -> Option<String> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

fn take(tree: &Path, is: impl Fn(&str) -> bool, to: &Path, package: &str) -> Result<(), GuestError> {
    let found = files_under(tree, is)?.into_iter().next();
    let what = || to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let from = found.ok_or_else(|| GuestError::Unfit { package: package.to_owned(), what: what() })?;
    fs::copy(&from, to).map(drop).map_err(GuestError::file("copy", &from))
}

/// Takes a driver, uncompressed; none is fine when the kernel has it built in.
fn take_module(tree: &Path, name: &str, dir: &Path, package: &str) -> Result<(), GuestError> {
    let plain = format!("{name}.ko");
    // Packages differ in how they spell a driver's name and in how they compress it.
    let same = |file: &str| file.replace('-', "_").starts_with(&plain);
    let Some(from) = files_under(tree, same)?.into_iter().next() else {
        return if built_in(tree, &plain)? {
            Ok(())
        } else {
            Err(GuestError::Unfit { package: package.to_owned(), what: plain })
        };
    };
    let to = dir.join(&plain);
    fs::copy(&from, dir.join(from.file_name().unwrap_or_default()))
        .map_err(GuestError::file("copy", &from))?;
    match from.extension().and_then(|e| e.to_str()) {
        Some("xz") => output_of(program("xz").args(["-d", "-f"]).arg(to.with_extension("ko.xz"))).map(drop),
        Some("zst") => {
            output_of(program("zstd").args(["-d", "-q", "-f", "--rm"]).arg(to.with_extension("ko.zst")))
                .map(drop)
        }
        _ => Ok(()),
    }
}

fn built_in(tree: &Path, module: &str) -> Result<bool, GuestError> {
    for list in files_under(tree, |name| name == "modules.builtin")? {
        let text = fs::read_to_string(&list).map_err(GuestError::file("read", &list))?;
        if text.lines().any(|line| line.replace('-', "_").ends_with(&format!("/{module}"))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Regular files below `dir` whose name fits.
fn files_under(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, GuestError> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(GuestError::file("list", &folder))?;
        for entry in entries {
            let entry = entry.map_err(GuestError::file("list", &folder))?;
            let kind = entry.file_type().map_err(GuestError::file("look at", &folder))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && fits(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_meta_package_depends_on() {
        let said =
            "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: other\n";
        assert_eq!(parse_kernel_package(said).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(parse_kernel_package("linux-image-cloud-amd64\n"), None);
    }
}
