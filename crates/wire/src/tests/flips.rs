//! Every single flipped bit of every frame has a reason.

use super::samples::*;
use crate::*;

/// Flips each bit and reads; returns how many bits were flipped.
fn flip_all(bytes: &[u8], decode: impl Fn(RawFrame) -> Result<(), FrameError>) -> usize {
    let mut flipped = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = read_raw(&flipped).and_then(&decode).expect_err("a flipped bit must be refused");
        assert!(!error.to_string().is_empty());
        // Waiting for more would be no refusal: not even a damaged length may do that.
        assert!(!matches!(error, FrameError::Cut { .. }), "bit {bit}: {error}");
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.len() * 8
}

pub(super) fn flip_everything() -> usize {
    let source = source_frames().into_iter().map(|frame| {
        flip_all(&frame.encode(SESSION, 3).to_bytes(), |raw| match SourceFrame::decode(raw)? {
            SourceFrame::Data(data) => {
                let wrong = |source| FrameError::Record { index: 0, source };
                data.records.iter().try_for_each(|record| record.verify().map_err(wrong))
            }
            _ => Ok(()),
        })
    });
    let target = target_frames().into_iter().map(|frame| {
        flip_all(&frame.encode(SESSION, 3).to_bytes(), |raw| TargetFrame::decode(raw).map(drop))
    });
    source.chain(target).sum()
}

#[test]
fn every_flipped_bit_is_refused_at_once_with_a_reason() {
    assert!(flip_everything() > 10_000);
}
