//! Backups of the vault's store: one when somebody asks, whether or not the vault runs, and
//! one a day by itself, each read back before it counts, and the oldest deleted.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use farshore_store::{BackupInfo, BackupLabel, Options, glance, verify};
use farshore_vault::{LoadError, rows::HeadRow};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{config::VaultConfig, standing::Standing, wall_ms};
use crate::ProgramError;

/// How the vault names its own; the instant is UTC. Others in the folder are left alone.
const NAME: &str = "vault-%Y%m%dT%H%M%SZ.backup";
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after one that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(600);

/// Makes a backup of what the store has now, and reads it back. `to` is the new file; none:
/// one in the vault's own folder, named by the instant.
///
/// # Errors
/// No vault in the store; a file that is there already, or cannot be written or read back.
pub async fn backup(config: &VaultConfig, to: Option<&Path>) -> Result<(PathBuf, BackupInfo), ProgramError> {
    let (location, options, at_ms) = (config.location()?, Options::default(), wall_ms());
    let path = match to {
        Some(path) => path.to_owned(),
        None => {
            let dir = config.backups();
            fs::create_dir_all(&dir).map_err(ProgramError::io("create", &dir))?;
            dir.join(name_of(at_ms))
        }
    };
    let head = glance(&location, &options, "head").await?;
    let head = head.first().ok_or(LoadError::Empty)?;
    let head: HeadRow = serde_json::from_slice(&head.body).map_err(|error| LoadError::Damaged {
        kind: "head".to_owned(),
        key: head.id.key.clone(),
        why: error.to_string(),
    })?;
    let label = BackupLabel { term: head.term.number, at_ms };
    farshore_store::backup(&location, &options, &path, label).await?;
    let info = verify(&path).await?;
    Ok((path, info))
}

/// Makes them until stopped; what goes wrong stands where people see it.
pub(super) async fn keep(config: &VaultConfig, standing: &Standing, stop: &CancellationToken) {
    if config.backup_every_hours == 0 {
        return;
    }
    let dir = config.backups();
    loop {
        let due = is_due(&own_in(&dir), wall_ms(), config.backup_every_hours);
        let pause = match if due { backup_and_prune(config, &dir).await } else { Ok(()) } {
            Ok(()) => {
                standing.set("backup-failed", None);
                LOOK
            }
            Err(error) => {
                tracing::error!(%error, "no backup was made");
                let advice = format!("see that {} can be written and has room", dir.display());
                standing.set("backup-failed", Some((format!("no backup was made: {error}"), advice)));
                AFTER_FAILURE
            }
        };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn backup_and_prune(config: &VaultConfig, dir: &Path) -> Result<(), ProgramError> {
    let (path, info) = backup(config, None).await?;
    tracing::info!(path = %path.display(), rows = info.counts.rows, "a backup was made");
    for (_, path) in surplus(own_in(dir), config.backups_kept) {
        fs::remove_file(&path).map_err(ProgramError::io("remove", &path))?;
    }
    Ok(())
}

pub(super) fn name_of(at_ms: u64) -> String {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(0)).unwrap_or_default();
    at.strftime(NAME).to_string()
}

/// Instant of a backup with a name of ours, in milliseconds since the Unix epoch.
fn instant_of(name: &str) -> Option<u64> {
    let at = DateTime::strptime(NAME, name).ok()?.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(at.timestamp().as_millisecond()).ok()
}

/// The vault's own backups, oldest first.
fn own_in(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut own: Vec<(u64, PathBuf)> =
        entries.filter_map(|entry| Some((instant_of(entry.file_name().to_str()?)?, entry.path()))).collect();
    own.sort();
    own
}

/// Whether the newest is old enough; one of the future is of a clock that went back since.
fn is_due(own: &[(u64, PathBuf)], now_ms: u64, every_hours: u32) -> bool {
    let every_ms = u64::from(every_hours) * 3_600_000;
    own.last().is_none_or(|(at_ms, _)| *at_ms > now_ms || now_ms - at_ms >= every_ms)
}

/// The oldest beyond so many.
fn surplus(mut own: Vec<(u64, PathBuf)>, kept: u32) -> Vec<(u64, PathBuf)> {
    let kept = usize::try_from(kept.max(1)).unwrap_or(usize::MAX);
    own.truncate(own.len().saturating_sub(kept));
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_name_says_when_it_was_and_others_are_left_alone() {
        let at = 1_800_000_000_000;
        assert_eq!(name_of(at), "vault-20270115T080000Z.backup");
        assert_eq!(instant_of(&name_of(at)), Some(at));
        for other in ["mine.backup", "vault-20270115T080000Z.backup.partial-1-0", "vault-x.backup"] {
            assert_eq!(instant_of(other), None, "{other}");
        }
    }

    #[test]
    fn one_a_day_and_the_oldest_go() {
        let own: Vec<(u64, PathBuf)> = (1..=5).map(|n| (n * 24 * HOUR, PathBuf::new())).collect();
        let last = 5 * 24 * HOUR;
        assert!(is_due(&[], last, 24) && is_due(&own, last + 24 * HOUR, 24));
        assert!(!is_due(&own, last + 23 * HOUR, 24));
        assert!(is_due(&own, last - HOUR, 24), "the clock went back: none would be made for hours");
        let gone: Vec<u64> = surplus(own.clone(), 3).into_iter().map(|(at, _)| at / HOUR / 24).collect();
        assert_eq!(gone, [1, 2]);
        assert_eq!(surplus(own, 0).len(), 4, "one is kept at least");
    }
}
