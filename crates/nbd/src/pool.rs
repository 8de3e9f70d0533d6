//! Memory of large reads, kept from one to the next: got anew from the system for each, it
//! would be cleared each time, and that costs as much as hashing what is read into it. This
//! module must never know what is read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// Reads from this many bytes on are worth it.
const WORTH: usize = 64 * 1024;
/// Bytes kept at most.
const KEPT_MAX: usize = 32 * 1024 * 1024;

/// Buffers that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl Pool {
    /// An empty buffer with room for this many bytes.
    pub(crate) fn take(&self, len: usize) -> BytesMut {
        let mut buffer = match len >= WORTH {
            true => self.kept(),
            false => BytesMut::new(),
        };
        buffer.reserve(len);
        buffer
    }

    fn kept(&self) -> BytesMut {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = kept.buffers.pop().unwrap_or_default();
        kept.bytes -= buffer.capacity();
        buffer
    }

    fn put(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + buffer.capacity() <= KEPT_MAX {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }

    /// The buffer as bytes; its memory comes back when the last part of them is dropped.
    pub(crate) fn lend(self: &Arc<Pool>, buffer: BytesMut) -> Bytes {
        match buffer.capacity() >= WORTH {
            true => Bytes::from_owner(Lent { buffer, pool: Arc::clone(self) }),
            false => buffer.freeze(),
        }
    }
}

struct Lent {
    buffer: BytesMut,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_with_the_last_part_and_only_then() {
        let pool = Arc::new(Pool::default());
        let mut buffer = pool.take(WORTH);
        buffer.extend_from_slice(&[7; WORTH]);
        let (at, bytes) = (buffer.as_ptr(), pool.lend(buffer));
        let part = bytes.slice(100..200);
        drop(bytes);
        assert_ne!(pool.take(WORTH).as_ptr(), at, "a part is still in use");
        assert_eq!(&part[..], [7; 100]);
        drop(part);
        let again = pool.take(WORTH);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }

    #[test]
    fn no_more_is_kept_than_allowed_and_small_reads_are_left_alone() {
        let pool = Arc::new(Pool::default());
        let many: Vec<Bytes> = (0..40).map(|_| pool.lend(pool.take(1 << 20))).collect();
        drop(many);
        let kept = pool.0.lock().unwrap();
        assert_eq!((kept.bytes, kept.buffers.len()), (KEPT_MAX, 32));
        drop(kept);
        drop(pool.lend(pool.take(100)));
        assert_eq!(pool.0.lock().unwrap().buffers.len(), 32);
    }
}
