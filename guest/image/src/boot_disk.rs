//! The guest's first disk, made without mounting anything: a partition table with GRUB's
//! first stage, GRUB itself in the gap behind it, and one ext4 partition that holds kernel,
//! initramfs and root. GRUB's configuration is built in, so that it has nothing to look for.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use crate::command::{output_of, program};
use crate::error::GuestError;

/// Where the distribution keeps GRUB for BIOS machines.
const GRUB_DIR: &str = "/usr/lib/grub/i386-pc";
const SECTOR: u64 = 512;
/// Start of the partition, in bytes: the usual first mebibyte.
const PARTITION_AT: u64 = 1 << 20;
/// GRUB's first stage may fill the sector up to the disk's signature.
const BOOT_CODE_BYTES: usize = 440;
const TABLE_AT: usize = 446;
const LINUX: u8 = 0x83;
const ACTIVE: u8 = 0x80;

/// What GRUB does, without a menu and without waiting. Each word of the kernel's command
/// line saves time under emulation, or says where the console is. `linux16`, because `linux`
/// would move the kernel's whole future memory byte by byte: four seconds under emulation.
pub(crate) const GRUB_COMMANDS: &str = "\
set root=(hd0,msdos1)
linux16 /boot/vmlinuz console=ttyS0 quiet loglevel=3 mitigations=off audit=0 nokaslr random.trust_cpu=on 8250.nr_uarts=1 no_timer_check
initrd16 /boot/initrd
boot
";

/// Only what an old GRUB can read, and a journal.
const FEATURES: &str =
    "none,has_journal,extent,filetype,sparse_super,large_file,dir_index,ext_attr,resize_inode";

/// What goes into the root file system: with the kernel as `boot/vmlinuz` and its initramfs as
/// `boot/initrd`.
#[derive(Clone, Copy)]
pub(crate) enum Root<'a> {
    /// One program, and what it needs to run.
    Files {
        /// The kernel.
        kernel: &'a Path,
        /// The initramfs.
        initramfs: &'a [u8],
        /// The guest's program.
        program: &'a Path,
    },
    /// A whole distribution.
    Tar {
        /// Its files.
        tar: &'a Path,
        /// A tree of files that are put over these.
        over: &'a Path,
    },
}

/// Writes the raw disk of `bytes` bytes at `path`, using `work` for what comes between.
pub(crate) fn write(path: &Path, bytes: u64, content: Root<'_>, work: &Path) -> Result<(), GuestError> {
    let disk = OpenOptions::new().create_new(true).write(true).open(path);
    let disk = disk.map_err(GuestError::file("create", path))?;
    disk.set_len(bytes).map_err(GuestError::file("size", path))?;
    let root = work.join("root");
    match content {
        Root::Files { kernel, initramfs, program } => {
            fill(&root, kernel, initramfs, program)?;
            output_of(&mut mkfs(path, bytes, &root, &["-N", "256", "-J", "size=4"]))?;
        }
        Root::Tar { tar, over } => make_from_tar(path, bytes, tar, over, &root)?,
    }
    let loader = make_loader(work)?;
    let stage1 = Path::new(GRUB_DIR).join("boot.img");
    let stage1 = fs::read(&stage1).map_err(GuestError::file("read", &stage1))?;
    let mbr = master_boot_record(&stage1, bytes);
    disk.write_all_at(&mbr, 0).map_err(GuestError::file("write", path))?;
    disk.write_all_at(&loader, SECTOR).map_err(GuestError::file("write", path))
}

/// The tree of the demo guest.
fn fill(root: &Path, kernel: &Path, initramfs: &[u8], program: &Path) -> Result<(), GuestError> {
    for dir in ["boot", "sbin", "dev", "proc", "sys", "data"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).map_err(GuestError::file("create", &dir))?;
    }
    for (from, to) in [(kernel, "boot/vmlinuz"), (program, "sbin/farshore-ledger")] {
        fs::copy(from, root.join(to)).map_err(GuestError::file("copy", from))?;
    }
    let initrd = root.join("boot/initrd");
    fs::write(&initrd, initramfs).map_err(GuestError::file("write", &initrd))
}

