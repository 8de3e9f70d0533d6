//! The tables of an image as they are on disk: header, active L1, snapshots, refcounts.

use std::{collections::HashMap, ops::Range};

use farshore_env::{File, read_exact_at};
use farshore_qcow2::{Extension, FormatError, HEADER_MAX, Header, Snapshot, decode_table};
use farshore_types::PointId;
use thiserror::Error;

use super::{CLUSTER, GEOMETRY};
use crate::bug::{self, Bug};

/// Our header extension: which point the active tables show ("FARS").
pub(crate) const POINT_EXTENSION: u32 = 0x4641_5253;

/// Our header extension: digest of the header and of the tables that it names ("FARD").
const SIGNATURE_EXTENSION: u32 = 0x4641_5244;

/// Bytes of the digest.
const SIGNATURE_LEN: usize = 16;

/// Most bytes that a snapshot of ours takes in the table; others are not ours.
const SNAPSHOT_MAX: u64 = 256;

/// Bits of an L1 entry that are an offset.
const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// A published point: an internal snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) point: PointId,
    pub(crate) snapshot: Snapshot,
    /// Places of its L2 tables; 0 where there is none.
    pub(crate) l1: Vec<u64>,
}

/// All tables but the L2s, which are read where needed.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) header: Header,
    pub(crate) active: Vec<u64>,
    pub(crate) published: Vec<Published>,
    /// Places of the refcount blocks; 0 where there is none.
    pub(crate) refcount_blocks: Vec<u64>,
}

/// Why tables could not be read.
#[derive(Debug, Error)]
pub(crate) enum ViewError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("snapshot '{0}' is not named as a point")]
    Name(String),
    #[error("its tables are damaged, or another program wrote them")]
    Signature,
}

impl View {
    /// Tables of an image that shows nothing yet; not on disk.
    pub(crate) fn empty(size: u64, backing: Option<(String, String)>) -> View {
        let header = Header {
            geometry: GEOMETRY,
            size,
            l1_offset: 0,
            l1_entries: u32::try_from(GEOMETRY.l1_entries(size)).unwrap_or(u32::MAX),
            refcount_table_offset: 0,
            refcount_table_clusters: 0,
            snapshots_offset: 0,
            snapshots: 0,
            backing,
            extensions: Vec::new(),
        };
        View {
            active: vec![0; header.l1_entries as usize],
            header,
            published: Vec::new(),
            refcount_blocks: Vec::new(),
        }
    }

    pub(crate) fn read(file: &dyn File) -> Result<View, ViewError> {
        let mut head = vec![0; HEADER_MAX + 1024];
        let len = head.len().min(usize::try_from(file.size()?).unwrap_or(usize::MAX));
        read_exact_at(file, &mut head[..len], 0)?;
        let header = Header::decode(&head[..len])?;
        // Also what the format leaves free is as we wrote it, or someone else did.
        let written = header.encode()?;
        if head[..len].get(..written.len()) != Some(&written) {
            return Err(ViewError::Signature);
        }
        let active = read_l1(file, header.l1_offset, header.l1_entries)?;
        let published = read_published(file, &header)?;
        let entries = u64::from(header.refcount_table_clusters) * CLUSTER / 8;
        let blocks = read_words(file, header.refcount_table_offset, entries)?;
        let view = View { header, active, published, refcount_blocks: blocks };
        let signed = view.header.extensions.iter().find(|e| e.kind == SIGNATURE_EXTENSION);
        match signed.is_some_and(|e| view.signature().is_ok_and(|s| s == e.data)) || bug::is(Bug::TrustTables)
        {
            true => Ok(view),
            false => Err(ViewError::Signature),
        }
    }

    /// Puts the digest of header and tables into the header. Places in damaged tables must
    /// never be believed: what they name would be freed one day, and may be data in use.
    pub(crate) fn sign(&mut self) -> Result<(), FormatError> {
        let data = self.signature()?;
        self.header.extensions.retain(|e| e.kind != SIGNATURE_EXTENSION);
        self.header.extensions.push(Extension { kind: SIGNATURE_EXTENSION, data });
        Ok(())
    }

