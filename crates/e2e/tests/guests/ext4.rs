//! The file systems of the full guest in a point that was exported, read by stock tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use farshore_e2e::host::run;
use farshore_ledger::{Chain, Disks, Root, Verdict};

/// Where the root file system begins on the first disk, in MiB.
const ROOT_AT_MIB: u64 = 1;
/// Highest exit code of `e2fsck -p` where the journal's replay is all that was needed.
const MENDED: i32 = 1;

/// Runs one of ext4's own tools; its exit code, and all that it said.
pub(crate) fn tool(name: &str, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(format!("/sbin/{name}")).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The root file system of the first disk, beside it.
pub(crate) fn root_of(vda: &Path) -> PathBuf {
    let root = vda.with_file_name("root");
    let cut = [format!("if={}", vda.display()), format!("of={}", root.display())];
    let at = format!("skip={ROOT_AT_MIB}");
    run(Command::new("dd").args(cut).arg(at).args(["bs=1M", "conv=sparse", "status=none"])).unwrap();
    root
}

/// The content of a file; nothing where it is not there.
pub(crate) fn file_of(system: &Path, name: &str) -> String {
    run(Command::new("/sbin/debugfs").args(["-R", &format!("cat /{name}")]).arg(system)).unwrap()
}

/// Judges both disks of a point, raw, as the guest does when it starts from them: after what a
/// power cut left in the journals was replayed, both are in order, each transaction up to the last
/// one is there, and the other disk has seen it.
pub(crate) fn judged(vda: &Path, vdb: &Path) -> Result<Verdict, String> {
    let (root, data) = (root_of(vda), vdb.with_file_name("data"));
    run(Command::new("cp").arg("--sparse=always").args([vdb, &data])).unwrap();
    for system in [&root, &data] {
        let (code, said) = tool("e2fsck", &["-f", "-p", &system.display().to_string()]);
        if code.is_none_or(|code| code > MENDED) {
            return Err(said);
        }
    }
    let (mut last, mut chain) = (0, Chain::Whole);
    for line in file_of(&data, "ledger").split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        match line.strip_suffix(" done\n").and_then(|number| number.parse::<u64>().ok()) {
            Some(number) if number == last + 1 => last = number,
            _ => chain = Chain::Broken(last + 1),
        }
    }
    let file = file_of(&root, "var/lib/farshore-witness").trim_end().parse().ok();
    let disks = match last.checked_sub(file.unwrap_or(0)) {
        Some(0 | 1) => Disks::InStep,
        _ => Disks::OutOfStep,
    };
    Ok(Verdict { last, chain, disks, file, root: Root::Clean })
}
