//! Letters: one frame there, one back, and the connection ends. So two agents tell and ask
//! each other what is no part of a session: who has a machine now. What a letter says is its
//! owner's; this module must never read it.
//!
//! Letters came after version 2 of sessions and need none of their versions: a program that
//! does not know them closes the connection, which its peer takes for no answer.

use bytes::Bytes;

use crate::{
    codec::Output,
    error::FrameError,
    limits::LETTER_LEN_MAX,
    messages::SessionId,
    stream::{Encoded, RawFrame},
};

/// No frame of a session is of these types.
const LETTER: u8 = 0x40;
const ANSWER: u8 = 0xc0;

/// What one agent says to another, outside of any session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter(Bytes);

impl Letter {
    /// A letter of at most [`LETTER_LEN_MAX`] bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for a longer one.
    pub fn new(text: impl Into<Bytes>) -> Result<Letter, FrameError> {
        let text = text.into();
        match text.len() <= LETTER_LEN_MAX {
            true => Ok(Letter(text)),
            false => Err(too_long(text.len())),
        }
    }

    /// What it says.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The frame by which it is sent.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        self.encode_as(LETTER)
    }

    /// The frame by which it is sent as an answer.
    #[must_use]
    pub fn encode_answer(&self) -> Encoded {
        self.encode_as(ANSWER)
    }

    fn encode_as(&self, kind: u8) -> Encoded {
        let mut out = Output::new();
        out.0.extend_from_slice(&self.0);
        Encoded::new(kind, SessionId(0), 0, out, Vec::new())
    }

    /// Whether a frame is a letter, and no part of a session.
    #[must_use]
    pub fn is_one(raw: &RawFrame) -> bool {
        raw.header.kind == LETTER
    }

    /// Reads a letter.
    ///
    /// # Errors
    /// A checksum that does not hold, another type of frame, or one that is too long.
    pub fn decode(raw: RawFrame) -> Result<Letter, FrameError> {
        Letter::decode_as(LETTER, raw)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// As [`Letter::decode`].
    pub fn decode_answer(raw: RawFrame) -> Result<Letter, FrameError> {
        Letter::decode_as(ANSWER, raw)
    }

    fn decode_as(kind: u8, raw: RawFrame) -> Result<Letter, FrameError> {
        raw.header.verify(std::iter::once(&raw.payload[..]))?;
        if raw.header.kind != kind {
            return Err(FrameError::Kind(raw.header.kind));
        }
        Letter::new(raw.payload)
    }
}

fn too_long(len: usize) -> FrameError {
    FrameError::TooLarge { field: "letter", value: len as u64, limit: LETTER_LEN_MAX as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Inbox;

    fn arrive(encoded: &Encoded) -> RawFrame {
        let mut inbox = Inbox::default();
        inbox.buffer.extend_from_slice(&encoded.to_bytes());
        inbox.next_frame().unwrap().expect("a whole frame")
    }

    #[test]
    fn a_letter_and_its_answer_arrive_as_they_were_sent_and_are_not_taken_for_each_other() {
        let letter = Letter::new(&b"who has it?"[..]).unwrap();
        let raw = arrive(&letter.encode());
        assert!(Letter::is_one(&raw));
        assert_eq!(Letter::decode(raw.clone()).unwrap(), letter);
        assert!(Letter::decode_answer(raw).is_err());
        let answer = arrive(&letter.encode_answer());
        assert!(!Letter::is_one(&answer));
        assert_eq!(Letter::decode_answer(answer).unwrap().text(), b"who has it?");
    }

    #[test]
    fn a_letter_that_is_too_long_is_neither_made_nor_read() {
        assert!(Letter::new(vec![0; LETTER_LEN_MAX]).is_ok());
        assert!(Letter::new(vec![0; LETTER_LEN_MAX + 1]).is_err());
        let long = Letter(vec![7; LETTER_LEN_MAX + 1].into());
        assert!(Letter::decode(arrive(&long.encode())).is_err());
    }

    #[test]
    fn every_flipped_bit_of_a_letter_is_noticed() {
        let whole = Letter::new(&b"sealed"[..]).unwrap().encode().to_bytes();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut inbox = Inbox::default();
            inbox.buffer.extend_from_slice(&bytes);
            let read = inbox.next_frame().map(|raw| raw.map(Letter::decode));
            assert!(!matches!(read, Ok(Some(Ok(_)))), "bit {bit}");
        }
    }
}
