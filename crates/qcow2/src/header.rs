//! The image's header: one sector that names everything else.

use crate::{Fields, FormatError, Geometry, REFCOUNT_ORDER};

const MAGIC: u32 = 0x5146_49fb;
const HEADER_LEN: u32 = 112;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const COMPRESSION_ZSTD: u8 = 1;
const EXT_END: u32 = 0;
const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;

/// Our header and its extensions stay within one sector, so that replacing them is one
/// atomic write. A backing file's name is kept behind it, at [`BACKING_AT`].
pub const HEADER_MAX: usize = 512;

/// Most bytes of a file in which its header, as QEMU may have rewritten it, and the name of its
/// backing file are.
pub const HEADER_READ: usize = 4096;

/// Where the extensions of a header that QEMU has rewritten end at the latest.
const EXTENSIONS_END_MAX: usize = 2048;
const BACKING_AT: u64 = 512;
const BACKING_MAX: usize = 1023;

/// An extension that QEMU does not know; it keeps such ones when it rewrites a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Type number.
    pub kind: u32,
    /// Content.
    pub data: Vec<u8>,
}

/// A version 3 header with zstd compression and 32-bit reference counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Cluster size of the image.
    pub geometry: Geometry,
    /// Size of the disk as the guest sees it, in bytes; a multiple of 512.
    pub size: u64,
    /// Place of the active L1 table.
    pub l1_offset: u64,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Place of the refcount table.
    pub refcount_table_offset: u64,
    /// Clusters that the refcount table fills.
    pub refcount_table_clusters: u32,
    /// Place of the snapshot table; 0 where there are no snapshots.
    pub snapshots_offset: u64,
    /// Number of snapshots.
    pub snapshots: u32,
    /// Name and format of the backing file.
    pub backing: Option<(String, String)>,
    /// Extensions of ours.
    pub extensions: Vec<Extension>,
}

