//! Writing a delta file, in one pass.

use std::sync::Arc;

use farshore_env::File;
use farshore_types::DiskKey;

use super::{DeltaError, DiskInfo, Footer, MAGIC, PAGE, PAGE_ENTRIES, PAGE_HEAD, TRAILER_LEN};
use crate::{ENTRY_LEN, Entry};

/// Pages are gathered to writes of this many bytes.
const BUFFER: usize = 64 * 1024;

/// Writes disks one after the other, then the footer. Nothing is durable, or named as a
/// delta, before the caller has synced and renamed the file.
pub struct DeltaWriter {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    flushed: u64,
    page: Vec<u8>,
    disks: Vec<DiskInfo>,
    last: Option<u64>,
}

impl DeltaWriter {
    /// Starts an empty file.
    #[must_use]
    pub fn new(file: Arc<dyn File>) -> DeltaWriter {
        let buffer = Vec::with_capacity(BUFFER + PAGE);
        DeltaWriter {
            file,
            buffer,
            flushed: 0,
            page: Vec::with_capacity(PAGE),
            disks: Vec::new(),
            last: None,
        }
    }

    /// Begins the next disk; `floor` as in [`DiskInfo`].
    ///
    /// # Errors
    /// As the file reports.
    pub fn begin_disk(&mut self, key: DiskKey, size: u64, floor: u64) -> Result<(), DeltaError> {
        self.end_page()?;
        self.last = None;
        self.disks.push(DiskInfo { key, size, floor, offset: self.position(), pages: 0, entries: 0 });
        Ok(())
    }

    /// Adds the next entry of the current disk.
    ///
    /// # Errors
    /// [`DeltaError::Order`] where clusters do not ascend; else as the file reports.
    ///
    /// # Panics
    /// Where no disk was begun.
    pub fn push(&mut self, entry: &Entry) -> Result<(), DeltaError> {
        match self.last.replace(entry.cluster) {
            Some(last) if last >= entry.cluster => {
                return Err(DeltaError::Order { last, next: entry.cluster });
            }
            _ => {}
        }
        if self.page.is_empty() {
            self.page.resize(PAGE_HEAD, 0);
        }
        self.page.extend_from_slice(&entry.encode());
        #[expect(clippy::expect_used, reason = "a misuse of this type, not a state of the world")]
        let disk = self.disks.last_mut().expect("begin_disk comes first");
        disk.entries += 1;
        if self.page.len() == PAGE_HEAD + PAGE_ENTRIES * ENTRY_LEN {
            self.end_page()?;
        }
        Ok(())
    }

    /// Writes definition, footer and trailer, and makes the file durable. Of `footer`, the
    /// places within the file are filled in here. Returns the file's size in bytes.
    ///
    /// # Errors
    /// As the file reports.
    pub fn finish(mut self, mut footer: Footer, definition: &[u8]) -> Result<(Footer, u64), DeltaError> {
        self.end_page()?;
        footer.disks = std::mem::take(&mut self.disks);
        footer.definition = (self.position(), definition.len() as u64);
        footer.definition_crc = crc32c::crc32c(definition);
        self.buffer.extend_from_slice(definition);
        let at = self.position();
        let json = serde_json::to_vec(&footer).map_err(std::io::Error::from)?;
        self.buffer.extend_from_slice(&json);
        self.buffer.extend_from_slice(&trailer(at, &json));
        self.flush()?;
        self.file.sync()?;
        Ok((footer, self.flushed))
    }

    fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn end_page(&mut self) -> Result<(), DeltaError> {
        if self.page.is_empty() {
            return Ok(());
        }
        let entries = (self.page.len() - PAGE_HEAD) / ENTRY_LEN;
        self.page[4..8].copy_from_slice(&u32::try_from(entries).unwrap_or(0).to_le_bytes());
        self.page.resize(PAGE, 0);
        let crc = crc32c::crc32c(&self.page[4..]);
        self.page[..4].copy_from_slice(&crc.to_le_bytes());
        self.buffer.append(&mut self.page);
        if let Some(disk) = self.disks.last_mut() {
            disk.pages += 1;
        }
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeltaError> {
        self.file.write_at(&self.buffer, self.flushed)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// A file of given pages and footer, whatever they hold, with right checksums. For fuzzers.
pub(crate) fn assembled(pages: &[u8], footer: &[u8]) -> Vec<u8> {
    let mut out = pages.to_vec();
    for page in out.chunks_exact_mut(PAGE) {
        let crc = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&crc.to_le_bytes());
    }
    let at = out.len() as u64;
    out.extend_from_slice(footer);
    out.extend_from_slice(&trailer(at, footer));
    out
}

fn trailer(footer_at: u64, footer: &[u8]) -> [u8; TRAILER_LEN] {
    let mut out = [0; TRAILER_LEN];
    out[..8].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&footer_at.to_le_bytes());
    out[16..20].copy_from_slice(&u32::try_from(footer.len()).unwrap_or(u32::MAX).to_le_bytes());
    out[20..24].copy_from_slice(&crc32c::crc32c(footer).to_le_bytes());
    let crc = crc32c::crc32c(&out[..24]);
    out[24..28].copy_from_slice(&crc.to_le_bytes());
    out
}
