//! The command line of `farshore`: its programs (vault, site server) and what operators ask
//! of a vault, over the public API alone. This module must never decide anything.

mod alerts;
mod clouds;
mod context;
mod events;
mod failover;
mod hosts;
mod jobs;
mod keeping;
mod machines;
mod manual;
mod mappings;
mod operator;
mod points;
mod policies;
mod programs;
mod protections;
mod replicas;
mod show;
mod sites;
mod tokens;
mod watch;
mod when;

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
    Site(sites::SiteCommand),
    /// Clouds: groups of hosts of a site.
    #[command(subcommand)]
    Cloud(clouds::CloudCommand),
    /// Hosts.
    #[command(subcommand)]
    Host(hosts::HostCommand),
    /// Machines, as hosts report them.
    #[command(subcommand)]
    Machine(machines::MachineCommand),
    /// Policies: how machines are replicated.
    #[command(subcommand)]
    Policy(policies::PolicyCommand),
    /// Mappings of networks and storage classes of one site to those of another.
    #[command(subcommand)]
    Mapping(mappings::MappingCommand),
    /// Protections of machines.
    #[command(subcommand)]
    Protection(protections::ProtectionCommand),
    /// Replicas, as hosts report them.
    #[command(subcommand)]
    Replica(replicas::ReplicaCommand),
    /// Shows all protections: state, RPO, health with its reasons.
    #[command(
        after_help = "Examples:\n  farshore status\n  farshore status --watch\n  farshore status --site east --health critical"
    )]
    Status(watch::StatusArgs),
    /// Alerts: what is wrong, and who is told.
    #[command(subcommand)]
    Alert(alerts::AlertCommand),
    /// Shows the past of a protection: RPO over an hour, a day and a week, and its cycles.
    #[command(after_help = "Example:\n  farshore history web1")]
    History(alerts::HistoryArgs),
    /// Jobs: what was ordered and takes time.
    #[command(subcommand)]
    Job(jobs::JobCommand),
    /// Events: what changes, as it does.
    #[command(subcommand)]
    Event(watch::EventCommand),
    /// Lists the machines of all hosts: short for `machine list`.
    #[command(after_help = "Example:\n  farshore machines --unprotected")]
    Machines(machines::MachinesArgs),
    /// Maps a network or a storage class: short for `mapping set`.
    #[command(after_help = "Example:\n  farshore map storage east/fast west/fast")]
    Map(mappings::MapArgs),
    /// Protects machines: short for `protection enable`.
    ///
    /// Everything that stands against it is told at once, before anything changes.
    #[command(
        after_help = "Examples:\n  farshore protect web1\n  farshore protect web1 db1 --target hostb --exclude vdb\n  farshore protect --all --check"
    )]
    Protect(protections::ProtectArgs),
    /// Ends the protection of a machine: short for `protection disable`.
    #[command(after_help = "Example:\n  farshore unprotect web1 --keep-replica")]
    Unprotect(protections::UnprotectArgs),
    /// Pauses the protection of a machine: short for `protection pause`.
    #[command(after_help = "Example:\n  farshore pause web1")]
    Pause(protections::MachineArgs),
    /// Lets a paused protection go on: short for `protection resume`.
    #[command(after_help = "Example:\n  farshore resume web1")]
    Resume(protections::MachineArgs),
    /// Compares everything of a machine with its replica: short for `protection resync`.
    #[command(after_help = "Example:\n  farshore resync web1")]
    Resync(protections::ResyncArgs),
    /// Tokens of the API.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Which vault commands speak to.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Writes completions for a shell.
    #[command(after_help = "Example:\n  farshore completions bash")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Writes man pages, one for each command, into a folder.
    #[command(after_help = "Example:\n  farshore man --dir /usr/local/share/man/man1")]
    Man {
        /// The folder; it is made where it is missing.
        #[arg(long)]
        dir: PathBuf,
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
                show::print(&format!("{:#}\n", error.as_json()));
            }
            if let ProgramError::Refused { findings, .. } = &error {
                show::findings(findings);
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
            | Command::Site(sites::SiteCommand::Serve { .. })
    );
    start_log(serves);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| ProgramError::usage(format!("cannot start: {e}"), "look into the system's limits"))?;
    runtime.block_on(async {
        match command {
            Command::Vault(command) => programs::vault(command, &global).await,
            Command::Site(sites::SiteCommand::Serve { config }) => {
                programs::site_serve(config.as_deref()).await
            }
            Command::Site(sites::SiteCommand::Sample) => {
                show::print(crate::site::SAMPLE);
                Ok(())
            }
            Command::Site(sites::SiteCommand::Enrol(args)) => programs::site_enrol(args, &global).await,
            Command::Site(sites::SiteCommand::Follow(args)) => programs::site_follow(args, &global).await,
            Command::Site(sites::SiteCommand::HostKey { config }) => {
                programs::host_key(config.as_deref(), &global).await
            }
            Command::Site(sites::SiteCommand::Status { config }) => {
                programs::site_status(config.as_deref(), &global).await
            }
            Command::Context(command) => context::run(command, &global),
            Command::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "farshore", &mut text);
                show::print(&String::from_utf8_lossy(&text));
                Ok(())
            }
            Command::Man { dir } => {
                manual::write(Cli::command(), &dir)?;
                show::print(&format!("the man pages are in {}\n", dir.display()));
                Ok(())
            }
            command => operate(command, &global).await,
        }
    })
}

