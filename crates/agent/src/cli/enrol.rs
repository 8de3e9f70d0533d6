//! `enrol`: makes this host a member of a vault's. This module must never speak to a server
//! itself.

use std::io::Read;

use farshore_control::enrolment::Reach;
use serde::Serialize;

use super::{Global, Output, run::runtime, show};
use crate::{
    AgentError,
    membership::{self, Wanted},
};

/// Most bytes that are read of a key on standard input.
const KEY_BYTES_MAX: u64 = 4096;

/// Makes this host a member of a vault's, by a registration key of its site server.
///
/// A key enrols one host, once. Repeat the command with the same key where it was cut: it
/// goes on where it was. Start `serve` anew afterwards.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent enrol --key fsreg1.AwJ…\n  farshore-agent enrol --key - < key.txt"
)]
#[command(verbatim_doc_comment)]
pub(super) struct EnrolArgs {
    /// The registration key; "-": from standard input, where no list of processes shows it.
    #[arg(long, env = "FARSHORE_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// The name that this host gets in its certificate; left out: `name` of the configuration.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another name or an IP address by which it is reached; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<String>,
    /// Where other hosts reach it for replication, if that is another place (VPN, NAT, a
    /// network of its own).
    #[arg(long, value_name = "HOST:PORT")]
    replication_address: Option<String>,
    /// Its Kerberos principal, where a policy uses Kerberos; left out: that of [kerberos] in
    /// the configuration.
    #[arg(long, value_name = "SERVICE/HOST@REALM")]
    principal: Option<String>,
    /// Enrol a host anew that is enrolled already: it gets another id.
    #[arg(long)]
    anew: bool,
}

/// The answer, for programs.
#[derive(Serialize)]
struct Shown {
    host: String,
    id: uuid::Uuid,
    site_server: String,
    /// Whether this key had been used by this host before.
    already: bool,
}

pub(super) fn run(args: EnrolArgs, global: &Global) -> Result<(), AgentError> {
    let config = global.load()?;
    let key = match args.key.as_str() {
        "-" => read_key()?,
        key => key.to_owned(),
    };
    let reach = Reach {
        name: args.name.unwrap_or_else(|| config.name.clone()),
        addresses: args.address,
        replication: args.replication_address,
        principal: args.principal.or_else(|| config.kerberos.map(|kerberos| kerberos.principal.into())),
    };
    let wanted = Wanted { key: membership::parse_key(&key)?, reach, anew: args.anew };
    let enrolled = runtime()?.block_on(membership::enrol(&config.identity_dir, &wanted))?;
    let (host, site_server) = (enrolled.identity.name, enrolled.server);
    match global.output {
        Output::Json => {
            let shown = Shown { host, id: enrolled.identity.id, site_server, already: enrolled.already };
            show::print(&format!("{:#}\n", serde_json::to_value(shown).unwrap_or_default()))
        }
        Output::Human => {
            let already = if enrolled.already { "already " } else { "" };
            let id = enrolled.identity.id;
            let next = "Start the agent anew: `farshore-agent serve`";
            show::print(&format!("{host} is {already}enrolled at {site_server}, as host {id}\n{next}\n"))
        }
    }
}

fn read_key() -> Result<String, AgentError> {
    let mut text = String::new();
    let read = std::io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut text);
    read.map_err(AgentError::io("read", "standard input"))?;
    Ok(text)
}