/// Makes the file system of an archive, as root or as what looks like it: all of it is to belong
/// to root in the guest.
fn make_from_tar(disk: &Path, bytes: u64, tar: &Path, over: &Path, root: &Path) -> Result<(), GuestError> {
    fs::create_dir_all(root).map_err(GuestError::file("create", root))?;
    let script = "set -e; tar=$1 over=$2 root=$3; shift 3; \
                  tar -x --no-same-owner -p --exclude='./dev/*' -f \"$tar\" -C \"$root\"; \
                  cp -R --preserve=mode,links \"$over\"/. \"$root\"; \"$@\"; chmod -R u+rwX \"$root\"";
    let owner = fs::metadata(root).map_err(GuestError::file("look at", root))?.uid();
    let mut command = match owner == 0 {
        true => program("sh"),
        false => {
            let mut unshare = program("unshare");
            unshare.args(["--map-root-user", "sh"]);
            unshare
        }
    };
    command.args(["-c", script, "sh"]).arg(tar).arg(over).arg(root);
    let mkfs = mkfs(disk, bytes, root, &["-J", "size=8"]);
    command.arg(mkfs.get_program()).args(mkfs.get_args());
    output_of(&mut command).map(drop)
}

/// Makes a tree the file system inside the disk file.
fn mkfs(disk: &Path, bytes: u64, root: &Path, more: &[&str]) -> Command {
    // Tables written now are not written by the guest later, while it should be quiet.
    let extended = format!("offset={PARTITION_AT},lazy_itable_init=0,lazy_journal_init=0,nodiscard");
    let mut mkfs = program("mkfs.ext4");
    mkfs.args(["-q", "-F", "-b", "4096", "-m", "0", "-L", "farshore", "-O", FEATURES]).args(more);
    mkfs.arg("-E").arg(extended).arg("-d").arg(root).arg(disk);
    mkfs.arg(format!("{}k", (bytes - PARTITION_AT) / 1024));
    mkfs
}

/// GRUB with the modules it needs and its commands inside.
fn make_loader(work: &Path) -> Result<Vec<u8>, GuestError> {
    let (commands, image) = (work.join("grub.cfg"), work.join("core.img"));
    fs::write(&commands, GRUB_COMMANDS).map_err(GuestError::file("write", &commands))?;
    let mut mkimage = program("grub-mkimage");
    mkimage.args(["-O", "i386-pc", "-d", GRUB_DIR, "-p", "(hd0,msdos1)/boot/grub", "-c"]);
    mkimage.arg(&commands).arg("-o").arg(&image);
    mkimage.args(["biosdisk", "part_msdos", "ext2", "linux16"]);
    output_of(&mut mkimage)?;
    let loader = fs::read(&image).map_err(GuestError::file("read", &image))?;
    let room = usize::try_from(PARTITION_AT - SECTOR).unwrap_or(usize::MAX);
    if loader.len() > room {
        return Err(GuestError::LoaderTooLarge { bytes: loader.len(), room });
    }
    Ok(loader)
}

/// GRUB's first stage with a table of one active partition that fills the disk. As shipped,
/// the first stage loads what lies in sector 1.
fn master_boot_record(stage1: &[u8], disk_bytes: u64) -> [u8; 512] {
    let mut mbr = [0; 512];
    let code = stage1.len().min(BOOT_CODE_BYTES);
    mbr[..code].copy_from_slice(&stage1[..code]);
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
    let entry = &mut mbr[TABLE_AT..TABLE_AT + 16];
    // Addresses by cylinder, head and sector are beyond their range: "use the other ones".
    entry[0..8].copy_from_slice(&[ACTIVE, 0xfe, 0xff, 0xff, LINUX, 0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&sectors(PARTITION_AT));
    entry[12..16].copy_from_slice(&sectors(disk_bytes - PARTITION_AT));
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_active_linux_partition_from_the_first_mebibyte_to_the_end() {
        let mbr = master_boot_record(&[0xeb; 512], 128 << 20);
        assert_eq!(mbr[439], 0xeb);
        assert_eq!(mbr[440..446], [0; 6], "the first stage must not reach the signature");
        assert_eq!((mbr[446], mbr[450]), (0x80, 0x83));
        assert_eq!(mbr[454..458], 2048_u32.to_le_bytes());
        assert_eq!(mbr[458..462], (127_u32 * 2048).to_le_bytes());
        assert_eq!(mbr[510..], [0x55, 0xaa]);
    }
}
