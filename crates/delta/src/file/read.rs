//! Reading a delta file: its footer, single clusters, or whole disks in order.

use std::sync::Arc;

use farshore_env::{File, read_exact_at};
use farshore_types::DiskKey;

use super::{
    DEFINITION_MAX, DeltaError, DiskInfo, FOOTER_MAX, Footer, MAGIC, PAGE, PAGE_ENTRIES, PAGE_HEAD,
    TRAILER_LEN,
};
use crate::{ENTRY_LEN, Entry};

/// Most pages that a cursor reads at once.
const READ_AHEAD: u64 = 16;

/// An open delta file.
#[derive(Clone)]
pub struct DeltaFile {
    file: Arc<dyn File>,
    footer: Arc<Footer>,
}

fn damaged<T>(what: &'static str, offset: u64) -> Result<T, DeltaError> {
    Err(DeltaError::Damaged { what, offset })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut w = [0; 4];
    w.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(w)
}

impl DeltaFile {
    /// Reads and checks trailer and footer.
    ///
    /// # Errors
    /// [`DeltaError::Damaged`] where they are not as written; else as the file reports.
    pub fn open(file: Arc<dyn File>) -> Result<DeltaFile, DeltaError> {
        let size = file.size()?;
        let Some(at) = size.checked_sub(TRAILER_LEN as u64) else { return damaged("too short", 0) };
        let mut trailer = [0; TRAILER_LEN];
        read_exact_at(&*file, &mut trailer, at)?;
        if &trailer[..8] != MAGIC
            || word(&trailer, 24) != crc32c::crc32c(&trailer[..24])
            || word(&trailer, 28) != 0
        {
            return damaged("trailer", at);
        }
        let mut place = [0; 8];
        place.copy_from_slice(&trailer[8..16]);
        let (footer_at, len) = (u64::from_le_bytes(place), word(&trailer, 16));
        if len > FOOTER_MAX || footer_at.checked_add(len.into()) != Some(at) {
            return damaged("place of the footer", at);
        }
        let mut json = vec![0; len as usize];
        read_exact_at(&*file, &mut json, footer_at)?;
        if crc32c::crc32c(&json) != word(&trailer, 20) {
            return damaged("footer checksum", footer_at);
        }
        match serde_json::from_slice::<Footer>(&json) {
            Ok(footer) if fits(&footer, footer_at) => Ok(DeltaFile { file, footer: Arc::new(footer) }),
            _ => damaged("footer", footer_at),
        }
    }

    /// The same file, read through another handle of it.
    #[must_use]
    pub fn with_file(self, file: Arc<dyn File>) -> DeltaFile {
        DeltaFile { file, ..self }
    }

    /// What the file says of itself.
    #[must_use]
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The machine's definition at this element, as the source sent it.
    ///
    /// # Errors
    /// [`DeltaError::Damaged`] where its checksum is wrong; else as the file reports.
    pub fn definition(&self) -> Result<Vec<u8>, DeltaError> {
        let (at, len) = self.footer.definition;
        let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
        read_exact_at(&*self.file, &mut out, at)?;
        match crc32c::crc32c(&out) == self.footer.definition_crc {
            true => Ok(out),
            false => damaged("definition checksum", at),
        }
    }

    /// Size of the file in bytes.
    ///
    /// # Errors
    /// As the file reports.
    pub fn size(&self) -> Result<u64, DeltaError> {
        Ok(self.file.size()?)
    }

    /// The disk's part of the file, where this element has the disk.
    #[must_use]
    pub fn disk(&self, key: &DiskKey) -> Option<&DiskInfo> {
        self.footer.disks.iter().find(|d| d.key == *key)
    }

