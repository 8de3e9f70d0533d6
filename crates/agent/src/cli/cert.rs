//! `cert`: a small certificate authority for agents. This module must never see the network.

use std::{path::PathBuf, time::Duration};

use clap::Subcommand;
use farshore_pki::{Authority, Credentials, Lifetime};
use serde::Serialize;

use super::{Output, show};
use crate::{AgentError, config::Period};

/// Makes the certificates by which agents know each other.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent cert init /srv/farshore-ca\n  farshore-agent cert issue --ca /srv/farshore-ca --host far.example --out identity\n  farshore-agent cert show /etc/farshore/identity"
)]
#[command(verbatim_doc_comment)]
pub(super) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// Makes an authority: ca.pem and ca.key. Once; keep ca.key away from the hosts.
    #[command(after_help = "Example:\n  farshore-agent cert init /srv/farshore-ca")]
    Init {
        /// Its directory.
        dir: PathBuf,
        /// Its name.
        #[arg(long, default_value = "Farshore CA")]
        name: String,
    },
    /// Issues a host's certificate: ca.pem, host.pem and host.key.
    #[command(
        after_help = "Example:\n  farshore-agent cert issue --ca /srv/farshore-ca --host far.example --out identity"
    )]
    Issue {
        /// The authority's directory.
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// The host's name.
        #[arg(long, value_name = "NAME")]
        host: String,
        /// Another name or an address by which it is reached; may be given several times.
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<String>,
        /// Where its files go: the host's identity_dir.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long it holds.
        #[arg(long, default_value = "730d")]
        valid: Period,
    },
    /// Shows whose certificate is in a host's directory, and until when it holds.
    #[command(after_help = "Example:\n  farshore-agent cert show /etc/farshore/identity")]
    Show {
        /// The host's directory.
        dir: PathBuf,
    },
}

/// A certificate, for programs.
#[derive(Serialize)]
struct Shown {
    /// Whose.
    host: String,
    /// Seconds since the Unix epoch.
    not_before: i64,
    /// Seconds since the Unix epoch.
    not_after: i64,
}

pub(super) fn run(args: CertArgs, output: Output) -> Result<(), AgentError> {
    match args.command {
        CertCommand::Init { dir, name } => {
            Authority::create(&name)?.save(&dir)?;
            let text = format!("Authority '{name}' made in {}; guard ca.key\n", dir.display());
            tell(output, &serde_json::json!({ "authority": name, "dir": dir }), &text)
        }
        CertCommand::Issue { ca, host, address, out, valid } => {
            let authority = Authority::load(&ca)?;
            let addresses: Vec<&str> = address.iter().map(String::as_str).collect();
            let lifetime = Lifetime::starting_now(valid.0.max(Duration::from_secs(1)));
            authority.issue(&host, &addresses, lifetime)?.save(&out)?;
            shown(&out, output)
        }
        CertCommand::Show { dir } => shown(&dir, output),
    }
}

fn shown(dir: &std::path::Path, output: Output) -> Result<(), AgentError> {
    let credentials = Credentials::load(dir)?;
    let facts = &credentials.facts;
    let value = Shown { host: facts.name.clone(), not_before: facts.not_before, not_after: facts.not_after };
    tell(output, &value, &format!("{}: {facts}\n", dir.display()))?;
    Ok(credentials.check_time(std::time::SystemTime::now())?)
}

fn tell(output: Output, value: &impl Serialize, text: &str) -> Result<(), AgentError> {
    match output {
        Output::Human => show::print(text),
        Output::Json => show::print(&format!("{:#}\n", serde_json::to_value(value).unwrap_or_default())),
    }
}
