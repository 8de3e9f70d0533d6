//! The 32 bytes before every payload, and the checksums. TLS keeps attackers out; these
//! keep out the faults of our own buffers, so that every flipped bit has a reason.
//!
//! ```text
//! offset  bytes  field
//!      0      4  magic "FSR1"
//!      4      1  type
//!      5      1  reserved, 0
//!      6      2  check: low half of the CRC-32C of the other fields but the checksum
//!      8      4  payload length, bytes
//!     12      8  session, 0 until Welcome
//!     20      8  sequence, per direction, from 0
//!     28      4  CRC-32C of header (this field as 0) and payload, raw clusters left out
//! ```
//!
//! The check exists because a damaged length would otherwise be noticed only after
//! megabytes that may never come. A raw cluster is left out of the checksum because its own
//! digest, which whoever takes it must check anyway, says more; it is most of what travels.

use bytes::BufMut;

use crate::{SessionId, error::FrameError, limits::FRAME_PAYLOAD_MAX};

/// Bytes of a header.
pub const HEADER_LEN: usize = 32;

const MAGIC: u32 = u32::from_le_bytes(*b"FSR1");
const CHECK_AT: usize = 6;
const CRC_AT: usize = 28;

/// The checked header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of the frame; the directions have types of their own.
    pub kind: u8,
    /// Bytes of payload that follow, at most [`FRAME_PAYLOAD_MAX`].
    pub payload_len: u32,
    /// The session the frame belongs to; 0 before Welcome has told it.
    pub session: SessionId,
    /// Rises by one from frame to frame in each direction, from 0.
    pub sequence: u64,
    crc: u32,
}

impl Header {
    /// The header of a frame with a payload of this length, of which the checksum covers the
    /// given parts.
    pub(crate) fn seal<'a>(
        kind: u8,
        session: SessionId,
        sequence: u64,
        len: usize,
        covered: impl Iterator<Item = &'a [u8]>,
    ) -> [u8; HEADER_LEN] {
        // Too long a payload keeps a length that every reader refuses.
        let payload_len = u32::try_from(len).unwrap_or(u32::MAX);
        let mut bytes = Header { kind, payload_len, session, sequence, crc: 0 }.lay_out();
        let crc = covered.fold(crc32c::crc32c(&bytes), crc32c::crc32c_append);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// All fields, the check included and the checksum as 0.
    fn lay_out(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = &mut bytes[..];
        out.put_u32_le(MAGIC);
        out.put_u8(self.kind);
        out.put_u8(0);
        out.put_u16_le(0);
        out.put_u32_le(self.payload_len);
        out.put_u64_le(self.session.0);
        out.put_u64_le(self.sequence);
        let check = check_of(&bytes);
        bytes[CHECK_AT..CHECK_AT + 2].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// Any flipped bit but those of the checksum itself, which [`Header::verify`] finds;
    /// a payload over the limit.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Header, FrameError> {
        let magic = u32::from_le_bytes(field(bytes, 0));
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        if bytes[5] != 0 {
            return Err(FrameError::Reserved { field: "header byte 5", value: u64::from(bytes[5]) });
        }
        let stored = u16::from_le_bytes(field(bytes, CHECK_AT));
        let computed = check_of(bytes);
        if stored != computed && !skip_crc() {
            return Err(FrameError::HeaderCheck { stored, computed });
        }
        let header = Header {
            kind: bytes[4],
            payload_len: u32::from_le_bytes(field(bytes, 8)),
            session: SessionId(u64::from_le_bytes(field(bytes, 12))),
            sequence: u64::from_le_bytes(field(bytes, 20)),
            crc: u32::from_le_bytes(field(bytes, CRC_AT)),
        };
        if header.payload_len > FRAME_PAYLOAD_MAX {
            let (value, limit) = (u64::from(header.payload_len), u64::from(FRAME_PAYLOAD_MAX));
            return Err(FrameError::TooLarge { field: "frame payload", value, limit });
        }
        Ok(header)
    }

    /// Checks the parts of the payload that the checksum covers.
    ///
    /// # Errors
    /// [`FrameError::Checksum`].
    pub(crate) fn verify<'a>(&self, covered: impl Iterator<Item = &'a [u8]>) -> Result<(), FrameError> {
        let head = crc32c::crc32c(&self.lay_out());
        let computed = covered.fold(head, crc32c::crc32c_append);
        if computed == self.crc || skip_crc() {
            return Ok(());
        }
        Err(FrameError::Checksum { sequence: self.sequence, stored: self.crc, computed })
    }
}

/// The check over all fields but itself and the checksum.
fn check_of(bytes: &[u8; HEADER_LEN]) -> u16 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECK_AT]), &bytes[CHECK_AT + 2..CRC_AT]);
    let [low, high, ..] = crc.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// `N` bytes at a constant place of a header, which has them.
fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(any(test, feature = "deliberate-bugs"))]
fn skip_crc() -> bool {
    crate::bug::is(crate::bug::Bug::SkipCrc)
}

#[cfg(not(any(test, feature = "deliberate-bugs")))]
const fn skip_crc() -> bool {
    false
}
