//! What the vault's configuration says of channels. Secrets are never in it: it names files.

use std::path::{Path, PathBuf};

use farshore_health::Level;
use serde::{Deserialize, Serialize};

/// By what people are told of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertsConfig {
    /// By e-mail.
    pub email: Option<EmailConfig>,
    /// By calls of programs.
    pub webhooks: Vec<WebhookConfig>,
}

/// How bad an alert must be to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Least {
    /// All of them.
    #[default]
    Warning,
    /// Critical ones alone.
    Critical,
}

impl Least {
    pub(super) fn level(self) -> Level {
        match self {
            Least::Warning => Level::Warning,
            Least::Critical => Level::Critical,
        }
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// It begins in the clear and must go on with TLS.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: for a relay on this machine.
    Plain,
}

/// A mail server, and who gets mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmailConfig {
    /// Its name or address.
    pub server: String,
    /// Its port; none: 587, 465 for TLS, 25 for plain.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: Security,
    /// Certificates that its own must come from, PEM; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Who signs in; none: nobody.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The sender.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// How bad an alert must be.
    pub least: Least,
}

/// A program that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookConfig {
    /// Its name; none: its host.
    pub name: Option<String>,
    /// Where it is called, `https://` or `http://`.
    pub url: String,
    /// The file with the secret that calls are signed with.
    pub secret_file: Option<PathBuf>,
    /// Certificates that its own must come from, PEM; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How bad an alert must be.
    pub least: Least,
}

/// What a file of a secret holds, without the end of its line.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("{} is empty", path.display())),
        secret => Ok(secret.to_owned()),
    }
}
