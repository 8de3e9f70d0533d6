//! Names of machines and of their disks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The hypervisor's UUID of a machine; it stays the same on both sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct MachineId(pub Uuid);

/// The text is not a valid name of its kind.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Not a UUID.
    #[error("'{0}' is not a machine's UUID")]
    Machine(String),
    /// Not a disk's target name.
    #[error("'{0}' is not a disk's name: expected 1 to {max} of a-z, 0-9, - and _, such as vda", max = DiskKey::MAX_LEN)]
    Disk(String),
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MachineId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::parse_str(text).map(MachineId).map_err(|_| NameError::Machine(text.to_owned()))
    }
}

/// A disk's name within its machine: the target device of its definition, such as `vda`.
///
/// It becomes part of file names and arrives from the network, so it is always checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^[a-z0-9_-]{1,32}$"))]
#[serde(try_from = "String", into = "String")]
pub struct DiskKey(String);

impl DiskKey {
    /// Longest accepted name, in bytes.
    pub const MAX_LEN: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DiskKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            return Err(NameError::Disk(text.to_owned()));
        }
        Ok(DiskKey(text.to_owned()))
    }
}

impl TryFrom<String> for DiskKey {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<DiskKey> for String {
    fn from(key: DiskKey) -> String {
        key.0
    }
}

impl fmt::Display for DiskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_name_cannot_leave_its_directory() {
        assert!("vda".parse::<DiskKey>().is_ok());
        for bad in ["", "..", "a/b", "VDA", "a b", "vda\0", "é"] {
            assert!(bad.parse::<DiskKey>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(33).parse::<DiskKey>().is_err());
    }
}
