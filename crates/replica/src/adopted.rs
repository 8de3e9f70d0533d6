//! Reading a disk that was adopted: a raw or qcow2 file that other programs wrote, and that
//! the points of its replica read wherever they have nothing newer. Nothing writes it any
//! more. This module must never know what a point is.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use farshore_env::{File, Files, OpenMode, read_exact_at};
use farshore_qcow2::{Compression, FOREIGN_HEADER_LEN, ForeignHeader, FormatError, L2Entry, MAGIC};

use farshore_types::CLUSTER_BYTES;

use crate::ReplicaError;

/// A disk of a file that is only read.
pub struct AdoptedDisk {
    path: PathBuf,
    file: Arc<dyn File>,
    size: u64,
    qcow2: Option<Qcow2>,
}

/// What reading a qcow2 file needs besides the file.
struct Qcow2 {
    header: ForeignHeader,
    l1: Vec<u64>,
    last: Mutex<Last>,
}

/// What was read last: the next read is most often beside it.
#[derive(Default)]
struct Last {
    /// An L2 table and its place.
    l2: Option<(u64, Arc<Vec<u64>>)>,
    /// An unpacked cluster and the entry that it was unpacked for.
    cluster: Option<(L2Entry, Arc<Vec<u8>>)>,
}

impl AdoptedDisk {
    /// Opens a file, and finds out by its first bytes what it is.
    ///
    /// # Errors
    /// [`ReplicaError::Format`] for a qcow2 file whose disk is not wholly in it; else as the
    /// system reports.
    pub fn open(files: &dyn Files, path: &Path) -> Result<AdoptedDisk, ReplicaError> {
        Self::open_as(files, path, ForeignHeader::decode)
    }

    /// Opens an image of which only what is written in itself is looked at.
    pub(crate) fn open_layer(files: &dyn Files, path: &Path) -> Result<AdoptedDisk, ReplicaError> {
        Self::open_as(files, path, ForeignHeader::decode_layer)
    }

    fn open_as(
        files: &dyn Files,
        path: &Path,
        decode: fn(&[u8]) -> Result<ForeignHeader, FormatError>,
    ) -> Result<AdoptedDisk, ReplicaError> {
        let io = |source| ReplicaError::Io { what: "opening the adopted disk", dir: path.to_owned(), source };
        let file = files.open(path, OpenMode::Read).map_err(io)?;
        let mut head = vec![0; FOREIGN_HEADER_LEN];
        let len = file.size().map_err(io)?.min(head.len() as u64);
        head.truncate(usize::try_from(len).unwrap_or(0));
        read_exact_at(&*file, &mut head, 0).map_err(io)?;
        if !head.starts_with(&MAGIC) {
            let size = file.size().map_err(io)?;
            return Ok(AdoptedDisk { path: path.to_owned(), file, size, qcow2: None });
        }
        let format = |source| ReplicaError::Format { path: path.to_owned(), source };
        let header = decode(&head).map_err(format)?;
        let l1 = read_table(&*file, header.l1_offset, header.l1_entries.into()).map_err(io)?;
        let (size, last) = (header.size, Mutex::default());
        Ok(AdoptedDisk { path: path.to_owned(), file, size, qcow2: Some(Qcow2 { header, l1, last }) })
    }

