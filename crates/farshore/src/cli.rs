//! The command line of `farshore`: its programs (vault, site server) and what operators ask
//! of a vault, over the public API alone. This module must never decide anything.

mod alerts;
mod context;
mod jobs;
mod keeping;
mod names;
mod orders;
mod programs;
mod show;
mod watch;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::ProgramError;

/// Disaster recovery for virtual machines between two sites of one's own.
#[derive(Debug, Parser)]
#[command(name = "farshore", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// How answers are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Where the vault's address, fingerprint and token are kept for commands.
    #[arg(long, global = true, env = "FARSHORE_CONTEXT", value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The vault: makes one, and runs it.
    #[command(subcommand)]
    Vault(programs::VaultCommand),
    /// Sites: adds them, enrols and runs their servers.
    #[command(subcommand)]
    Site(orders::SiteCommand),
    /// Clouds: groups of hosts of a site.
    #[command(subcommand)]
    Cloud(orders::CloudCommand),
    /// Hosts.
    #[command(subcommand)]
    Host(orders::HostCommand),
    /// Lists the machines of all hosts.
    Machines,
    /// Policies: how machines are replicated.
    #[command(subcommand)]
    Policy(orders::PolicyCommand),
    /// Maps a network or a storage class of one site to one of another.
    Map(orders::MapArgs),
    /// Protects machines.
    Protect(orders::ProtectArgs),
    /// Ends the protection of a machine.
    Unprotect(orders::UnprotectArgs),
    /// Pauses the protection of a machine.
    Pause(orders::MachineArgs),
    /// Lets a paused protection go on.
    Resume(orders::MachineArgs),
    /// Compares everything of a machine with its replica, and sends what differs.
    Resync(orders::ResyncArgs),
    /// Shows all protections: state, RPO, health with its reasons.
    Status(watch::StatusArgs),
    /// Alerts: what is wrong, and who is told.
    #[command(subcommand)]
    Alert(alerts::AlertCommand),
    /// Shows the past of a protection: RPO over an hour, a day and a week, and its cycles.
    History(alerts::HistoryArgs),
    /// Jobs: what was ordered and takes time.
    #[command(subcommand)]
    Job(jobs::JobCommand),
    /// Tokens of the API.
    #[command(subcommand)]
    Token(orders::TokenCommand),
    /// Which vault commands speak to.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Writes completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if output == Output::Json {
                show::print(&format!("{:#}\n", serde_json::json!({ "error": error.to_string() })));
            }
            show::complain(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), ProgramError> {
    let Cli { global, command } = cli;
    let serves = matches!(
        command,
        Command::Vault(programs::VaultCommand::Serve { .. })
            | Command::Site(orders::SiteCommand::Serve { .. })
    );
    start_log(serves);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| ProgramError::usage(format!("cannot start: {e}"), "look into the system's limits"))?;
    runtime.block_on(async {
        match command {
            Command::Vault(command) => programs::vault(command, &global).await,
            Command::Site(orders::SiteCommand::Serve { config }) => {
                programs::site_serve(config.as_deref()).await
            }
            Command::Site(orders::SiteCommand::Enrol(args)) => programs::site_enrol(args, &global).await,
            Command::Site(orders::SiteCommand::Follow(args)) => programs::site_follow(args, &global).await,
            Command::Site(orders::SiteCommand::HostKey { config }) => {
                programs::host_key(config.as_deref(), &global).await
            }
            Command::Site(orders::SiteCommand::Status { config }) => {
                programs::site_status(config.as_deref(), &global).await
            }
            Command::Context(command) => context::run(command, &global),
            Command::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "farshore", &mut text);
                show::print(&String::from_utf8_lossy(&text));
                Ok(())
            }
            command => operate(command, &global).await,
        }
    })
}

/// Commands that speak to a vault.
async fn operate(command: Command, global: &Global) -> Result<(), ProgramError> {
    let operator = context::Operator::of(global)?;
    match command {
        Command::Site(command) => orders::site(&operator, command).await,
        Command::Cloud(command) => orders::cloud(&operator, command).await,
        Command::Host(command) => orders::host(&operator, command).await,
        Command::Machines => orders::machines(&operator).await,
        Command::Policy(command) => orders::policy(&operator, command).await,
        Command::Map(args) => orders::map(&operator, args).await,
        Command::Protect(args) => orders::protect(&operator, args).await,
        Command::Unprotect(args) => orders::unprotect(&operator, args).await,
        Command::Pause(args) => orders::pause(&operator, &args.machine, true).await,
        Command::Resume(args) => orders::pause(&operator, &args.machine, false).await,
        Command::Resync(args) => orders::resync(&operator, &args).await,
        Command::Status(args) => watch::status(&operator, &args).await,
        Command::Alert(command) => alerts::alert(&operator, command).await,
        Command::History(args) => alerts::history(&operator, &args).await,
        Command::Job(command) => jobs::run(&operator, command).await,
        Command::Token(command) => orders::token(&operator, command).await,
        Command::Vault(_) | Command::Context(_) | Command::Completions { .. } => Ok(()),
    }
}

/// Logs go to standard error: all of a program's, only warnings of a command's.
fn start_log(serves: bool) {
    let default = if serves { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Already set only where a test runs several commands in one process.
    drop(log.with_target(serves).with_ansi(std::io::stderr().is_terminal()).try_init());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
