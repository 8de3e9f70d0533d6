//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! justifies. Each returns whether the bytes meant something.

use std::path::PathBuf;

use crate::definition::{Overlay, Rewrite, machine, rewrite};

/// A machine's definition: read, and changed in every way there is.
///
/// # Panics
/// Where a changed definition cannot be read, is not what was asked for, or changes again.
#[must_use]
pub fn definition(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(before) = machine(text) else { return false };
    let overlay = |n: usize| Overlay {
        path: PathBuf::from(format!("/new/{n}<&'\">.qcow2")),
        format: "qcow2".to_owned(),
    };
    let to = Rewrite {
        name: Some("another <name> & more".to_owned()),
        id: Some(farshore_types::MachineId(uuid::Uuid::from_u128(9))),
        disks: before.disks.iter().enumerate().map(|(n, disk)| (disk.key.clone(), overlay(n))).collect(),
        unplug_others: true,
        nvram: before.nvram.as_ref().map(|_| PathBuf::from("/new/vars")),
        virtualization: Some("qemu".to_owned()),
        emulator: Some(PathBuf::new()),
        ..Rewrite::default()
    };
    let Ok(changed) = rewrite(text, &to) else { return true };
    match machine(&changed) {
        Ok(after) => assert_eq!((Some(after.name), after.id), (to.name.clone(), to.id), "as asked for"),
        Err(error) => panic!("a changed definition cannot be read: {error}"),
    }
    assert_eq!(rewrite(&changed, &to).as_ref(), Ok(&changed), "nothing is left to change");
    true
}