impl Header {
    /// The header's bytes: what fits [`HEADER_MAX`], then the backing file's name.
    ///
    /// # Errors
    /// Where a name or the extensions do not fit.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let backing = self.backing.as_ref().map_or("", |(name, _)| name.as_str());
        if backing.len() > BACKING_MAX {
            return Err(too_long("backing file name", backing.len(), "is longer than 1023 bytes"));
        }
        let mut out = self.fixed_part(backing.len());
        if let Some((_, format)) = &self.backing {
            put_extension(&mut out, EXT_BACKING_FORMAT, format.as_bytes());
        }
        self.extensions.iter().for_each(|e| put_extension(&mut out, e.kind, &e.data));
        put_extension(&mut out, EXT_END, &[]);
        if out.len() > HEADER_MAX {
            return Err(too_long("header", out.len(), "does not fit its sector"));
        }
        out.resize(HEADER_MAX, 0);
        out.extend_from_slice(backing.as_bytes());
        Ok(out)
    }

    fn fixed_part(&self, backing_len: usize) -> Vec<u8> {
        let (backing_at, backing_len) = match backing_len {
            0 => (0, 0),
            len => (BACKING_AT, u32::try_from(len).unwrap_or(0)),
        };
        let mut out = Vec::with_capacity(HEADER_MAX);
        let u32_ = |out: &mut Vec<u8>, v: u32| out.extend_from_slice(&v.to_be_bytes());
        let u64_ = |out: &mut Vec<u8>, v: u64| out.extend_from_slice(&v.to_be_bytes());
        u32_(&mut out, MAGIC);
        u32_(&mut out, 3);
        u64_(&mut out, backing_at);
        u32_(&mut out, backing_len);
        u32_(&mut out, self.geometry.cluster_bits());
        u64_(&mut out, self.size);
        u32_(&mut out, 0); // encryption
        u32_(&mut out, self.l1_entries);
        u64_(&mut out, self.l1_offset);
        u64_(&mut out, self.refcount_table_offset);
        u32_(&mut out, self.refcount_table_clusters);
        u32_(&mut out, self.snapshots);
        u64_(&mut out, self.snapshots_offset);
        u64_(&mut out, INCOMPATIBLE_COMPRESSION);
        u64_(&mut out, 0); // compatible features
        u64_(&mut out, 0); // autoclear features
        u32_(&mut out, REFCOUNT_ORDER);
        u32_(&mut out, HEADER_LEN);
        out.push(COMPRESSION_ZSTD);
        out.resize(HEADER_LEN as usize, 0);
        out
    }

    /// Reads a header as [`Header::encode`] writes it, from the file's first bytes
    /// ([`HEADER_READ`] are always enough).
    ///
    /// # Errors
    /// Where it is not such a header: another version, other features, fields out of range.
    pub fn decode(bytes: &[u8]) -> Result<Header, FormatError> {
        let f = Fields::new("header", bytes);
        match f.u32(0)? {
            MAGIC => {}
            other => return Err(FormatError::Magic(other)),
        }
        let expect = |field, value: u64, wanted: u64, why| match value == wanted {
            true => Ok(()),
            false => Err(FormatError::Field { field, value, why }),
        };
        expect("version", f.u32(4)?.into(), 3, "is not 3")?;
        expect("encryption", f.u32(32)?.into(), 0, "is not supported")?;
        expect(
            "incompatible features",
            f.u64(72)?,
            INCOMPATIBLE_COMPRESSION,
            "are not just zstd compression",
        )?;
        expect("refcount order", f.u32(96)?.into(), REFCOUNT_ORDER.into(), "is not 5")?;
        expect("header length", f.u32(100)?.into(), HEADER_LEN.into(), "is not 112")?;
        expect("compression type", f.take(104, 1)?[0].into(), COMPRESSION_ZSTD.into(), "is not zstd")?;
        let geometry = Geometry::new(f.u32(20)?)?;
        let (backing_format, extensions) = read_extensions(&f)?;
        let backing = read_backing(&f, backing_format)?;
        let header = Header {
            geometry,
            size: f.u64(24)?,
            l1_entries: f.u32(36)?,
            l1_offset: f.u64(40)?,
            refcount_table_offset: f.u64(48)?,
            refcount_table_clusters: f.u32(56)?,
            snapshots: f.u32(60)?,
            snapshots_offset: f.u64(64)?,
            backing,
            extensions,
        };
        header.check_ranges()?;
        Ok(header)
    }

    fn check_ranges(&self) -> Result<(), FormatError> {
        let refuse = |field, value, why| Err(FormatError::Field { field, value, why });
        if u64::from(self.l1_entries) < self.geometry.l1_entries(self.size) {
            return refuse("L1 size", self.l1_entries.into(), "is too small for the disk");
        }
        if u64::from(self.l1_entries) * 8 > crate::L1_BYTES_MAX {
            return refuse("L1 size", self.l1_entries.into(), "is larger than any that QEMU opens");
        }
        if self.snapshots > crate::SNAPSHOTS_MAX {
            return refuse("snapshot count", self.snapshots.into(), "is over the format's 65536");
        }
        for (field, place) in [
            ("L1 offset", self.l1_offset),
            ("refcount table offset", self.refcount_table_offset),
            ("snapshot table offset", self.snapshots_offset),
        ] {
            if !place.is_multiple_of(self.geometry.cluster()) {
                return refuse(field, place, "is not at the start of a cluster");
            }
        }
        Ok(())
    }
}

fn too_long(field: &'static str, len: usize, why: &'static str) -> FormatError {
    FormatError::Field { field, value: len as u64, why }
}

fn put_extension(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
}

type Extensions = (Option<String>, Vec<Extension>);

