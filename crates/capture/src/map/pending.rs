//! The pending element's file: header length, header (JSON), entries, checksum.

use farshore_delta::SourceChange;
use farshore_types::Digest;
use serde::{Deserialize, Serialize};

use super::{Pending, Record};

const ENTRY: usize = 8 + Digest::LEN;

#[derive(Serialize, Deserialize)]
struct Head {
    record: Record,
    counts: Vec<usize>,
}

impl Pending {
    pub(super) fn encode(&self) -> Vec<u8> {
        let head = Head { record: self.record.clone(), counts: self.changes.iter().map(Vec::len).collect() };
        let json = serde_json::to_vec(&head).unwrap_or_default();
        let mut out = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        out.extend_from_slice(&json);
        for change in self.changes.iter().flatten() {
            out.extend_from_slice(&change.cluster.to_le_bytes());
            out.extend_from_slice(&change.digest.0);
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` where the bytes are not whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Pending> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (len, rest) = body.split_first_chunk::<4>()?;
        let (json, mut entries) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let head: Head = serde_json::from_slice(json).ok()?;
        let mut changes = Vec::with_capacity(head.counts.len());
        for count in head.counts {
            let (mine, others) = entries.split_at_checked(count.checked_mul(ENTRY)?)?;
            entries = others;
            changes.push(mine.chunks_exact(ENTRY).filter_map(decode_entry).collect());
        }
        entries.is_empty().then_some(Pending { record: head.record, changes })
    }
}

fn decode_entry(bytes: &[u8]) -> Option<SourceChange> {
    let (cluster, digest) = bytes.split_first_chunk::<8>()?;
    Some(SourceChange { cluster: u64::from_le_bytes(*cluster), digest: Digest(digest.try_into().ok()?) })
}
