//! The programs: vault and site server, made, enrolled and run.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::{
    Global, Output,
    context::{self, Context},
    keeping, show,
    sites::{EnrolArgs, FollowArgs},
};
use crate::{
    ProgramError, site,
    vault::{self, VaultConfig},
};

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Makes a vault: its authority, its certificate, the owner's token.
    #[command(after_help = "Example:\n  farshore vault init --config /etc/farshore/vault.toml")]
    Init {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Name of the owner's token.
        #[arg(long, default_value = "owner")]
        owner: String,
    },
    /// Runs the vault.
    #[command(after_help = "Example:\n  farshore vault serve")]
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Makes a backup of the vault's store, whether or not the vault runs, and reads it back.
    #[command(after_help = "Example:\n  farshore vault backup")]
    Backup(keeping::BackupArgs),
    /// Reads a backup whole and says what is in it.
    #[command(after_help = "Example:\n  farshore vault verify vault.backup")]
    Verify {
        /// The backup.
        file: PathBuf,
    },
    /// Makes a vault of a backup; it learns from its hosts and sites before it commands.
    #[command(after_help = "Example:\n  farshore vault restore vault.backup")]
    Restore(keeping::RestoreArgs),
    /// Makes a vault of this site's warm copy, when the vault's site is lost. It begins a higher
    /// term, which sites and hosts follow; the old vault steps down when it comes back.
    #[command(
        after_help = "Example, on the surviving site server's machine, with FARSHORE_RECOVERY_KEY set:\n  \
        farshore vault promote"
    )]
    Promote(keeping::PromoteArgs),
    /// Opens the authority's key with the recovery key, and lets this machine start the vault.
    #[command(after_help = "Example:\n  farshore vault recover-authority")]
    RecoverAuthority(keeping::RecoverArgs),
    /// Makes a token of the API on the vault's own machine, while the vault stands still.
    #[command(after_help = "Example:\n  farshore vault token")]
    Token(keeping::TokenArgs),
    /// Writes a commented sample of the configuration.
    #[command(after_help = "Example:\n  farshore vault sample")]
    Sample,
    /// Writes the document of the public API, OpenAPI 3.1.
    #[command(after_help = "Example:\n  farshore vault openapi")]
    Openapi,
}

pub(super) async fn vault(command: VaultCommand, global: &Global) -> Result<(), ProgramError> {
    match command {
        VaultCommand::Sample => {
            show::print(vault::SAMPLE);
            Ok(())
        }
        VaultCommand::Openapi => {
            show::print(&vault::document());
            Ok(())
        }
        VaultCommand::Backup(args) => keeping::backup(args, global).await,
        VaultCommand::Verify { file } => keeping::verify(&file, global).await,
        VaultCommand::Restore(args) => keeping::restore(args, global).await,
        VaultCommand::Promote(args) => keeping::promote(args, global).await,
        VaultCommand::RecoverAuthority(args) => keeping::recover_authority(args, global).await,
        VaultCommand::Token(args) => keeping::token(args, global).await,
        VaultCommand::Init { config, owner } => init(config.as_deref(), &owner, global).await,
        VaultCommand::Serve { config } => {
            let config = VaultConfig::load(config.as_deref())?;
            vault::serve(&config, stopped_by_signal()?, |_| {}).await
        }
    }
}

async fn init(config: Option<&Path>, owner: &str, global: &Global) -> Result<(), ProgramError> {
    let config = VaultConfig::load(config)?;
    let made = vault::init(&config, owner).await?;
    let path = context::path_of(global);
    let context = Context {
        address: made.address.clone(),
        fingerprint: made.fingerprint.to_string(),
        token: made.token.clone(),
    };
    context.save(&path)?;
    match global.output {
        Output::Json => {
            let all = serde_json::json!({
                "recovery_key": made.recovery_key, "token": made.token, "address": made.address,
                "fingerprint": made.fingerprint.to_string(), "context": path,
            });
            show::print(&format!("{all:#}\n"));
        }
        Output::Table => show::print(&format!(
            "The vault is made. Start it with: {}\n\n\
             recovery key   {}\n\
             \x20              It is shown this once and kept nowhere. Print it: it opens the authority's\n\
             \x20              key on the day that this machine is lost.\n\
             address        {}\n\
             fingerprint    {}\n\
             Commands of this user speak to the vault from now on ({}).\n",
            config.command("vault serve"),
            made.recovery_key,
            made.address,
            made.fingerprint,
            path.display()
        )),
    }
    Ok(())
}

pub(super) async fn site_enrol(args: EnrolArgs, global: &Global) -> Result<(), ProgramError> {
    let config = site::SiteConfig::load(args.config.as_deref())?;
    let enrolled = site::enrol(&config, &args.key).await?;
    let start = config.command("site serve");
    let text = format!("this is the server of site {} from now on; start it with: {start}", enrolled.id);
    show::one(global.output, &serde_json::json!({ "id": enrolled.id, "name": enrolled.name }), &text);
    Ok(())
}

pub(super) async fn host_key(config: Option<&Path>, global: &Global) -> Result<(), ProgramError> {
    let key = site::host_key(&site::SiteConfig::load(config)?).await?;
    let text = format!(
        "on the host, run\n  farshore-agent enrol --key {key}\nthe key is for one use, within five days"
    );
    show::one(global.output, &serde_json::json!({ "key": key }), &text);
    Ok(())
}

pub(super) async fn site_status(config: Option<&Path>, global: &Global) -> Result<(), ProgramError> {
    let status = site::status(&site::SiteConfig::load(config)?).await?;
    let term = status.term.map_or("no vault yet".to_owned(), |term| format!("term {term}"));
    let vault = if status.vault_answers { "the vault answers" } else { "the vault does not answer now" };
    let mut text = format!("site {}: {term}, {vault}; {}", status.site, show::count(status.hosts, "host"));
    text += &match &status.copy {
        None => "\nwarm copy of the vault: none yet".to_owned(),
        Some(copy) => format!(
            "\nwarm copy of the vault: {} s behind, {} KiB, term {}",
            copy.behind_ms / 1000,
            copy.mark.len / 1024,
            copy.mark.term
        ),
    };
    for problem in &status.problems {
        text += &format!("\n{}: {problem}", problem.code);
    }
    show::one(global.output, &status, &text);
    Ok(())
}

pub(super) async fn site_serve(config: Option<&Path>) -> Result<(), ProgramError> {
    site::serve(&site::SiteConfig::load(config)?, stopped_by_signal()?).await
}

/// Keeps another address of the vault.
pub(super) async fn site_follow(args: FollowArgs, global: &Global) -> Result<(), ProgramError> {
    let config = site::SiteConfig::load(args.config.as_deref())?;
    let followed = site::follow(&config, &args.address, args.unseen).await?;
    let text = format!(
        "the vault is looked for at {} (before: {}), by a site server that runs here, too",
        followed.now, followed.before
    );
    let value = serde_json::json!({ "address": followed.now, "before": followed.before });
    show::one(global.output, &value, &text);
    Ok(())
}

/// Cancelled by Ctrl-C and by the service manager's word.
fn stopped_by_signal() -> Result<CancellationToken, ProgramError> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let listen =
        |kind| signal(kind).map_err(|e| ProgramError::usage(e.to_string(), "look into the system's limits"));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}
