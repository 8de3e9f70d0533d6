//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! justifies, and what was understood survives its bytes. Each returns whether the bytes
//! meant something.

use crate::{Geometry, Header, L2Entry, Overlay, decode_table, encode_table, host_clusters};

/// The first bytes of an image.
///
/// # Panics
/// Where a header that was read cannot be written and read again.
#[must_use]
pub fn header(input: &[u8]) -> bool {
    let Ok(header) = Header::decode(input) else { return false };
    let _ = header.geometry.l1_entries(header.size);
    if let Ok(bytes) = header.encode() {
        assert_eq!(Header::decode(&bytes).as_ref(), Ok(&header), "a header must survive its bytes");
    }
    true
}

/// L2 entries, eight bytes each, after one byte for the size of a cluster.
#[must_use]
pub fn entries(input: &[u8]) -> bool {
    let Some((bits, entries)) = input.split_first() else { return false };
    let Ok(geometry) = Geometry::new(9 + u32::from(bits % 13)) else { return false };
    let mut understood = false;
    for entry in entries.as_chunks::<8>().0 {
        if let Ok(decoded) = L2Entry::decode(u64::from_be_bytes(*entry), geometry) {
            let clusters = host_clusters(decoded, geometry);
            assert!(clusters.start <= clusters.end, "an entry's clusters must be in order");
            understood = true;
        }
    }
    understood
}

/// A snapshot table, after four bytes for its length in entries.
///
/// # Panics
/// Where a table that was read cannot be written and read again.
#[must_use]
pub fn snapshots(input: &[u8]) -> bool {
    let Some((count, table)) = input.split_first_chunk() else { return false };
    let count = u32::from_be_bytes(*count);
    let Ok(snapshots) = decode_table(table, count) else { return false };
    assert_eq!(
        decode_table(&encode_table(&snapshots), count),
        Ok(snapshots),
        "a table must survive its bytes"
    );
    true
}

/// A new overlay over a backing file of that name; eight bytes for its size come first.
///
/// # Panics
/// Where its own header cannot be read again.
#[must_use]
pub fn overlay(input: &[u8]) -> bool {
    let Some((size, name)) = input.split_first_chunk() else { return false };
    let Ok(backing) = String::from_utf8(name.to_vec()) else { return false };
    // Up to 1 PiB; larger ones need an L1 table that QEMU does not open.
    let size = u64::from_be_bytes(*size) % (1 << 50) / 512 * 512;
    let overlay = Overlay { size, backing, backing_format: "qcow2".to_owned(), extensions: Vec::new() };
    let Ok(image) = overlay.image() else { return false };
    let header = Header::decode(&image.bytes);
    assert!(header.is_ok_and(|h| h.size == size), "an overlay's own header must be readable");
    true
}