/// Commands that speak to a vault.
async fn operate(command: Command, global: &Global) -> Result<(), ProgramError> {
    let operator = &operator::Operator::of(global)?;
    match command {
        Command::Site(command) => sites::run(operator, command).await,
        Command::Cloud(command) => clouds::run(operator, command).await,
        Command::Host(command) => hosts::run(operator, command).await,
        Command::Machine(command) => machines::run(operator, command).await,
        Command::Machines(args) => machines::list(operator, args).await,
        Command::Policy(command) => policies::run(operator, command).await,
        Command::Mapping(command) => mappings::run(operator, command).await,
        Command::Map(args) => mappings::set(operator, args).await,
        Command::Protection(command) => protections::run(operator, command).await,
        Command::Replica(command) => replicas::run(operator, command).await,
        Command::Protect(args) => protections::protect(operator, args).await,
        Command::Unprotect(args) => protections::unprotect(operator, args).await,
        Command::Pause(args) => protections::pause(operator, args).await,
        Command::Resume(args) => protections::resume(operator, args).await,
        Command::Resync(args) => protections::resync(operator, args).await,
        Command::Status(args) => watch::status(operator, &args).await,
        Command::Alert(command) => alerts::run(operator, command).await,
        Command::History(args) => alerts::history(operator, &args).await,
        Command::Job(command) => jobs::run(operator, command).await,
        Command::Event(command) => watch::run(operator, command).await,
        Command::Token(command) => tokens::run(operator, command).await,
        Command::Vault(_) | Command::Context(_) | Command::Completions { .. } | Command::Man { .. } => Ok(()),
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

    /// All commands that do something, with what they are called by.
    fn leaves(command: &clap::Command, name: &str, out: &mut Vec<(String, clap::Command)>) {
        let below: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        if below.is_empty() {
            out.push((name.to_owned(), command.clone()));
        }
        below.into_iter().for_each(|one| leaves(one, &format!("{name} {}", one.get_name()), out));
    }

    #[test]
    fn every_command_has_examples_of_itself_that_are_right() {
        let mut all = Vec::new();
        leaves(&Cli::command(), "farshore", &mut all);
        assert!(all.len() > 40, "there are {}", all.len());
        for (name, command) in all {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|line| line.starts_with("farshore")).collect();
            assert!(!examples.is_empty(), "{name} has no example");
            for example in examples {
                assert!(example.starts_with(&name), "'{example}' is no example of {name}");
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    /// What clap says where a line is not taken.
    fn refused(line: &str) -> String {
        Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string()
    }

    #[test]
    fn who_accepts_a_loss_has_to_say_that_it_is_unplanned() {
        for accepted in ["--accept-data-loss", "--accept-may-still-run"] {
            let line = format!("farshore protection failover web1 {accepted}");
            assert!(refused(&line).contains("not provided:\n  --unplanned"), "{}", refused(&line));
            assert!(Cli::try_parse_from(format!("{line} --unplanned").split_whitespace()).is_ok());
        }
        // Others that take them have no such word.
        let cancel = "farshore protection cancel web1 --accept-data-loss";
        assert!(Cli::try_parse_from(cancel.split_whitespace()).is_ok());
    }

    #[test]
    fn who_protects_nothing_is_told_of_all_ways_to_say_what() {
        for line in ["farshore protect", "farshore protection enable --check"] {
            let told = refused(line);
            assert!(["MACHINES", "--all", "--cloud"].iter().all(|way| told.contains(way)), "{told}");
        }
        for fine in ["--all", "--cloud east", "--cloud east --cloud west", "web1 db1", "web1 --cloud east"] {
            let line = format!("farshore protect {fine}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
        assert!(refused("farshore protect web1 --all").contains("cannot be used with"));
    }

    #[test]
    fn every_command_has_its_man_page() {
        let dir = tempfile::tempdir().unwrap();
        manual::write(Cli::command(), dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("farshore-protection-enable.1")).unwrap();
        assert!(page.contains("farshore protection enable"), "{page}");
        assert!(page.contains("Examples"), "{page}");
        let mut all = Vec::new();
        leaves(&Cli::command(), "farshore", &mut all);
        for (name, _) in all {
            assert!(dir.path().join(format!("{}.1", name.replace(' ', "-"))).exists(), "{name}");
        }
    }
}
