//! The warm copy that site servers keep of this vault: a backup of the store, made when one of
//! them asks and something has changed, and handed out in pieces. A vault that is learning
//! gives none: what sites hold may be newer. This module must never know what is in it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use farshore_channel::Refusal;
use farshore_control::copy::{CopyAsk, CopyMark, CopyPiece, PIECE_MAX};
use tokio::sync::Mutex;

use super::{backups, config::VaultConfig, desk::Desk, issuer::refused};
use crate::ProgramError;

/// Shortest time from one copy to the next; and so many times what the last one took, so that
/// a large vault is not busy with copies.
const EVERY: Duration = Duration::from_secs(10);
const SHARE: u32 = 30;
/// The newest copy, in the vault's data directory.
const NAME: &str = "warm.copy";

/// Makes copies and hands them out; clones are the same.
#[derive(Clone)]
pub(crate) struct Copies {
    config: VaultConfig,
    desk: Desk,
    made: Arc<Mutex<Option<Made>>>,
}

struct Made {
    mark: CopyMark,
    file: File,
    /// How many transactions this process had stored before it was made.
    stored: u64,
    at: Instant,
    took: Duration,
}

impl Copies {
    /// Of the vault that the desk serves.
    pub(crate) fn new(config: &VaultConfig, desk: &Desk) -> Copies {
        Copies { config: config.clone(), desk: desk.clone(), made: Arc::default() }
    }

    /// Answers a site server.
    ///
    /// # Errors
    /// A vault that is learning or was superseded; a copy that cannot be made.
    pub(crate) async fn piece(&self, asked: &CopyAsk) -> Result<CopyPiece, Refusal> {
        let speaks = self
            .desk
            .look(|core, _, _| core.has_learned() && !core.is_superseded())
            .await
            .map_err(refused)?;
        if !speaks {
            return Err(Refusal::unavailable("this vault does not command now: what you hold may be newer"));
        }
        let mut made = self.made.lock().await;
        let of = made.as_ref().is_some_and(|made| asked.held.as_ref() == Some(&made.mark));
        let begins = !of || made.as_ref().is_none_or(|made| asked.have >= made.mark.len);
        if begins && made.as_ref().is_none_or(|made| self.is_old(made)) {
            *made = Some(self.make().await.map_err(|error| {
                tracing::error!(%error, "no warm copy was made");
                Refusal::unavailable(format!("no warm copy was made: {error}"))
            })?);
        }
        let Some(made) = made.as_ref() else { return Err(Refusal::unavailable("there is no warm copy yet")) };
        let same = asked.held.as_ref() == Some(&made.mark);
        let data = read(&made.file, if same { asked.have } else { 0 }, made.mark.len)
            .map_err(|error| Refusal::unavailable(format!("the warm copy cannot be read: {error}")))?;
        let behind_ms = if made.stored == self.desk.meters().stored() {
            0
        } else {
            u64::try_from(made.at.elapsed().as_millis()).unwrap_or(u64::MAX)
        };
        Ok(CopyPiece { mark: made.mark.clone(), behind_ms, data: STANDARD.encode(data) })
    }

    fn is_old(&self, made: &Made) -> bool {
        let pause = EVERY.max(made.took * SHARE);
        made.stored != self.desk.meters().stored() && made.at.elapsed() >= pause
    }

    async fn make(&self) -> Result<Made, ProgramError> {
        let (stored, at) = (self.desk.meters().stored(), Instant::now());
        let path = self.config.data_dir.join(NAME);
        let new = path.with_extension("new");
        fs::remove_file(&new).ok();
        let (_, info) = backups::backup(&self.config, Some(&new)).await?;
        let (len, digest) = digest_of(&new)?;
        fs::rename(&new, &path).map_err(ProgramError::io("rename", &new))?;
        let file = File::open(&path).map_err(ProgramError::io("open", &path))?;
        let mark = CopyMark { term: info.label.term, at_ms: info.label.at_ms, len, digest };
        Ok(Made { mark, file, stored, at, took: at.elapsed() })
    }
}

/// Bytes of a copy, and their digest as a mark has it.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn digest_of(path: &Path) -> Result<(u64, String), ProgramError> {
    let wrong = ProgramError::io("read", path);
    let digest = || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
    };
    digest().map_err(wrong)
}

fn read(file: &File, from: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let most = len.saturating_sub(from).min(PIECE_MAX);
    let mut data = vec![0; usize::try_from(most).unwrap_or_default()];
    file.read_exact_at(&mut data, from)?;
    Ok(data)
}
