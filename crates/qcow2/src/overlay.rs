//! A fresh, empty image over a backing file: the disk on which a brought-up machine runs.

use crate::{Extension, FormatError, Geometry, Header};

/// What a new overlay needs to know.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// Size of the disk in bytes; a multiple of 512.
    pub size: u64,
    /// Path of the backing file as the hypervisor will open it.
    pub backing: String,
    /// Its format, as QEMU names it.
    pub backing_format: String,
    /// Extensions to carry, such as the point that the overlay stands on.
    pub extensions: Vec<Extension>,
}

/// An overlay's first bytes, and how long the file must be.
#[derive(Debug)]
pub struct OverlayImage {
    /// To be written at offset 0.
    pub bytes: Vec<u8>,
    /// Size of the file; the rest reads as zeros.
    pub file_size: u64,
}

impl Overlay {
    /// Lays the image out: header, refcount table, one refcount block, an empty L1 table.
    ///
    /// # Errors
    /// Where the backing file's name or the extensions do not fit the header.
    pub fn image(&self) -> Result<OverlayImage, FormatError> {
        let geometry = Geometry::DEFAULT;
        let cluster = geometry.cluster();
        let l1_entries = geometry.l1_entries(self.size);
        let l1_clusters = (l1_entries * 8).div_ceil(cluster);
        let narrow = |v: u64| u32::try_from(v).unwrap_or(u32::MAX);
        let header = Header {
            geometry,
            size: self.size,
            refcount_table_offset: cluster,
            refcount_table_clusters: 1,
            l1_offset: 3 * cluster,
            l1_entries: narrow(l1_entries),
            snapshots_offset: 0,
            snapshots: 0,
            backing: Some((self.backing.clone(), self.backing_format.clone())),
            extensions: self.extensions.clone(),
        };
        let used = 3 + l1_clusters;
        let mut bytes = header.encode()?;
        bytes.resize(usize::try_from(2 * cluster).unwrap_or(0), 0);
        let table = usize::try_from(cluster).unwrap_or(0);
        bytes[table..table + 8].copy_from_slice(&(2 * cluster).to_be_bytes());
        (0..used).for_each(|_| bytes.extend_from_slice(&1u32.to_be_bytes()));
        Ok(OverlayImage { bytes, file_size: used * cluster })
    }
}