    /// Size of the disk in bytes, as a guest sees it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The format, as QEMU names it.
    #[must_use]
    pub fn format(&self) -> &'static str {
        match self.qcow2 {
            Some(_) => "qcow2",
            None => "raw",
        }
    }

    /// Fills `buf` from the disk's byte `offset` on; zeros beyond its end.
    ///
    /// # Errors
    /// [`ReplicaError::Format`] where the file is damaged; else as the system reports.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), ReplicaError> {
        let within = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (disk, beyond) = buf.split_at_mut(within);
        beyond.fill(0);
        let Some(qcow2) = &self.qcow2 else {
            return read_exact_at(&*self.file, disk, offset).map_err(|e| self.io(e));
        };
        let cluster = qcow2.header.geometry.cluster();
        let (mut rest, mut at) = (disk, offset);
        while !rest.is_empty() {
            let left = usize::try_from(cluster - at % cluster).unwrap_or(usize::MAX).min(rest.len());
            let (part, after) = rest.split_at_mut(left);
            self.read_part(qcow2, part, at)?;
            (rest, at) = (after, at + left as u64);
        }
        Ok(())
    }

    /// Fills `buf`, which is one cluster of ours, with what is written in this very file;
    /// false where nothing is.
    pub(crate) fn read_own(&self, buf: &mut [u8], cluster: u64) -> Result<bool, ReplicaError> {
        match self.has_own(cluster)? {
            true => self.read_at(buf, cluster * CLUSTER_BYTES).map(|()| true),
            false => Ok(false),
        }
    }

    /// Whether what is not written in this file is read from another one, and not as zeros.
    pub(crate) fn is_layered(&self) -> bool {
        self.qcow2.as_ref().is_some_and(|qcow2| qcow2.header.layered)
    }

    /// Whether one cluster of ours is written in this very file.
    pub(crate) fn has_own(&self, cluster: u64) -> Result<bool, ReplicaError> {
        let Some(qcow2) = &self.qcow2 else { return Ok(true) };
        let at = cluster * CLUSTER_BYTES;
        Ok(at < self.size && self.entry(qcow2, at / qcow2.header.geometry.cluster())? != L2Entry::Unallocated)
    }

    /// Whether its clusters are as large as ours.
    pub(crate) fn has_our_clusters(&self) -> bool {
        self.qcow2.as_ref().is_some_and(|qcow2| qcow2.header.geometry.cluster() == CLUSTER_BYTES)
    }

    /// Fills `buf`, which is within one cluster of the image.
    fn read_part(&self, qcow2: &Qcow2, buf: &mut [u8], offset: u64) -> Result<(), ReplicaError> {
        let cluster = qcow2.header.geometry.cluster();
        match self.entry(qcow2, offset / cluster)? {
            L2Entry::Unallocated | L2Entry::Zero => buf.fill(0),
            L2Entry::Raw { offset: at } => {
                read_or_zeros(&*self.file, buf, at + offset % cluster).map_err(|e| self.io(e))?;
            }
            entry @ L2Entry::Compressed { offset: at, len } => {
                let bytes = self.unpacked(qcow2, entry, at, len)?;
                let from = usize::try_from(offset % cluster).unwrap_or(0);
                buf.copy_from_slice(&bytes[from..from + buf.len()]);
            }
        }
        Ok(())
    }

    fn entry(&self, qcow2: &Qcow2, cluster: u64) -> Result<L2Entry, ReplicaError> {
        const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
        let geometry = qcow2.header.geometry;
        let (index, slot) = (cluster / geometry.l2_entries(), cluster % geometry.l2_entries());
        let l1 = usize::try_from(index).ok().and_then(|i| qcow2.l1.get(i));
        let at = l1.map_or(0, |entry| entry & L1_OFFSET);
        if at == 0 {
            return Ok(L2Entry::Unallocated);
        }
        let known = qcow2.last().l2.clone().filter(|(place, _)| *place == at);
        let table = match known {
            Some((_, table)) => table,
            None => {
                let words = read_table(&*self.file, at, geometry.l2_entries()).map_err(|e| self.io(e))?;
                let table = Arc::new(words);
                qcow2.last().l2 = Some((at, Arc::clone(&table)));
                table
            }
        };
        let word = usize::try_from(slot).ok().and_then(|slot| table.get(slot)).copied();
        L2Entry::decode(word.unwrap_or(0), geometry).map_err(|e| self.format_error(e))
    }

    fn unpacked(
        &self,
        qcow2: &Qcow2,
        entry: L2Entry,
        at: u64,
        len: u64,
    ) -> Result<Arc<Vec<u8>>, ReplicaError> {
        if let Some((_, bytes)) = qcow2.last().cluster.clone().filter(|(known, _)| *known == entry) {
            return Ok(bytes);
        }
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        // The last sector of a file may be cut short.
        read_or_zeros(&*self.file, &mut packed, at).map_err(|e| self.io(e))?;
        let mut bytes = vec![0; usize::try_from(qcow2.header.geometry.cluster()).unwrap_or(0)];
        if !unpack(qcow2.header.compression, &packed, &mut bytes) {
            let why = "does not hold a cluster of compressed data";
            return Err(self.format_error(FormatError::Field {
                field: "compressed cluster",
                value: at,
                why,
            }));
        }
        let bytes = Arc::new(bytes);
        qcow2.last().cluster = Some((entry, Arc::clone(&bytes)));
        Ok(bytes)
    }

    fn io(&self, source: io::Error) -> ReplicaError {
        ReplicaError::Io { what: "reading the adopted disk", dir: self.path.clone(), source }
    }

    fn format_error(&self, source: FormatError) -> ReplicaError {
        ReplicaError::Format { path: self.path.clone(), source }
    }
}

impl Qcow2 {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unpacks exactly one cluster; what follows it up to the end of its last sector is not
/// part of it.
fn unpack(compression: Compression, packed: &[u8], out: &mut [u8]) -> bool {
    let len = match compression {
        Compression::Deflate => {
            let once = std::iter::once(packed);
            miniz_oxide::inflate::decompress_slice_iter_to_slice(out, once, false, true).ok()
        }
        Compression::Zstd => {
            let frame = zstd::zstd_safe::find_frame_compressed_size(packed).ok();
            let frame = frame.and_then(|len| packed.get(..len));
            frame.and_then(|frame| zstd::bulk::decompress_to_buffer(frame, &mut *out).ok())
        }
    };
    len == Some(out.len())
}

fn read_table(file: &dyn File, at: u64, entries: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; usize::try_from(entries * 8).unwrap_or(0)];
    read_or_zeros(file, &mut bytes, at)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word)).collect())
}

/// Fills `buf`; with zeros beyond the file's end.
fn read_or_zeros(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset)? {
            0 => {
                buf.fill(0);
                return Ok(());
            }
            n => (buf, offset) = (&mut buf[n..], offset + n as u64),
        }
    }
    Ok(())
}
