//! Checkpoints as libvirt keeps them. This module must never know which of them are ours.

use std::collections::BTreeSet;

use farshore_types::MachineId;
use virt::connect::Connect;

use super::{fault::Call, ffi, lookup};
use crate::{
    Checkpoint, Deletion,
    definition::{self, Element},
};

pub(super) fn list(connection: &Connect, id: MachineId) -> Call<Vec<Checkpoint>> {
    let mut out = Vec::new();
    for xml in ffi::checkpoint_xmls(&lookup::domain(connection, id)?)? {
        out.push(read(&definition::parse(&xml)?));
    }
    // libvirt has no word for the newest in its API: it is the one without children.
    let parents: BTreeSet<_> = out.iter().filter_map(|c| c.parent.clone()).collect();
    for checkpoint in &mut out {
        checkpoint.current = !parents.contains(&checkpoint.name);
    }
    Ok(out)
}

fn read(checkpoint: &Element) -> Checkpoint {
    let text = |element: Option<&Element>| element.map(|e| e.text.clone()).filter(|t| !t.is_empty());
    let takes_part = |disk: &&Element| disk.attribute("checkpoint") == Some("bitmap");
    let disks = checkpoint.child("disks").into_iter().flat_map(|disks| disks.children("disk"));
    Checkpoint {
        name: text(checkpoint.child("name")).unwrap_or_default(),
        parent: text(checkpoint.at(&["parent", "name"])),
        current: false,
        disks: disks.filter(takes_part).filter_map(|d| d.attribute("name")?.parse().ok()).collect(),
    }
}

pub(super) fn delete(connection: &Connect, id: MachineId, name: &str, how: Deletion) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    Ok(ffi::delete_checkpoint(&domain, name, how == Deletion::RecordOnly)?)
}