fn read_extensions(f: &Fields<'_>) -> Result<Extensions, FormatError> {
    let (mut at, mut format, mut rest) = (HEADER_LEN as usize, None, Vec::new());
    // QEMU, when it keeps bitmaps, writes a header that is longer than ours: up to the name of the
    // backing file, where there is one.
    let end = match usize::try_from(f.u64(8)?).unwrap_or(0) {
        0 => EXTENSIONS_END_MAX,
        named => named.clamp(HEADER_MAX, EXTENSIONS_END_MAX),
    };
    while at + 8 <= end {
        let (kind, len) = (f.u32(at)?, f.u32(at + 4)? as usize);
        if kind == EXT_END {
            break;
        }
        if len > HEADER_MAX {
            return Err(too_long("header extension", len, "is longer than the header's sector"));
        }
        let data = f.take(at + 8, len)?.to_vec();
        match kind {
            EXT_BACKING_FORMAT => format = Some(String::from_utf8_lossy(&data).into_owned()),
            _ => rest.push(Extension { kind, data }),
        }
        at += 8 + len.next_multiple_of(8);
    }
    Ok((format, rest))
}

fn read_backing(f: &Fields<'_>, format: Option<String>) -> Result<Option<(String, String)>, FormatError> {
    let (at, len) = (f.u64(8)?, f.u32(16)? as usize);
    if at == 0 || len == 0 {
        return Ok(None);
    }
    let at = usize::try_from(at).ok().filter(|_| len <= BACKING_MAX);
    let at = at.ok_or_else(|| too_long("backing file name", len, "is longer than 1023 bytes"))?;
    let name = String::from_utf8_lossy(f.take(at, len)?).into_owned();
    Ok(Some((name, format.unwrap_or_else(|| "raw".to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            geometry: Geometry::DEFAULT,
            size: 10 << 30,
            l1_offset: 0x30000,
            l1_entries: 20,
            refcount_table_offset: 0x10000,
            refcount_table_clusters: 1,
            snapshots_offset: 0x50000,
            snapshots: 3,
            backing: Some(("/srv/old disk.raw".into(), "raw".into())),
            extensions: vec![Extension { kind: 0x4641_5253, data: b"hello".to_vec() }],
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let header = sample();
        assert_eq!(Header::decode(&header.encode().unwrap()), Ok(header));
    }

    #[test]
    fn a_cut_or_foreign_header_is_refused_with_a_reason() {
        let bytes = sample().encode().unwrap();
        for len in 0..112 {
            assert!(Header::decode(&bytes[..len]).is_err(), "{len}");
        }
        assert!(matches!(Header::decode(&[0; 1024]), Err(FormatError::Magic(0))));
        let mut encrypted = bytes.clone();
        encrypted[35] = 1;
        assert!(Header::decode(&encrypted).unwrap_err().to_string().contains("encryption"));
    }

    /// QEMU puts names of features and a directory of bitmaps before what it does not know.
    #[test]
    fn what_qemu_keeps_behind_its_own_extensions_is_found() {
        let header = sample();
        let mut bytes = header.encode().unwrap();
        let ours = bytes.split_off(HEADER_LEN as usize);
        let (format, rest) = ours.split_at(16);
        bytes.extend_from_slice(format);
        put_extension(&mut bytes, 0x6803_f857, &[7; 384]);
        put_extension(&mut bytes, 0x2385_2875, &[1; 24]);
        bytes.extend_from_slice(&rest[..24]);
        let name = b"/srv/old disk.raw";
        let at = bytes.len() as u64;
        assert!(at > HEADER_MAX as u64);
        bytes[8..16].copy_from_slice(&at.to_be_bytes());
        bytes.extend_from_slice(name);
        bytes.resize(HEADER_READ, 0);
        let found = Header::decode(&bytes).unwrap();
        assert_eq!(found.backing, header.backing);
        assert_eq!(found.extensions.last(), header.extensions.last());
        // The same of an image that was made to stand alone.
        bytes[8..20].fill(0);
        let found = Header::decode(&bytes).unwrap();
        assert_eq!((found.backing, found.extensions.last()), (None, header.extensions.last()));
    }

    #[test]
    fn a_header_that_does_not_fit_its_sector_is_refused() {
        let mut header = sample();
        header.extensions[0].data = vec![1; 400];
        assert!(header.encode().is_err());
    }
}
