//! `config`: the configuration itself. This module must never change a file.

use clap::Subcommand;

use super::{Global, Output, show};
use crate::{AgentError, config::SAMPLE};

/// Prints a sample configuration, or checks one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent config sample > /etc/farshore/agent.toml\n  farshore-agent config show"
)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints a commented sample with every key and its default.
    #[command(after_help = "Example:\n  farshore-agent config sample > /etc/farshore/agent.toml")]
    Sample,
    /// Reads the configuration and prints it with all defaults filled in.
    #[command(
        after_help = "Examples:\n  farshore-agent config show\n  farshore-agent config show --output json"
    )]
    Show,
}

pub(super) fn run(args: &ConfigArgs, global: &Global) -> Result<(), AgentError> {
    match args.command {
        ConfigCommand::Sample => show::print(SAMPLE),
        ConfigCommand::Show => {
            let config = global.load()?;
            let wrong = |why: String| AgentError::Config { path: global.config.clone(), why };
            let text = match global.output {
                Output::Json => serde_json::to_string_pretty(&config).map_err(|e| wrong(e.to_string()))?,
                Output::Human => toml::to_string(&config).map_err(|e| wrong(e.to_string()))?,
            };
            show::print(&format!("{}\n", text.trim_end()))
        }
    }
}
