//! The snapshot table.

use crate::{Fields, FormatError};

/// Most snapshots that the format allows in one image.
pub const SNAPSHOTS_MAX: u32 = 65_536;

const FIXED_LEN: usize = 40;
const EXTRA_LEN: u32 = 24;
const EXTRA_MAX: u32 = 1024;

/// One internal snapshot: an L1 table with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Unique number as text; `qemu-img snapshot -l` shows it first.
    pub id: String,
    /// Name; ours is the point's.
    pub name: String,
    /// Place of its L1 table.
    pub l1_offset: u64,
    /// Entries of its L1 table.
    pub l1_entries: u32,
    /// Size of the disk at the snapshot, in bytes.
    pub size: u64,
    /// Seconds since the Unix epoch.
    pub date_seconds: u32,
    /// Nanoseconds of the date.
    pub date_nanos: u32,
}

/// The table's bytes. Ids and names over 65,535 bytes are cut, which ours never reach.
#[must_use]
pub fn encode_table(snapshots: &[Snapshot]) -> Vec<u8> {
    let mut out = Vec::new();
    for s in snapshots {
        let id_len = u16::try_from(s.id.len()).unwrap_or(u16::MAX);
        let name_len = u16::try_from(s.name.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&s.l1_offset.to_be_bytes());
        out.extend_from_slice(&s.l1_entries.to_be_bytes());
        out.extend_from_slice(&id_len.to_be_bytes());
        out.extend_from_slice(&name_len.to_be_bytes());
        out.extend_from_slice(&s.date_seconds.to_be_bytes());
        out.extend_from_slice(&s.date_nanos.to_be_bytes());
        out.extend_from_slice(&[0; 8]); // guest clock
        out.extend_from_slice(&[0; 4]); // size of the guest's memory: none
        out.extend_from_slice(&EXTRA_LEN.to_be_bytes());
        out.extend_from_slice(&[0; 8]); // size of the guest's memory, 64 bits
        out.extend_from_slice(&s.size.to_be_bytes());
        out.extend_from_slice(&u64::MAX.to_be_bytes()); // no instruction count
        out.extend_from_slice(&s.id.as_bytes()[..id_len.into()]);
        out.extend_from_slice(&s.name.as_bytes()[..name_len.into()]);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// Reads `count` entries.
///
/// # Errors
/// Where the bytes end early or an entry's extra data is longer than any known.
pub fn decode_table(bytes: &[u8], count: u32) -> Result<Vec<Snapshot>, FormatError> {
    let f = Fields::new("snapshot table", bytes);
    let (mut at, mut out) = (0, Vec::new());
    for _ in 0..count {
        let (id_len, name_len) = (usize::from(f.u16(at + 12)?), usize::from(f.u16(at + 14)?));
        let extra = f.u32(at + 36)?;
        if !(16..=EXTRA_MAX).contains(&extra) {
            let why = "is not the length of any known extra data";
            return Err(FormatError::Field { field: "snapshot extra data", value: extra.into(), why });
        }
        let names = at + FIXED_LEN + extra as usize;
        let text = |at, len| f.take(at, len).map(|b| String::from_utf8_lossy(b).into_owned());
        out.push(Snapshot {
            l1_offset: f.u64(at)?,
            l1_entries: f.u32(at + 8)?,
            date_seconds: f.u32(at + 16)?,
            date_nanos: f.u32(at + 20)?,
            size: f.u64(at + FIXED_LEN + 8)?,
            id: text(names, id_len)?,
            name: text(names + id_len, name_len)?,
        });
        at = (names + id_len + name_len).next_multiple_of(8);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_its_bytes_and_a_cut_one_is_refused() {
        let table: Vec<Snapshot> = (0..3u32)
            .map(|i| Snapshot {
                id: (i + 1).to_string(),
                name: format!("1-{i}"),
                l1_offset: u64::from(i) << 16,
                l1_entries: i,
                size: 1 << 30,
                date_seconds: 1_700_000_000,
                date_nanos: 5,
            })
            .collect();
        let bytes = encode_table(&table);
        assert_eq!(decode_table(&bytes, 3), Ok(table));
        assert!(decode_table(&bytes[..bytes.len() - 8], 3).is_err());
        assert!(decode_table(&bytes, 4).is_err());
    }
}
