//! What travels with a point beside its disks: the machine's definition and the state
//! that belongs to it. Opaque to the wire and to the replica.

use farshore_types::DiskKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest definition once unpacked, in bytes.
const UNPACKED_MAX: usize = 16 << 20;

/// Level that a definition is packed with: it is small and sent every cycle.
const LEVEL: i32 = 3;

/// A machine as it must be brought up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The hypervisor's own definition, as the source host has it.
    pub xml: String,
    /// Content of its NVRAM file, where it has one.
    pub nvram: Option<Vec<u8>>,
    /// Disks that are not replicated: the definition names them, the replica lacks them.
    pub left_out: Vec<DiskKey>,
}

/// A packed definition cannot be read.
#[derive(Debug, Error)]
#[error("the point's machine definition is damaged ({0}); take another point, or export the disks")]
pub struct DefinitionError(String);

impl Definition {
    /// The packed form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        // Packing into memory cannot fail; an empty result would be refused by `decode`.
        zstd::bulk::compress(&json, LEVEL).unwrap_or_default()
    }

    /// Reads the packed form.
    ///
    /// # Errors
    /// [`DefinitionError`] where it is not one.
    pub fn decode(packed: &[u8]) -> Result<Definition, DefinitionError> {
        let json =
            zstd::bulk::decompress(packed, UNPACKED_MAX).map_err(|e| DefinitionError(e.to_string()))?;
        serde_json::from_slice(&json).map_err(|e| DefinitionError(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_survives_its_packing_and_rubbish_is_refused() {
        let definition = Definition {
            xml: "<domain/>".into(),
            nvram: Some(vec![1, 2, 3]),
            left_out: vec!["sda".parse().unwrap()],
        };
        assert_eq!(Definition::decode(&definition.encode()).unwrap(), definition);
        assert!(Definition::decode(b"rubbish").is_err());
        assert!(Definition::decode(&[]).is_err());
    }
}
