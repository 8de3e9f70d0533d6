//! The site's warm copy of the vault: fetched in pieces whenever the vault has changed, whole
//! and checked before it replaces the one before, and watched for how far it is behind. By it
//! `farshore vault promote` makes a vault of this site. This module must never look into it.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use farshore_channel::Backoff;
use farshore_control::{
    copy::{COPY_MAX, CopyAsk, CopyMark, CopyPiece, CopyStatus},
    report::Problem,
};
use farshore_site::{Above, server::Beside};
use farshore_types::SiteId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SiteConfig, place::Vault};
use crate::{ProgramError, settings, vault::digest_of};

/// How often the vault is asked for news.
const LOOK: Duration = Duration::from_secs(5);
/// Behind for longer than this, people are told.
const BEHIND_MAX: Duration = Duration::from_secs(600);

/// The copy of a site, beside its server.
pub(super) struct Copies {
    site: SiteId,
    copy: PathBuf,
    state: Mutex<State>,
}

struct State {
    mark: Option<CopyMark>,
    /// Until when the copy was as the vault, as far as is known.
    current: Instant,
    /// Why the last attempt failed.
    failed: Option<String>,
}

/// Where a site server keeps its copy.
#[must_use]
pub(crate) fn copy_of(config: &SiteConfig) -> PathBuf {
    config.data_dir.join("vault.copy")
}

impl Copies {
    /// Takes up what is there from before.
    pub(super) fn open(config: &SiteConfig, site: SiteId) -> Copies {
        let copy = copy_of(config);
        let mark = known_mark(&copy);
        let since = mark.as_ref().map_or(0, |mark| crate::vault::wall_ms().saturating_sub(mark.at_ms));
        let now = Instant::now();
        let current = now.checked_sub(Duration::from_millis(since)).unwrap_or(now);
        Copies { site, copy, state: Mutex::new(State { mark, current, failed: None }) }
    }

