//! Digests of the last element, page after page, in one walk over its map: a page that
//! began its own walk would make a large disk's rebuild quadratic. This module must never
//! know what the digests are for.

use std::sync::Arc;

use farshore_replica::{PointReader, ReplicaError};
use farshore_types::{Digest, DiskKey};
use farshore_wire::{DigestPage, limits::DIGESTS_PER_PAGE_MAX};
use tokio::sync::mpsc;

use crate::OpenReplica;

/// Pages made ahead of the one that is asked for.
const PAGES_AHEAD: usize = 1;

type Page = Result<DigestPage, ReplicaError>;

/// One walk over a disk's digests.
pub(super) struct DigestPages {
    disk: DiskKey,
    /// Where the next page begins.
    from: u64,
    pages: mpsc::Receiver<Page>,
}

impl DigestPages {
    /// Begins a walk at a cluster.
    pub(super) async fn open(replica: &Arc<OpenReplica>, disk: &DiskKey, from: u64) -> DigestPages {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let reader = replica.run(|store| store.last_reader()).await;
        let key = disk.clone();
        // It ends with its receiver: the next page finds nobody to give it to.
        tokio::task::spawn_blocking(move || walk(reader.as_ref(), &key, from, &sender));
        DigestPages { disk: disk.clone(), from, pages }
    }

    /// Whether the next page is the one asked for.
    pub(super) fn goes_on(&self, disk: &DiskKey, from: u64) -> bool {
        self.disk == *disk && self.from == from
    }

    /// The next page.
    pub(super) async fn next(&mut self) -> Page {
        let page = match self.pages.recv().await {
            Some(page) => page?,
            None => last_page(&self.disk, self.from, Vec::new()),
        };
        self.from = page.next.unwrap_or(self.from);
        Ok(page)
    }
}

fn last_page(disk: &DiskKey, from: u64, entries: Vec<(u64, Digest)>) -> DigestPage {
    DigestPage { disk: disk.clone(), from, entries, next: None }
}

fn walk(reader: Option<&PointReader>, disk: &DiskKey, from: u64, pages: &mpsc::Sender<Page>) {
    // A disk that is new since the last element has no digests yet.
    let Some(reader) = reader.filter(|r| r.disks().iter().any(|(key, _)| key == disk)) else { return };
    if let Err(error) = try_walk(reader, disk, from, pages) {
        drop(pages.blocking_send(Err(error)));
    }
}

fn try_walk(
    reader: &PointReader,
    disk: &DiskKey,
    mut from: u64,
    pages: &mpsc::Sender<Page>,
) -> Result<(), ReplicaError> {
    let mut entries = Vec::new();
    for entry in reader.map(disk)? {
        let entry = entry?;
        if entry.cluster < from || entry.digest.is_zero() {
            continue;
        }
        if entries.len() == DIGESTS_PER_PAGE_MAX {
            let full = std::mem::take(&mut entries);
            let page = DigestPage { disk: disk.clone(), from, entries: full, next: Some(entry.cluster) };
            if pages.blocking_send(Ok(page)).is_err() {
                return Ok(());
            }
            from = entry.cluster;
        }
        entries.push((entry.cluster, entry.digest));
    }
    drop(pages.blocking_send(Ok(last_page(disk, from, entries))));
    Ok(())
}
