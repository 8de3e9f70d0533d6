//! The site server's configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ProgramError;

/// Where the configuration is looked for unless a command names another file.
pub const DEFAULT_PATH: &str = "/etc/farshore/site.toml";

/// A commented sample: every key with its meaning and default.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteConfig {
    /// The site server's own files.
    pub data_dir: PathBuf,
    /// Where it listens, `address:port`.
    pub listen: String,
    /// The address that registration keys carry; none: this host's name.
    pub address: Option<String>,
    /// Its name in its certificate; none: this host's name.
    pub name: Option<String>,
    /// Other names and addresses by which it is reached.
    pub addresses: Vec<String>,
    /// Where figures for Prometheus are read, `address:port`; none: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
}

impl Default for SiteConfig {
    fn default() -> SiteConfig {
        SiteConfig {
            data_dir: PathBuf::from("/var/lib/farshore/site"),
            listen: "0.0.0.0:7401".to_owned(),
            address: None,
            name: None,
            addresses: Vec::new(),
            metrics_listen: None,
        }
    }
}

impl SiteConfig {
    /// Reads a file; the defaults where the default file is missing.
    ///
    /// # Errors
    /// A file that cannot be read, or says what cannot be.
    pub fn load(path: Option<&Path>) -> Result<SiteConfig, ProgramError> {
        crate::settings::load(path, DEFAULT_PATH)
    }

    /// Its name in its certificate.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(crate::settings::host_name)
    }

    /// The address that registration keys for hosts carry.
    #[must_use]
    pub fn public_address(&self) -> String {
        let port = || self.listen.rsplit_once(':').map_or("7401", |(_, port)| port);
        self.address.clone().unwrap_or_else(|| format!("{}:{}", crate::settings::host_name(), port()))
    }

    /// The socket at which registration keys for hosts are asked for.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data_dir.join("keys.sock")
    }

    /// The socket at which it is asked how it stands.
    #[must_use]
    pub fn status_socket(&self) -> PathBuf {
        self.data_dir.join("status.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_says_the_defaults() {
        assert_eq!(toml::from_str::<SiteConfig>(SAMPLE).unwrap(), SiteConfig::default());
    }
}
