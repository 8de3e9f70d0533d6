//! Which vault commands speak to: its address, its authority's fingerprint and a token, in a
//! file that only its owner reads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use farshore_channel::Visitor;
use serde::{Deserialize, Serialize};

use super::{Global, Output, show};
use crate::{ProgramError, settings};

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// Where the vault is, `host:port`.
    pub(crate) address: String,
    /// Its authority's fingerprint.
    pub(crate) fingerprint: String,
    /// The token.
    pub(crate) token: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Shows it, without the token.
    #[command(after_help = "Example:\n  farshore context show")]
    Show,
    /// Sets it.
    #[command(
        after_help = "Example:\n  farshore context set --address vault:7400 --fingerprint 3fa9 --token farshore_12"
    )]
    Set {
        /// Where the vault is, HOST:PORT.
        #[arg(long)]
        address: String,
        /// Its authority's fingerprint, as `vault init` showed it.
        #[arg(long)]
        fingerprint: String,
        /// A token of the API.
        #[arg(long, env = "FARSHORE_TOKEN", hide_env_values = true)]
        token: String,
    },
}

pub(super) fn run(command: ContextCommand, global: &Global) -> Result<(), ProgramError> {
    let path = path_of(global);
    match command {
        ContextCommand::Set { address, fingerprint, token } => {
            let context = Context { address, fingerprint, token };
            context.visitor()?;
            context.save(&path)?;
            show::print(&format!("commands speak to {} from now on ({})\n", context.address, path.display()));
        }
        ContextCommand::Show => {
            let context = Context::load(&path)?;
            let text = match global.output {
                Output::Json => format!(
                    "{:#}\n",
                    serde_json::json!({ "address": context.address, "fingerprint": context.fingerprint })
                ),
                Output::Table => format!("{} (authority {})\n", context.address, context.fingerprint),
            };
            show::print(&text);
        }
    }
    Ok(())
}

/// Where the context is kept.
pub(crate) fn path_of(global: &Global) -> PathBuf {
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    global.context.clone().unwrap_or_else(|| home().join(".config/farshore/context.toml"))
}

impl Context {
    pub(crate) fn load(path: &Path) -> Result<Context, ProgramError> {
        let advice = "name the vault with `farshore context set`; `farshore vault init` does it by itself";
        let text = fs::read_to_string(path)
            .map_err(|e| ProgramError::usage(format!("cannot read {}: {e}", path.display()), advice))?;
        toml::from_str(&text).map_err(|e| ProgramError::usage(format!("{}: {e}", path.display()), advice))
    }

    /// Writes the file, readable by its owner alone, all or nothing.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ProgramError> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(ProgramError::io("create", dir))?;
        }
        let text = toml::to_string(self)
            .map_err(|e| ProgramError::usage(e.to_string(), "report this as a fault"))?;
        settings::write_private(path, &text)
    }

    pub(crate) fn visitor(&self) -> Result<Visitor, ProgramError> {
        let advice = "copy it as `farshore vault init` showed it";
        let fingerprint = self
            .fingerprint
            .parse()
            .map_err(|_| ProgramError::usage(format!("'{}' is no fingerprint", self.fingerprint), advice))?;
        Ok(Visitor::new(&self.address, fingerprint, &self.token)?)
    }
}
