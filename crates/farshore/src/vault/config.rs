//! The vault's configuration.

use std::path::{Path, PathBuf};

use farshore_store::Location;
use serde::{Deserialize, Serialize};

use crate::ProgramError;

/// Where the configuration is looked for unless a command names another file.
pub const DEFAULT_PATH: &str = "/etc/farshore/vault.toml";

/// A commented sample: every key with its meaning and default.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaultConfig {
    /// The vault's own files.
    pub data_dir: PathBuf,
    /// Where it keeps what it knows; none: a file in `data_dir`.
    pub store: Option<String>,
    /// Where it listens, `address:port`.
    pub listen: String,
    /// The address that registration keys carry; none: this host's name.
    pub address: Option<String>,
    /// Where it keeps its own backups; none: `backups` in `data_dir`.
    pub backup_dir: Option<PathBuf>,
    /// Hours between two of them; 0: it makes none.
    pub backup_every_hours: u32,
    /// How many of them are kept, at least 1.
    pub backups_kept: u32,
}

impl Default for VaultConfig {
    fn default() -> VaultConfig {
        VaultConfig {
            data_dir: PathBuf::from("/var/lib/farshore/vault"),
            store: None,
            listen: "0.0.0.0:7400".to_owned(),
            address: None,
            backup_dir: None,
            backup_every_hours: 24,
            backups_kept: 14,
        }
    }
}

impl VaultConfig {
    /// Reads a file; the defaults where the default file is missing.
    ///
    /// # Errors
    /// A file that cannot be read, or says what cannot be.
    pub fn load(path: Option<&Path>) -> Result<VaultConfig, ProgramError> {
        crate::settings::load(path, DEFAULT_PATH)
    }

    /// Where the store lies.
    ///
    /// # Errors
    /// A connection string that means nothing.
    pub fn location(&self) -> Result<Location, ProgramError> {
        let default = self.data_dir.join("vault.db");
        let text = self.store.clone().unwrap_or_else(|| default.display().to_string());
        Ok(Location::parse(&text)?)
    }

    /// The file that unlocks the authority at start.
    #[must_use]
    pub fn unlock_key(&self) -> PathBuf {
        self.data_dir.join("unlock.key")
    }

    /// Where it keeps its own backups.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.backup_dir.clone().unwrap_or_else(|| self.data_dir.join("backups"))
    }

    /// The address that registration keys carry.
    #[must_use]
    pub fn public_address(&self) -> String {
        let port = || self.listen.rsplit_once(':').map_or("7400", |(_, port)| port);
        self.address.clone().unwrap_or_else(|| format!("{}:{}", crate::settings::host_name(), port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_says_the_defaults() {
        assert_eq!(toml::from_str::<VaultConfig>(SAMPLE).unwrap(), VaultConfig::default());
    }
}
