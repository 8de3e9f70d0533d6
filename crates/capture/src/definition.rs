//! What travels with a point beside its disks: the machine's definition and the state
//! that belongs to it. Opaque to the wire and to the replica.

use std::{fs::File, io::Read, path::Path};

use farshore_types::DiskKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest definition once unpacked, in bytes.
const UNPACKED_MAX: usize = 16 << 20;

/// Longest file of firmware variables that is read, in bytes. Those of UEFI have 540 KiB.
const NVRAM_MAX: u64 = 8 << 20;

/// Level that a definition is packed with: it is small and sent every cycle.
const LEVEL: i32 = 3;

/// What the unpacked form begins with: then the length of the text, big-endian in 4 bytes,
/// the text, and the firmware's variables to the end. Before that form there was the text
/// alone, with the variables as numbers in it; it begins with a brace, and is read.
const MAGIC: &[u8; 4] = b"FSD2";

/// Bytes before the text.
const HEAD: usize = 8;

/// A machine as it must be brought up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The hypervisor's own definition, as the source host has it.
    pub xml: String,
    /// Content of its NVRAM file, where it has one.
    #[serde(default, skip_serializing)]
    pub nvram: Option<Vec<u8>>,
    /// Disks that are not replicated: the definition names them, the replica lacks them.
    pub left_out: Vec<DiskKey>,
    /// Whether firmware variables follow the text; told apart from an empty file of them.
    #[serde(default)]
    has_nvram: bool,
}

/// A packed definition cannot be read.
#[derive(Debug, Error)]
#[error("the point's machine definition is damaged ({0}); take another point, or export the disks")]
pub struct DefinitionError(String);

impl Definition {
    /// A definition.
    #[must_use]
    pub fn new(xml: String, nvram: Option<Vec<u8>>, left_out: Vec<DiskKey>) -> Definition {
        Definition { has_nvram: nvram.is_some(), xml, nvram, left_out }
    }

    /// The packed form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let nvram = self.nvram.as_deref().unwrap_or_default();
        let plain = [&MAGIC[..], &len.to_be_bytes(), &text, nvram].concat();
        // Packing into memory cannot fail; an empty result would be refused by `decode`.
        zstd::bulk::compress(&plain, LEVEL).unwrap_or_default()
    }

    /// Reads the packed form.
    ///
    /// # Errors
    /// [`DefinitionError`] where it is not one.
    pub fn decode(packed: &[u8]) -> Result<Definition, DefinitionError> {
        let plain =
            zstd::bulk::decompress(packed, UNPACKED_MAX).map_err(|e| DefinitionError(e.to_string()))?;
        let read = |text: &[u8]| -> Result<Definition, DefinitionError> {
            serde_json::from_slice(text).map_err(|e| DefinitionError(e.to_string()))
        };
        let Some(rest) = plain.strip_prefix(MAGIC) else {
            return read(&plain).map(|old| Definition { has_nvram: old.nvram.is_some(), ..old });
        };
        let cut = || DefinitionError("it is cut off".to_owned());
        let (len, rest) = rest.split_first_chunk::<{ HEAD - MAGIC.len() }>().ok_or_else(cut)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| cut())?;
        let (text, nvram) = rest.split_at_checked(len).ok_or_else(cut)?;
        let mut definition = read(text)?;
        definition.nvram = definition.has_nvram.then(|| nvram.to_vec());
        Ok(definition)
    }
}

/// Reads a machine's file of firmware variables.
///
/// # Errors
/// Why the point has to do without them, for people.
pub fn read_nvram(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(NVRAM_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(without_nvram(path, &error.to_string())),
        Ok(len) if len as u64 > NVRAM_MAX => {
            Err(without_nvram(path, &format!("the file has more than {NVRAM_MAX} bytes")))
        }
        Ok(_) => Ok(bytes),
    }
}

/// What people are told where points have to do without the firmware's variables.
pub(crate) fn without_nvram(path: &Path, why: &str) -> String {
    format!("the firmware's variables ({}) are not in the points: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(nvram: Option<Vec<u8>>) -> Definition {
        Definition::new("<domain/>".into(), nvram, vec!["sda".parse().unwrap()])
    }

    #[test]
    fn a_definition_survives_its_packing_and_rubbish_is_refused() {
        for nvram in [None, Some(vec![]), Some(vec![1, 2, 3])] {
            let definition = definition(nvram);
            assert_eq!(Definition::decode(&definition.encode()).unwrap(), definition);
        }
        assert!(Definition::decode(b"rubbish").is_err());
        assert!(Definition::decode(&[]).is_err());
        let cut = zstd::bulk::compress(b"FSD2\0\0\0\x09{}", LEVEL).unwrap();
        assert!(Definition::decode(&cut).is_err());
    }

    #[test]
    fn what_earlier_versions_packed_is_read() {
        let old = br#"{"xml":"<domain/>","nvram":[1,2,255],"left_out":["sda"]}"#;
        let packed = zstd::bulk::compress(old, LEVEL).unwrap();
        assert_eq!(Definition::decode(&packed).unwrap(), definition(Some(vec![1, 2, 255])));
        let old = br#"{"xml":"<domain/>","nvram":null,"left_out":["sda"]}"#;
        let packed = zstd::bulk::compress(old, LEVEL).unwrap();
        assert_eq!(Definition::decode(&packed).unwrap(), definition(None));
    }

    #[test]
    fn variables_that_do_not_compress_take_no_more_than_themselves() {
        let noise: Vec<u8> =
            (1u32..540 << 10).map(|n| farshore_types::Digest::of(&n.to_le_bytes()).0[0]).collect();
        let len = noise.len();
        assert!(definition(Some(noise)).encode().len() < len + 1024);
    }

    #[test]
    fn variables_that_cannot_be_read_say_so() {
        let error = read_nvram(Path::new("/nowhere/vars.fd")).unwrap_err();
        assert!(error.contains("/nowhere/vars.fd") && error.contains("not in the points"), "{error}");
    }
}
