//! Memory that starts on a page boundary, so that a large write of it can go to the disk
//! without passing through the page cache.

/// What direct I/O asks of addresses, offsets and lengths: the largest block size in use.
pub const DIRECT_ALIGN: usize = 4096;

/// Bytes that start on a boundary of [`DIRECT_ALIGN`]; kept and filled again and again.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    store: Vec<u8>,
    /// Where the bytes start in `store`.
    begin: usize,
}

impl AlignedBuffer {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.store[self.begin..]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len() - self.begin
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the bytes; keeps the memory.
    pub fn clear(&mut self) {
        self.store.truncate(self.begin);
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.store.extend_from_slice(bytes);
    }

    /// Appends zeros up to a multiple of `multiple` bytes.
    pub fn pad_to(&mut self, multiple: usize) {
        let more = self.len().next_multiple_of(multiple) - self.len();
        self.reserve(more);
        self.store.resize(self.store.len() + more, 0);
    }

    /// Makes room for `more` bytes. Memory that grows moves, so the boundary is sought anew.
    fn reserve(&mut self, more: usize) {
        if self.store.capacity() - self.store.len() >= more {
            return;
        }
        let capacity = (self.len() + more).max(2 * self.len()) + DIRECT_ALIGN;
        let mut store: Vec<u8> = Vec::with_capacity(capacity);
        let begin = store.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        store.resize(begin, 0);
        store.extend_from_slice(self.as_slice());
        *self = AlignedBuffer { store, begin };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_and_stay_aligned_while_it_grows() {
        let (mut buffer, mut model) = (AlignedBuffer::default(), Vec::new());
        for n in 0..300usize {
            let bytes: Vec<u8> = (0u8..=250).cycle().skip(n).take(n * 7 % 1000).collect();
            buffer.extend_from_slice(&bytes);
            model.extend_from_slice(&bytes);
            buffer.pad_to(512);
            model.resize(model.len().next_multiple_of(512), 0);
            assert_eq!(buffer.as_slice(), model);
            assert!(buffer.is_empty() || buffer.as_slice().as_ptr().align_offset(DIRECT_ALIGN) == 0);
        }
        buffer.clear();
        assert!(buffer.is_empty());
    }
}
