//! `serve` and its watchdog. This module must never know a role.

use std::{ffi::OsString, sync::Arc};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    Global,
    run::{runtime, stop_by_signal},
};
use crate::{Agent, AgentError, managed::Timing, membership::Membership};

/// Runs the agent until SIGTERM or SIGINT; logs go to standard error.
///
/// As a systemd service: Type=simple, KillMode=mixed. RUST_LOG chooses what is logged.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent serve --config /etc/farshore/agent.toml")]
#[command(verbatim_doc_comment)]
pub(super) struct ServeArgs {}

pub(super) fn run(global: &Global) -> Result<(), AgentError> {
    allow_descriptors();
    let config = global.load()?;
    let membership = Membership::load(&config.identity_dir)?;
    let agent = Agent::new(config).serving();
    let agent = Arc::new(match membership {
        Some(membership) => agent.member(membership, Timing::default())?,
        None => agent,
    });
    let watchdog = watchdog_command(global)?;
    runtime()?.block_on(async { crate::serve(agent, Some(watchdog), stop_by_signal()?).await })
}

/// Takes as many descriptors as the system allows: the usual 1,024 suit no server.
fn allow_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

pub(super) fn watchdog(global: &Global) -> Result<(), AgentError> {
    let config = global.load()?;
    runtime()?.block_on(crate::watchdog::run(config))
}

/// This very program as a watchdog with the same configuration.
pub(super) fn watchdog_command(global: &Global) -> Result<Vec<OsString>, AgentError> {
    let program = std::env::current_exe().map_err(AgentError::io("find", "this program"))?;
    let config = std::path::absolute(&global.config).map_err(AgentError::io("find", &global.config))?;
    Ok(vec![program.into(), "watchdog".into(), "--config".into(), config.into()])
}
