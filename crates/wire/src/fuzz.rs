//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's
//! length justifies. Each returns whether the bytes meant something, so that a fuzzer's
//! corpus can be judged.

mod sessions;

use bytes::Bytes;

use crate::{
    HEADER_LEN, Inbox, Letter, RawFrame, SourceFrame, TargetFrame, header::Header, messages::SessionId,
};

pub use sessions::{source_session, target_session};

/// A stream of frames as a target reads it.
#[must_use]
pub fn source_stream(input: &[u8]) -> bool {
    stream(input, |raw| SourceFrame::decode(raw).is_ok())
}

/// A stream of frames as a source reads it.
#[must_use]
pub fn target_stream(input: &[u8]) -> bool {
    stream(input, |raw| TargetFrame::decode(raw).is_ok())
}

/// One payload of the frame type in the first byte, past the checksums that would stop
/// nearly every mutation.
#[must_use]
pub fn payload(input: &[u8]) -> bool {
    let Some((kind, payload)) = input.split_first() else { return false };
    let payload = Bytes::copy_from_slice(payload);
    let Ok(header) = Header::decode(&sealed(*kind, SessionId(1), 0, &payload)) else { return false };
    let raw = RawFrame { header, payload };
    let letter = Letter::decode(raw.clone()).is_ok() || Letter::decode_answer(raw.clone()).is_ok();
    letter || SourceFrame::decode(raw.clone()).is_ok() || TargetFrame::decode(raw).is_ok()
}

/// The header that belongs before a payload, whatever that is.
fn sealed(kind: u8, session: SessionId, sequence: u64, payload: &Bytes) -> [u8; HEADER_LEN] {
    match SourceFrame::parse(kind, payload.clone()) {
        Ok(frame) => Header::seal(kind, session, sequence, payload.len(), frame.covered(payload)),
        Err(_) => Header::seal(kind, session, sequence, payload.len(), std::iter::once(&payload[..])),
    }
}

fn stream(input: &[u8], understood: impl Fn(RawFrame) -> bool) -> bool {
    let mut inbox = Inbox::default();
    inbox.buffer.extend_from_slice(input);
    let mut all = !input.is_empty();
    while let Ok(Some(raw)) = inbox.next_frame() {
        all &= understood(raw);
    }
    all && inbox.end().is_ok()
}
