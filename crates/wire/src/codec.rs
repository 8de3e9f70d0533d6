//! Little-endian fields in and out of byte buffers. Reading never allocates more than the
//! input's own length justifies. Knows nothing of what the fields mean.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use farshore_types::{Digest, DiskKey, Epoch, MachineId, PointId, PointRef, RootDigest};
use uuid::Uuid;

use crate::{
    error::FrameError,
    limits::{NAME_LEN_MAX, TEXT_LEN_MAX},
};

/// Reads the fields of one payload; every field is named in errors.
pub(crate) struct Input(Bytes);

impl Input {
    pub(crate) fn new(payload: Bytes) -> Input {
        Input(payload)
    }

    /// The next `len` bytes, shared with the buffer they arrived in.
    pub(crate) fn take(&mut self, field: &'static str, len: usize) -> Result<Bytes, FrameError> {
        match len.checked_sub(self.0.len()) {
            None | Some(0) => Ok(self.0.split_to(len)),
            Some(missing) => Err(FrameError::Short { field, missing }),
        }
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        Ok(self.take(field, 1)?.get_u8())
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, FrameError> {
        Ok(self.take(field, 2)?.get_u16_le())
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, FrameError> {
        Ok(self.take(field, 4)?.get_u32_le())
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, FrameError> {
        Ok(self.take(field, 8)?.get_u64_le())
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Result<u128, FrameError> {
        Ok(self.take(field, 16)?.get_u128_le())
    }

    /// A field that only a later version may use.
    pub(crate) fn reserved(&mut self, field: &'static str, len: usize) -> Result<(), FrameError> {
        match self.take(field, len)?.iter().find(|b| **b != 0) {
            None => Ok(()),
            Some(byte) => Err(FrameError::Reserved { field, value: u64::from(*byte) }),
        }
    }

    /// A count of entries, each of at least `entry_len` bytes: checked against the limit
    /// and against what is left of the payload, so that it may size an allocation.
    pub(crate) fn count(
        &mut self,
        field: &'static str,
        limit: usize,
        entry_len: usize,
    ) -> Result<usize, FrameError> {
        let count = self.u32(field)? as usize;
        if count > limit {
            return Err(FrameError::TooLarge { field, value: count as u64, limit: limit as u64 });
        }
        match (count * entry_len).checked_sub(self.0.len()) {
            None | Some(0) => Ok(count),
            Some(missing) => Err(FrameError::Short { field, missing }),
        }
    }

    /// Bytes after their length.
    pub(crate) fn blob(&mut self, field: &'static str, limit: usize) -> Result<Bytes, FrameError> {
        let len = self.count(field, limit, 1)?;
        self.take(field, len)
    }

    fn text(&mut self, field: &'static str, limit: usize) -> Result<String, FrameError> {
        let bytes = self.blob(field, limit)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| FrameError::Text { field, why: e.to_string() })?;
        Ok(text.to_owned())
    }

    pub(crate) fn name(&mut self, field: &'static str) -> Result<String, FrameError> {
        self.text(field, NAME_LEN_MAX)
    }

    pub(crate) fn message(&mut self, field: &'static str) -> Result<String, FrameError> {
        self.text(field, TEXT_LEN_MAX)
    }

    pub(crate) fn disk_key(&mut self) -> Result<DiskKey, FrameError> {
        let text = self.text("disk", DiskKey::MAX_LEN)?;
        text.parse().map_err(|e| FrameError::Text { field: "disk", why: format!("{e}") })
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Input) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(FrameError::Value { field, value: u64::from(other) }),
        }
    }

    pub(crate) fn machine(&mut self) -> Result<MachineId, FrameError> {
        Ok(MachineId(Uuid::from_u128(self.u128("machine")?)))
    }

    pub(crate) fn epoch(&mut self) -> Result<Epoch, FrameError> {
        Ok(Epoch { number: self.u64("epoch number")?, token: self.u128("epoch token")? })
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, FrameError> {
        let mut digest = Digest::default();
        self.take("digest", Digest::LEN)?.copy_to_slice(&mut digest.0);
        Ok(digest)
    }

    pub(crate) fn root(&mut self) -> Result<RootDigest, FrameError> {
        let mut root = RootDigest::NONE;
        self.take("root digest", root.0.len())?.copy_to_slice(&mut root.0);
        Ok(root)
    }

    pub(crate) fn point(&mut self) -> Result<PointRef, FrameError> {
        let id = PointId { epoch: self.u64("point epoch")?, number: self.u64("point number")? };
        Ok(PointRef { id, root: self.root()? })
    }

    /// Nothing may follow the last field.
    pub(crate) fn end(self) -> Result<(), FrameError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(FrameError::Trailing { count }),
        }
    }
}

/// Writes the fields of one payload. Lengths fit: the constructors of what is written
/// keep to the limits, and texts are cut to theirs here.
pub(crate) struct Output(pub(crate) BytesMut);

impl Output {
    pub(crate) fn new() -> Output {
        Output(BytesMut::new())
    }

    pub(crate) fn u8(&mut self, v: u8) {
        self.0.put_u8(v);
    }

    pub(crate) fn u16(&mut self, v: u16) {
        self.0.put_u16_le(v);
    }

    pub(crate) fn u32(&mut self, v: u32) {
        self.0.put_u32_le(v);
    }

    pub(crate) fn u64(&mut self, v: u64) {
        self.0.put_u64_le(v);
    }

    pub(crate) fn u128(&mut self, v: u128) {
        self.0.put_u128_le(v);
    }

    pub(crate) fn slice(&mut self, v: &[u8]) {
        self.0.put_slice(v);
    }

    /// A count or length. One that does not fit is written as the largest, which every
    /// reader refuses.
    pub(crate) fn len(&mut self, v: usize) {
        self.u32(u32::try_from(v).unwrap_or(u32::MAX));
    }

    pub(crate) fn blob(&mut self, v: &[u8]) {
        self.len(v.len());
        self.slice(v);
    }

    pub(crate) fn name(&mut self, v: &str) {
        self.blob(cut(v, NAME_LEN_MAX).as_bytes());
    }

    pub(crate) fn message(&mut self, v: &str) {
        self.blob(cut(v, TEXT_LEN_MAX).as_bytes());
    }

    pub(crate) fn option<T>(&mut self, v: Option<T>, write: impl FnOnce(&mut Output, T)) {
        self.u8(u8::from(v.is_some()));
        if let Some(v) = v {
            write(self, v);
        }
    }

    pub(crate) fn machine(&mut self, v: MachineId) {
        self.u128(v.0.as_u128());
    }

    pub(crate) fn epoch(&mut self, v: &Epoch) {
        self.u64(v.number);
        self.u128(v.token);
    }

    pub(crate) fn point(&mut self, v: &PointRef) {
        self.u64(v.id.epoch);
        self.u64(v.id.number);
        self.slice(&v.root.0);
    }
}

/// The longest beginning of `text` of at most `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
