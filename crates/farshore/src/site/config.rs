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
    /// The file that it was read from, where a command named one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
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
            file: None,
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
        let config = crate::settings::load(path, DEFAULT_PATH)?;
        Ok(SiteConfig { file: path.map(Path::to_path_buf), ..config })
    }

    /// A command of `farshore`, as it is typed to go by this configuration.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        crate::settings::command(words, self.file.as_deref())
    }

    /// That no site server was enrolled here, and how one is.
    pub(super) fn not_enrolled(&self) -> ProgramError {
        let what = format!("no site server is enrolled in {}", self.data_dir.display());
        let enrol = self.command("site enrol --key KEY");
        let advice = format!("run `{enrol}` first: `farshore site key SITE` of an operator shows the key");
        ProgramError::usage(what, advice)
    }

    /// What keeps a socket of the site server's from being asked.
    pub(super) fn not_asked(&self, socket: &Path, why: &dyn std::fmt::Display) -> ProgramError {
        if !farshore_pki::Bundle::exists(&self.data_dir) {
            return self.not_enrolled();
        }
        let advice = format!(
            "run this on the site server's machine, as its user, while it runs: `{}`",
            self.command("site serve")
        );
        ProgramError::usage(format!("cannot ask at {}: {why}", socket.display()), advice)
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

    #[tokio::test]
    async fn before_it_is_enrolled_every_command_says_how_that_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("site.toml");
        std::fs::write(&file, format!("data_dir = {:?}\n", dir.path().join("data"))).unwrap();
        let config = SiteConfig::load(Some(&file)).unwrap();
        let enrol = format!("`farshore site enrol --key KEY --config {}`", file.display());
        for told in [
            crate::site::serve(&config, tokio_util::sync::CancellationToken::new()).await.unwrap_err(),
            crate::site::status(&config).await.unwrap_err(),
            crate::site::host_key(&config).await.unwrap_err(),
        ] {
            assert!(told.to_string().contains("enrolled") && told.to_string().contains(&enrol), "{told}");
        }
    }
}