    /// The disk's entries in order; none where the element lacks the disk.
    #[must_use]
    pub fn cursor(&self, key: &DiskKey) -> Cursor {
        let (offset, pages) = self.disk(key).map_or((0, 0), |d| (d.offset, d.pages));
        Cursor {
            file: self.file.clone(),
            next_page: offset,
            pages_left: pages,
            buffer: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// The disk's entry for one cluster: a few page reads, nothing kept.
    ///
    /// # Errors
    /// [`DeltaError::Damaged`] where a page is; else as the file reports.
    pub fn lookup(&self, key: &DiskKey, cluster: u64) -> Result<Option<Entry>, DeltaError> {
        let Some(disk) = self.disk(key) else { return Ok(None) };
        let mut page = vec![0; PAGE];
        let (mut low, mut high) = (0, disk.pages);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = disk.offset + middle * PAGE as u64;
            read_exact_at(&*self.file, &mut page, at)?;
            let entries = decode_page(&page, at)?;
            let (first, last) = (entries[0].cluster, entries[entries.len() - 1].cluster);
            if cluster < first {
                high = middle;
            } else if cluster > last {
                low = middle + 1;
            } else {
                return Ok(entries.into_iter().find(|e| e.cluster == cluster));
            }
        }
        Ok(None)
    }

    /// Reads every page and the definition.
    ///
    /// # Errors
    /// The first damage found; else as the file reports.
    pub fn check(&self) -> Result<(), DeltaError> {
        self.check_each(|_, _| ())
    }

    /// As [`DeltaFile::check`], and shows each disk's entries in order, so that they need not
    /// be read again.
    ///
    /// # Errors
    /// As [`DeltaFile::check`]; entries may have been shown before it was found.
    pub fn check_each(&self, mut show: impl FnMut(&DiskKey, &Entry)) -> Result<(), DeltaError> {
        self.definition()?;
        for disk in &self.footer.disks {
            let mut entries = 0;
            for entry in self.cursor(&disk.key) {
                show(&disk.key, &entry?);
                entries += 1;
            }
            if entries != disk.entries {
                return damaged("number of entries", disk.offset);
            }
        }
        Ok(())
    }
}

/// Whether all that the footer points to lies before it.
fn fits(footer: &Footer, footer_at: u64) -> bool {
    let within =
        |at: u64, len: Option<u64>| len.and_then(|l| at.checked_add(l)).is_some_and(|end| end <= footer_at);
    let (at, len) = footer.definition;
    let pages = |d: &DiskInfo| within(d.offset, d.pages.checked_mul(PAGE as u64));
    len <= DEFINITION_MAX && within(at, Some(len)) && footer.disks.iter().all(pages)
}

fn decode_page(page: &[u8], at: u64) -> Result<Vec<Entry>, DeltaError> {
    if word(page, 0) != crc32c::crc32c(&page[4..PAGE]) {
        return damaged("page checksum", at);
    }
    let count = word(page, 4) as usize;
    if count == 0 || count > PAGE_ENTRIES {
        return damaged("page", at);
    }
    let mut out = Vec::with_capacity(count);
    for chunk in page[PAGE_HEAD..PAGE_HEAD + count * ENTRY_LEN].as_chunks::<ENTRY_LEN>().0 {
        match Entry::decode(chunk) {
            Some(entry) => out.push(entry),
            None => return damaged("place", at),
        }
    }
    Ok(out)
}

/// A disk's entries in ascending order.
pub struct Cursor {
    file: Arc<dyn File>,
    next_page: u64,
    pages_left: u64,
    buffer: Vec<u8>,
    /// Entries of the pages read, the next one last.
    ready: Vec<Entry>,
}

impl Cursor {
    fn refill(&mut self) -> Result<(), DeltaError> {
        let pages = self.pages_left.min(READ_AHEAD);
        self.buffer.resize(usize::try_from(pages).unwrap_or(1) * PAGE, 0);
        read_exact_at(&*self.file, &mut self.buffer, self.next_page)?;
        for (i, page) in self.buffer.chunks_exact(PAGE).enumerate().rev() {
            let entries = decode_page(page, self.next_page + (i * PAGE) as u64)?;
            self.ready.extend(entries.into_iter().rev());
        }
        self.next_page += pages * PAGE as u64;
        self.pages_left -= pages;
        Ok(())
    }
}

impl Iterator for Cursor {
    type Item = Result<Entry, DeltaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && self.pages_left > 0
            && let Err(e) = self.refill()
        {
            self.pages_left = 0;
            self.ready.clear();
            return Some(Err(e));
        }
        self.ready.pop().map(Ok)
    }
}
