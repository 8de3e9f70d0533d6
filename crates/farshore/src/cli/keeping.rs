//! Keeping the vault: backups, restores, the recovery of its authority. On the vault's own
//! machine, by its configuration. This module must never speak to a running vault.

use std::{
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use farshore_store::BackupInfo;

use super::{
    Global,
    context::{self, Context},
    show,
};
use crate::{
    ProgramError,
    site::SiteConfig,
    vault::{self, Restored, VaultConfig},
};

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// The new file; without it, one in the vault's own folder of backups.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The vault's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// Overwrites the vault that is in the store; a backup of that is made first.
    #[arg(long)]
    force: bool,
    /// The recovery key, where this machine never ran the vault. Better given by the
    /// environment than seen by everybody.
    #[arg(long, env = "FARSHORE_RECOVERY_KEY", hide_env_values = true)]
    recovery_key: Option<String>,
    /// The vault's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    /// A backup to take in place of the site's warm copy.
    #[arg(long, value_name = "FILE")]
    copy: Option<PathBuf>,
    /// Promotes though the vault answers, and over a vault that is in this machine's store, of
    /// which a backup is made first.
    #[arg(long)]
    force: bool,
    /// The recovery key, where this machine never ran the vault. Better given by the
    /// environment than seen by everybody.
    #[arg(long, env = "FARSHORE_RECOVERY_KEY", hide_env_values = true)]
    recovery_key: Option<String>,
    /// The configuration of the vault that this becomes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The configuration of the site server on this machine.
    #[arg(long, value_name = "FILE")]
    site_config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The recovery key; asked for where it is not given.
    #[arg(long, env = "FARSHORE_RECOVERY_KEY", hide_env_values = true)]
    recovery_key: Option<String>,
    /// The vault's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// Its name; a number is added where it is taken.
    #[arg(long, default_value = "owner")]
    name: String,
    /// The vault's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn backup(args: BackupArgs, global: &Global) -> Result<(), ProgramError> {
    let config = VaultConfig::load(args.config.as_deref())?;
    let (path, info) = vault::backup(&config, args.to.as_deref()).await?;
    show::one(global.output, &value_of(&path, &info), &format!("{}\n{}", path.display(), said(&info)));
    Ok(())
}

pub(super) async fn verify(file: &Path, global: &Global) -> Result<(), ProgramError> {
    let info = farshore_store::verify(file).await?;
    show::one(
        global.output,
        &value_of(file, &info),
        &format!("{} is whole\n{}", file.display(), said(&info)),
    );
    Ok(())
}

pub(super) async fn restore(args: RestoreArgs, global: &Global) -> Result<(), ProgramError> {
    let config = VaultConfig::load(args.config.as_deref())?;
    let info = farshore_store::verify(&args.file).await?;
    show::complain(&format!(
        "{}\ninto {}: the vault begins a new term, hears its hosts and sites before it commands, and\n\
         keeps what they know that the backup does not. Tokens of the backup wait to be confirmed,\n\
         and registration keys that nobody has used are withdrawn.\n",
        said(&info),
        config.location()?,
    ));
    let done = vault::restore(&config, &args.file, args.force, args.recovery_key.as_deref()).await?;
    let (value, path) = speak_to(&done, global)?;
    let text = told(&done, &config, &path)
        + "\nWhere its address is another now, on each site server: farshore site follow ADDRESS";
    show::one(global.output, &value, &text);
    Ok(())
}

pub(super) async fn promote(args: PromoteArgs, global: &Global) -> Result<(), ProgramError> {
    let config = VaultConfig::load(args.config.as_deref())?;
    let site = SiteConfig::load(args.site_config.as_deref())?;
    let done = vault::promote(&config, &site, args.copy, args.force, args.recovery_key.as_deref()).await?;
    let (mut value, path) = speak_to(&done.restored, global)?;
    value["copy"] = serde_json::json!({ "file": done.copy, "age_ms": done.age_ms });
    value["before"] = serde_json::json!(done.before);
    let age = done.age_ms.map_or("of unknown age".to_owned(), |ms| format!("{} s old", ms / 1000));
    let text =
        format!("The copy at {} was {age}.\n", done.copy.display()) + &told(&done.restored, &config, &path);
    let followed = match &done.before {
        None => "No site server was enrolled here: on each, farshore site follow ADDRESS".to_owned(),
        Some(before) => {
            format!(
                "This site's server follows it; the others do when they hear of it.\n\
                 The old vault, at {before}, steps down when it comes back."
            )
        }
    };
    show::one(global.output, &value, &format!("{text}\n{followed}"));
    Ok(())
}

