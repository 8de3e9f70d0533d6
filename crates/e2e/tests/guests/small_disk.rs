//! A small file system in a file, to be filled up.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use farshore_e2e::host::run;

/// Mounted until dropped.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts a new file system of so many MiB, kept in the file `image`, at `at`.
    pub(crate) fn mount(image: &Path, at: &Path, mib: u64) -> SmallDisk {
        fs::create_dir_all(at).unwrap();
        fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
        let mut make = Command::new("mkfs.ext4");
        // No journal and nothing reserved: what is said to be free is free.
        run(make.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-b", "4096"]).arg(image)).unwrap();
        let mounted = run(Command::new("mount").args(["-o", "loop"]).args([image, at]));
        mounted.unwrap_or_else(|why| {
            panic!(
                "this test needs to mount a file system of its own: run it as root, with loop devices: {why}"
            )
        });
        SmallDisk { at: at.to_owned() }
    }

    /// Bytes free.
    pub(crate) fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.at).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// Takes all that is free but so many bytes, at once.
    pub(crate) fn fill_but(&self, left: u64) {
        let path = self.at.join("filler");
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
        let taken = file.metadata().unwrap().blocks() * 512;
        let wanted = i64::try_from(self.free().saturating_sub(left)).unwrap();
        if wanted > 0 {
            let from = i64::try_from(taken).unwrap();
            nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), from, wanted).unwrap();
        }
    }

    /// Gives it back.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_file(self.at.join("filler"));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a QEMU that is being killed may hold a scratch file for a moment more.
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}