    /// Keeps the copy current until stopped.
    pub(super) async fn keep(&self, vault: &Vault, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        loop {
            let fetched = match stop.run_until_cancelled(self.fetch(vault)).await {
                None => return,
                Some(fetched) => fetched,
            };
            let pause = match &fetched {
                Ok(()) => {
                    backoff.reset();
                    LOOK
                }
                Err(why) => {
                    tracing::debug!(why, "the warm copy of the vault is fetched later");
                    backoff.pause().max(LOOK)
                }
            };
            self.state().failed = fetched.err();
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Asks for news, and fetches what is new, whole.
    async fn fetch(&self, vault: &Vault) -> Result<(), String> {
        let mut fetching = self.state().mark.clone();
        let mut have = fetching.as_ref().map_or(0, |mark| mark.len);
        let mut partial: Option<Partial> = None;
        loop {
            let asked_at = Instant::now();
            let asked = CopyAsk { site: self.site, held: fetching.clone(), have };
            let piece = vault.copy(&asked).await.map_err(|error| error.to_string())?;
            if fetching.as_ref() != Some(&piece.mark) {
                // Another one: from its beginning.
                partial = Some(Partial::begin(&self.copy, &piece.mark)?);
                fetching = Some(piece.mark.clone());
            }
            match &mut partial {
                None => {
                    let behind = Duration::from_millis(piece.behind_ms);
                    self.state().current = asked_at.checked_sub(behind).unwrap_or(asked_at);
                    return Ok(());
                }
                Some(arriving) => {
                    have = arriving.take(&piece)?;
                    if have == piece.mark.len {
                        arriving.finish(&self.copy, &piece.mark)?;
                        tracing::debug!(
                            bytes = have,
                            at_ms = piece.mark.at_ms,
                            "the warm copy is another one"
                        );
                        self.state().mark = Some(piece.mark);
                        partial = None;
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beside for Copies {
    fn copy(&self) -> Option<CopyStatus> {
        let state = self.state();
        let behind_ms = u64::try_from(state.current.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.mark.clone().map(|mark| CopyStatus { mark, behind_ms })
    }

    fn problems(&self) -> Vec<Problem> {
        let state = self.state();
        let behind = state.current.elapsed();
        if behind < BEHIND_MAX {
            return Vec::new();
        }
        let why = state.failed.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        vec![Problem {
            code: "copy-behind".to_owned(),
            what: format!(
                "the site's warm copy of the vault is {} minutes behind{why}",
                behind.as_secs() / 60
            ),
            advice: format!("see that the vault answers, and that {} has room", self.copy.display()),
        }]
    }
}

/// A copy that is arriving.
struct Partial {
    path: PathBuf,
    file: File,
    have: u64,
    hasher: blake3::Hasher,
}

impl Partial {
    fn begin(copy: &Path, mark: &CopyMark) -> Result<Partial, String> {
        if mark.len > COPY_MAX {
            return Err(format!("it has {} bytes, more than {COPY_MAX}", mark.len));
        }
        let path = copy.with_extension("new");
        // It has the vault's secrets, though sealed: nobody else reads it.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(Partial { path, file, have: 0, hasher: blake3::Hasher::new() })
    }

    /// Takes what follows; how much there is now.
    fn take(&mut self, piece: &CopyPiece) -> Result<u64, String> {
        let data = STANDARD.decode(&piece.data).map_err(|_| "a piece is not as agreed".to_owned())?;
        let after = self.have + data.len() as u64;
        if data.is_empty() || after > piece.mark.len {
            return Err("a piece is not as long as agreed".to_owned());
        }
        self.file
            .write_all(&data)
            .map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
        self.hasher.update(&data);
        self.have = after;
        Ok(after)
    }

    /// Whole and durable, then in the place of the one before.
    fn finish(&mut self, copy: &Path, mark: &CopyMark) -> Result<(), String> {
        if self.hasher.finalize().to_hex().as_str() != mark.digest {
            return Err("what arrived is not what was sent".to_owned());
        }
        let write = || {
            self.file.sync_all()?;
            fs::rename(&self.path, copy)
        };
        write().map_err(|error| format!("cannot write {}: {error}", copy.display()))?;
        let text = serde_json::to_string(mark).unwrap_or_default();
        settings::write_private(&mark_of(copy), &text).map_err(|error| error.to_string())
    }
}

fn mark_of(copy: &Path) -> PathBuf {
    copy.with_extension("mark")
}

/// The mark of the copy that is there: one that does not fit it says nothing, and it is fetched anew.
fn known_mark(copy: &Path) -> Option<CopyMark> {
    let mark: CopyMark = serde_json::from_str(&fs::read_to_string(mark_of(copy)).ok()?).ok()?;
    let (len, digest) = digest_of(copy).ok()?;
    ((len, &digest) == (mark.len, &mark.digest)).then_some(mark)
}

/// When the copy at `path` was made; for `promote`.
///
/// # Errors
/// There is none.
pub(crate) fn made_at(path: &Path) -> Result<u64, ProgramError> {
    let none = || {
        let what = format!("there is no warm copy at {}", path.display());
        ProgramError::usage(what, "run this on a surviving site server's machine, or name a backup by --copy")
    };
    if !path.exists() {
        return Err(none());
    }
    Ok(known_mark(path).map_or(0, |mark| mark.at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_far_behind_is_told_with_why() {
        let state = State { mark: None, current: Instant::now(), failed: None };
        let copy = PathBuf::from("vault.copy");
        let copies = Copies { site: SiteId(uuid::Uuid::nil()), copy, state: Mutex::new(state) };
        assert_eq!(copies.problems(), Vec::new(), "it was current a moment ago");
        copies.state().current = Instant::now().checked_sub(BEHIND_MAX).unwrap();
        copies.state().failed = Some("nobody answers".to_owned());
        let problems = copies.problems();
        assert_eq!((problems.len(), problems[0].code.as_str()), (1, "copy-behind"));
        assert!(problems[0].what.contains("10 minutes behind: nobody answers"), "{problems:?}");
    }
}