    /// Digest of everything here: header, L1 tables, snapshot table, refcount table.
    fn signature(&self) -> Result<Vec<u8>, FormatError> {
        let mut header = self.header.clone();
        header.extensions.retain(|e| e.kind != SIGNATURE_EXTENSION);
        let snapshots: Vec<Snapshot> = self.published.iter().map(|p| p.snapshot.clone()).collect();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header.encode()?);
        hasher.update(&farshore_qcow2::encode_table(&snapshots));
        for words in self.published.iter().map(|p| &p.l1).chain([&self.active, &self.refcount_blocks]) {
            // Most of a refcount table is zeros.
            let len = words.iter().rposition(|w| *w != 0).map_or(0, |last| last + 1);
            hasher.update(&(len as u64).to_be_bytes());
            hasher.update(&words_to_bytes(&words[..len]));
        }
        Ok(hasher.finalize().as_bytes()[..SIGNATURE_LEN].to_vec())
    }

    pub(crate) fn find(&self, point: PointId) -> Option<&Published> {
        self.published.iter().find(|p| p.point == point)
    }

    pub(crate) fn active_point(&self) -> Option<PointId> {
        point_of(&self.header)
    }

    /// How many L1 tables point to each L2 table.
    pub(crate) fn l2_references(&self) -> HashMap<u64, i64> {
        let mut out = HashMap::new();
        let tables = self.published.iter().map(|p| &p.l1).chain([&self.active]);
        tables.flatten().filter(|l2| **l2 != 0).for_each(|l2| *out.entry(*l2).or_insert(0) += 1);
        out
    }

    /// Every cluster that holds a table, the header's included.
    pub(crate) fn metadata(&self) -> Vec<Range<u64>> {
        let cluster = |at: u64| at..at + CLUSTER;
        let mut out = vec![cluster(0), self.active_place(), self.refcount_table(), self.snapshot_table()];
        out.extend(self.published.iter().map(|p| l1_range(p.snapshot.l1_offset, p.l1.len())));
        out.extend(self.l2_references().into_keys().map(cluster));
        out.extend(self.refcount_blocks.iter().filter(|b| **b != 0).map(|b| cluster(*b)));
        out.retain(|r| !r.is_empty());
        out
    }

    pub(crate) fn active_place(&self) -> Range<u64> {
        match self.header.l1_offset {
            0 => 0..0,
            at => l1_range(at, self.active.len()),
        }
    }

    pub(crate) fn refcount_table(&self) -> Range<u64> {
        let at = self.header.refcount_table_offset;
        at..at + u64::from(self.header.refcount_table_clusters) * CLUSTER
    }

    pub(crate) fn snapshot_table(&self) -> Range<u64> {
        let at = self.header.snapshots_offset;
        if at == 0 {
            return 0..0;
        }
        let snapshots: Vec<Snapshot> = self.published.iter().map(|p| p.snapshot.clone()).collect();
        at..at + (farshore_qcow2::encode_table(&snapshots).len() as u64).next_multiple_of(CLUSTER)
    }
}

/// Clusters of an L1 table; an empty one still has a cluster of its own.
pub(crate) fn l1_range(at: u64, entries: usize) -> Range<u64> {
    at..at + (entries as u64 * 8).max(1).next_multiple_of(CLUSTER)
}

/// The point that a header says its active tables show, or that an overlay stands on.
pub(crate) fn point_of(header: &Header) -> Option<PointId> {
    let extension = header.extensions.iter().find(|e| e.kind == POINT_EXTENSION)?;
    let (epoch, number) = extension.data.split_at_checked(8)?;
    let word = |b: &[u8]| b.try_into().ok().map(u64::from_be_bytes);
    Some(PointId { epoch: word(epoch)?, number: word(number)? })
}

pub(crate) fn encode_point(point: PointId) -> Extension {
    let mut data = point.epoch.to_be_bytes().to_vec();
    data.extend_from_slice(&point.number.to_be_bytes());
    Extension { kind: POINT_EXTENSION, data }
}

fn read_published(file: &dyn File, header: &Header) -> Result<Vec<Published>, ViewError> {
    if header.snapshots == 0 {
        return Ok(Vec::new());
    }
    let most = u64::from(header.snapshots) * SNAPSHOT_MAX;
    let rest = file.size()?.saturating_sub(header.snapshots_offset).min(most);
    let mut bytes = vec![0; usize::try_from(rest).unwrap_or(0)];
    read_exact_at(file, &mut bytes, header.snapshots_offset)?;
    let name = |s: &Snapshot| s.name.parse().map_err(|_| ViewError::Name(s.name.clone()));
    let snapshots = decode_table(&bytes, header.snapshots)?;
    let written = farshore_qcow2::encode_table(&snapshots);
    if bytes.get(..written.len()) != Some(&written) {
        return Err(ViewError::Signature);
    }
    snapshots
        .into_iter()
        .map(|s| {
            Ok(Published { point: name(&s)?, l1: read_l1(file, s.l1_offset, s.l1_entries)?, snapshot: s })
        })
        .collect()
}

fn read_l1(file: &dyn File, at: u64, entries: u32) -> Result<Vec<u64>, ViewError> {
    let l1 = read_words(file, at, entries.into())?;
    // No table of ours belongs to one user alone, so none has a flag.
    if l1.iter().any(|e| e & !L1_OFFSET != 0) {
        return Err(ViewError::Signature);
    }
    Ok(l1)
}

/// Reads `count` big-endian words; asks for no more memory than the file can fill.
pub(crate) fn read_words(file: &dyn File, at: u64, count: u64) -> Result<Vec<u64>, ViewError> {
    if count.saturating_mul(8) > file.size()?.saturating_sub(at) {
        return Err(ViewError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let mut bytes = vec![0; usize::try_from(count * 8).unwrap_or(0)];
    read_exact_at(file, &mut bytes, at)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|w| u64::from_be_bytes(*w)).collect())
}

pub(crate) fn words_to_bytes(words: &[u64]) -> Vec<u8> {
    let mut out = vec![0; words.len() * 8];
    out.as_chunks_mut::<8>().0.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    out
}
