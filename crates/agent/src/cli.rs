//! The command line: arguments in, a request out, an answer shown. This module must never
//! do a command's work: it must be the same through the socket and without it.

mod adopt;
mod bars;
mod cert;
mod config;
mod enrol;
mod listing;
mod points;
mod run;
mod serve;
mod show;
mod start_held;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{AgentError, Config, Fault, config::DEFAULT_PATH};
use run::Session;

/// Replicates virtual machines between two hosts, and brings them up on the other one.
///
/// Commands go through the running agent where one runs, and work by themselves where none
/// does. Exit status: 0 done, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "farshore-agent", version, propagate_version = true)]
#[command(after_help = "Examples:\n  \
    farshore-agent status\n  \
    farshore-agent points web1\n  \
    farshore-agent bring-up web1 --point latest\n  \
    farshore-agent export web1 --point 1-42 --to /srv/out --format qcow2")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
struct Global {
    /// The agent's configuration file.
    #[arg(long, global = true, env = "FARSHORE_CONFIG", default_value = DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    /// How answers are written: for people, or one JSON document.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Human,
    /// One JSON document on standard output.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Machines(listing::MachinesArgs),
    Status(listing::StatusArgs),
    Points(points::PointsArgs),
    Verify(points::VerifyArgs),
    Export(points::ExportArgs),
    BringUp(points::BringUpArgs),
    Adopt(adopt::AdoptArgs),
    DropRescued(points::DropRescuedArgs),
    Release(points::ReleaseArgs),
    Discard(points::DiscardArgs),
    Replicate(points::ReplicateArgs),
    StartHeld(start_held::StartHeldArgs),
    Serve(serve::ServeArgs),
    Enrol(enrol::EnrolArgs),
    Cert(cert::CertArgs),
    Config(config::ConfigArgs),
    /// Prints completions for a shell.
    #[command(
        after_help = "Example:\n  farshore-agent completions bash > /etc/bash_completion.d/farshore-agent"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Writes man pages, one for each command, into a folder.
    #[command(after_help = "Example:\n  farshore-agent man --dir /usr/local/share/man/man1")]
    Man {
        /// The folder; it is made where it is missing.
        #[arg(long)]
        dir: PathBuf,
    },
    /// Waits for the agent's death and mends what it leaves; started by `serve`.
    #[command(hide = true)]
    Watchdog,
}

impl Global {
    fn load(&self) -> Result<Config, AgentError> {
        let config = Config::load(&self.config)?;
        crate::kerberos::start_for(&config)?;
        Ok(config)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.global.output;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.fault(), output);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), AgentError> {
    let Cli { global, command } = cli;
    start_log(matches!(command, Command::Serve(_) | Command::Watchdog));
    match command {
        Command::Machines(args) => Session::new(global).run(args.request()),
        Command::Status(args) => Session::new(global).run(args.request()),
        Command::Points(args) => Session::new(global).run(args.request()),
        Command::Verify(args) => Session::new(global).run(args.request()),
        Command::Export(args) => Session::new(global).run(args.request()?),
        Command::BringUp(args) => Session::new(global).run(args.request()),
        Command::Adopt(args) => Session::new(global).run(args.request()?),
        Command::DropRescued(args) => Session::new(global).run(args.request()),
        Command::Release(args) => Session::new(global).run(args.request()),
        Command::Discard(args) => Session::new(global).run(args.request()),
        Command::Replicate(args) => Session::new(global).run(args.request()),
        Command::StartHeld(args) => Session::new(global).run(args.request()),
        Command::Serve(_) => serve::run(&global),
        Command::Enrol(args) => enrol::run(args, &global),
        Command::Cert(args) => cert::run(args, global.output),
        Command::Config(args) => config::run(&args, &global),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "farshore-agent", &mut text);
            show::print(&String::from_utf8_lossy(&text))
        }
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir).map_err(AgentError::io("create", &dir))?;
            clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &dir)
                .map_err(AgentError::io("write man pages into", &dir))?;
            show::print(&format!("the man pages are in {}\n", dir.display()))
        }
        Command::Watchdog => serve::watchdog(&global),
    }
}

/// Logs go to standard error: all of an agent's, only warnings of a command's.
fn start_log(serving: bool) {
    let default = if serving { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(serving);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // Already set only where a test runs several commands in one process.
    drop(log.try_init());
}

fn tell(fault: &Fault, output: Output) {
    if output == Output::Json {
        let document = serde_json::json!({ "error": fault });
        drop(show::print(&format!("{document:#}\n")));
    }
    let advice = if fault.advice.is_empty() { String::new() } else { format!("\n  {}", fault.advice) };
    show::complain(&format!("error: {}{advice}\n", fault.what));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// All commands that people run, with what they are called by.
    fn leaves(command: &clap::Command, name: &str, out: &mut Vec<(String, clap::Command)>) {
        let shown = |c: &&clap::Command| c.get_name() != "help" && !c.is_hide_set();
        let below: Vec<_> = command.get_subcommands().filter(shown).collect();
        if below.is_empty() {
            out.push((name.to_owned(), command.clone()));
        }
        below.into_iter().for_each(|one| leaves(one, &format!("{name} {}", one.get_name()), out));
    }

    fn all() -> Vec<(String, clap::Command)> {
        let mut all = Vec::new();
        leaves(&Cli::command(), "farshore-agent", &mut all);
        assert!(all.len() > 16, "there are {}", all.len());
        all
    }

    #[test]
    fn every_command_has_examples_of_itself_that_are_right() {
        for (name, command) in all() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().map(str::trim).filter(|line| line.starts_with("farshore-agent")).collect();
            assert!(!examples.is_empty(), "{name} has no example");
            for example in examples {
                assert!(example.starts_with(&name), "'{example}' is no example of {name}");
                // What the shell does with files is not ours.
                let words = example.split_whitespace().take_while(|word| *word != ">" && *word != "<");
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn every_command_has_its_man_page() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("farshore-agent-bring-up.1")).unwrap();
        assert!(page.contains("bring\\-up") && page.contains("Examples"), "{page}");
        for (name, _) in all() {
            assert!(dir.path().join(format!("{}.1", name.replace(' ', "-"))).exists(), "{name}");
        }
    }
}
