//! The project's chores as one program: `cargo xtask --help`. One module per chore; this
//! one only says which there are. It must build before anything is installed, so nothing
//! here may depend on a crate that needs a system library.

mod bench;
mod demo;
mod guest;
mod layers;
mod process;
mod reaper;
mod setup;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what building and testing need, and say what; asks nothing
    Setup,
    /// Run every check and every test
    Test {
        /// Run only the checks, no tests
        #[arg(long)]
        checks_only: bool,
    },
    /// Replicate a real guest between two hosts on this machine, lose its host, bring it back
    Demo,
    /// Measure every figure beside the alternatives; takes about half an hour
    Bench {
        /// For the measuring program, such as `--only cycles` or `--soak-minutes 60`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        more: Vec<String>,
    },
    /// Build the demo guest's disks and print where they are
    Guest {
        /// Folder to build in
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Check that crates depend on each other only downward
    Layers,
    /// Check what rustfmt and clippy do not: sizes, module docs, links, banned words
    Tidy,
}

fn main() -> ExitCode {
    if let Some(code) = reaper::above() {
        return code;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    match run(&Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<()> {
    match chore {
        Chore::Setup => setup::run(),
        Chore::Demo => demo::run(),
        Chore::Test { checks_only } => test::run(*checks_only),
        Chore::Bench { more } => bench::run(more),
        Chore::Guest { out } => guest::run(out.as_deref()),
        Chore::Layers => layers::run(),
        Chore::Tidy => tidy::run(),
    }
}
