//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! justifies. Each returns whether the bytes meant something.

use crate::backup::{Counts, Decoder, sealed};

/// A whole backup.
#[must_use]
pub fn backup(input: &[u8]) -> bool {
    let Ok(mut decoder) = Decoder::new(input) else { return false };
    loop {
        match decoder.next() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Three counts of one byte each, and then the pieces of a backup, made one with a checksum
/// that is right: past it, nearly no damage comes otherwise.
#[must_use]
pub fn backup_parts(input: &[u8]) -> bool {
    let Some(([rows, events, samples], frames)) = input.split_first_chunk() else { return false };
    let [rows, events, samples] = [rows, events, samples].map(|count| u64::from(*count));
    backup(&sealed(frames, Counts { rows, events, samples }))
}