/// Commands of this user speak to the vault that was restored, where that has a certificate.
fn speak_to(done: &Restored, global: &Global) -> Result<(serde_json::Value, PathBuf), ProgramError> {
    let path = context::path_of(global);
    if let Some(fingerprint) = done.fingerprint {
        let (address, token) = (done.address.clone(), done.token.clone());
        Context { address, fingerprint: fingerprint.to_string(), token }.save(&path)?;
    }
    let value = serde_json::json!({
        "term": done.term, "token": done.token, "suspended": done.suspended, "address": done.address,
        "fingerprint": done.fingerprint.map(|print| print.to_string()), "closed": done.closed,
        "replaced": done.replaced, "context": path,
    });
    Ok((value, path))
}

fn told(done: &Restored, config: &VaultConfig, path: &Path) -> String {
    let mut text = format!("The vault is restored; its term is {} now.\n", done.term);
    if let Some(replaced) = &done.replaced {
        text += &format!("What was there before is in {}.\n", replaced.display());
    }
    text += &match &done.closed {
        None => format!("Commands of this user speak to it ({}).\n", path.display()),
        Some(why) => format!("{why}\nA token of the API for then, shown this once: {}\n", done.token),
    };
    for name in &done.suspended {
        text += &format!("Token '{name}' holds again after: farshore token confirm {name}\n");
    }
    text + "Start it with: " + &config.command("vault serve")
}

pub(super) async fn recover_authority(args: RecoverArgs, global: &Global) -> Result<(), ProgramError> {
    let config = VaultConfig::load(args.config.as_deref())?;
    let key = args.recovery_key.map_or_else(asked, Ok)?;
    let done = vault::recover_authority(&config, &key).await?;
    let value = serde_json::json!({ "fingerprint": done.fingerprint.to_string(), "changed": done.changed });
    let text = match done.changed {
        true => {
            let start = config.command("vault serve");
            format!("the authority's key is open on this machine; start the vault with: {start}")
        }
        false => "the recovery key is right; this machine opened the authority's key already".to_owned(),
    };
    show::one(global.output, &value, &text);
    Ok(())
}

pub(super) async fn token(args: TokenArgs, global: &Global) -> Result<(), ProgramError> {
    let token = vault::new_token(&VaultConfig::load(args.config.as_deref())?, &args.name).await?;
    show::one(global.output, &serde_json::json!({ "token": token }), &token);
    Ok(())
}

/// The recovery key, typed or piped in.
fn asked() -> Result<String, ProgramError> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        show::complain("recovery key (ten groups of five): ");
    }
    let mut line = String::new();
    let advice = "give the recovery key by --recovery-key, FARSHORE_RECOVERY_KEY, or on standard input";
    stdin.read_line(&mut line).map_err(|e| ProgramError::usage(format!("no recovery key: {e}"), advice))?;
    Ok(line.trim().to_owned())
}

fn said(info: &BackupInfo) -> String {
    let at = farshore_pki::show_time(i64::try_from(info.label.at_ms / 1000).unwrap_or(i64::MAX));
    let counts = &info.counts;
    format!(
        "of {at}, term {}: {} rows, {} events, {} samples, up to change {}",
        info.label.term, counts.rows, counts.events, counts.samples, info.version
    )
}

fn value_of(path: &Path, info: &BackupInfo) -> serde_json::Value {
    serde_json::json!({
        "file": path, "term": info.label.term, "at_ms": info.label.at_ms, "version": info.version.0,
        "schema": info.schema, "rows": info.counts.rows, "events": info.counts.events,
        "samples": info.counts.samples,
    })
}
