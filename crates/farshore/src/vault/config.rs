//! The vault's configuration.

use std::path::{Path, PathBuf};

use farshore_store::Location;
use serde::{Deserialize, Serialize};

use super::notify::AlertsConfig;
use crate::ProgramError;

/// Where the configuration is looked for unless a command names another file.
pub const DEFAULT_PATH: &str = "/etc/farshore/vault.toml";

/// A commented sample: every key with its meaning and default.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaultConfig {
    /// The file that it was read from, where a command named one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The vault's own files.
    pub data_dir: PathBuf,
    /// Where it keeps what it knows; none: a file in `data_dir`.
    pub store: Option<String>,
    /// Where it listens, `address:port`.
    pub listen: String,
    /// The address that registration keys carry; none: this host's name.
    pub address: Option<String>,
    /// Where figures for Prometheus are read, in the clear; none: nowhere.
    pub metrics_listen: Option<String>,
    /// Who is told of alerts.
    pub alerts: AlertsConfig,
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
            file: None,
            data_dir: PathBuf::from("/var/lib/farshore/vault"),
            store: None,
            listen: "0.0.0.0:7400".to_owned(),
            address: None,
            metrics_listen: None,
            alerts: AlertsConfig::default(),
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
        let config = crate::settings::load(path, DEFAULT_PATH)?;
        Ok(VaultConfig { file: path.map(Path::to_path_buf), ..config })
    }

    /// A command of `farshore`, as it is typed to go by this configuration.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        crate::settings::command(words, self.file.as_deref())
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

    /// Where the store of a vault lies that was made. Opened without being there, a file would be
    /// made: an empty store, or an error about its folder.
    pub(crate) fn location_of_vault(&self) -> Result<Location, ProgramError> {
        match self.location()? {
            Location::Sqlite(file) if !file.exists() => Err(self.no_vault()),
            location => Ok(location),
        }
    }

    /// That there is no vault where the store lies, and how one is made.
    pub(crate) fn no_vault(&self) -> ProgramError {
        let place = self.location().map_or_else(|_| String::new(), |place| place.to_string());
        ProgramError::NoVault { place, make: self.command("vault init") }
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

    #[tokio::test]
    async fn where_there_is_no_vault_it_is_told_how_one_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vault.toml");
        let data = dir.path().join("data");
        std::fs::write(&file, format!("data_dir = {data:?}\n")).unwrap();
        let config = VaultConfig::load(Some(&file)).unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let told = crate::vault::serve(&config, stop.clone(), |_| {}).await.unwrap_err().to_string();
        let make = format!("`farshore vault init --config {}`", file.display());
        assert!(told.contains("there is no vault in") && told.contains(&make), "{told}");
        let token = crate::vault::new_token(&config, "owner").await.unwrap_err().to_string();
        assert!(token.contains(&make), "{token}");
        assert!(!data.exists(), "nothing is made by that");
        // An empty store is none either.
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("vault.db"), "").unwrap();
        let told = crate::vault::serve(&config, stop, |_| {}).await.unwrap_err().to_string();
        assert!(told.contains(&make), "{told}");
    }

    #[test]
    fn a_command_names_the_configuration_that_it_was_given() {
        let config = |file: Option<&str>| VaultConfig { file: file.map(PathBuf::from), ..Default::default() };
        let start = |file| config(file).command("vault serve");
        assert_eq!(start(None), "farshore vault serve");
        assert_eq!(start(Some("/etc/v.toml")), "farshore vault serve --config /etc/v.toml");
        assert_eq!(start(Some("my vault.toml")), "farshore vault serve --config 'my vault.toml'");
    }

    #[test]
    fn what_the_sample_shows_of_alerts_can_be_switched_on() {
        let shown = SAMPLE.split("[alerts]").nth(1).unwrap();
        let text: String = shown.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
        let config: VaultConfig = toml::from_str(&text).unwrap();
        assert_eq!(farshore_config::unknown_keys::<VaultConfig>("sample", &text).unwrap().len(), 0);
        let email = config.alerts.email.as_ref().unwrap();
        assert_eq!((email.port, email.to.len(), config.alerts.webhooks.len()), (Some(587), 1, 1));
        let channels = crate::vault::notify::Channels::of(&config.alerts).unwrap();
        assert_eq!(channels.names(), ["email", "pager"]);
    }
}
