//! Who has the store open: one process at a time. A file beside a SQLite database, a
//! session's advisory lock in PostgreSQL. The lock keeps honest processes apart; against
//! one that lost it unnoticed there is the fence in every transaction.

use std::{
    fs,
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    StoreError, fault, head,
    link::{self, Link, Purpose},
    location::Location,
    options::{Options, Wait},
};

/// How often a waiting process asks for the lock.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How many times it asks before it looks who has it now.
const LOOK_EVERY: u64 = 20;
/// Most bytes read of what a lock file says.
const HOLDER_MAX: u64 = 1024;

/// The lock, as long as it lives.
pub(crate) enum Hold {
    /// Of the file beside the database.
    File(#[expect(dead_code, reason = "held, not looked at")] Flock<fs::File>),
    /// Of a session that does nothing else.
    Session(Link),
}

impl Hold {
    /// Gives the lock back in order.
    pub(crate) async fn release(self) {
        if let Hold::Session(link) = self {
            link.close().await;
        }
    }

    /// Whether the lock is still ours, as far as the server can be asked.
    pub(crate) async fn lives(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Hold::File(_) => Ok(()),
            Hold::Session(link) => link.one::<(i64,)>("SELECT 1::bigint", &[]).await.map(drop),
        }
    }
}

/// Takes the lock, or says who has it; `me` is what others are told.
pub(crate) async fn take(location: &Location, options: &Options, me: &str) -> Result<Hold, StoreError> {
    match location {
        Location::Sqlite(path) => lock_file(location, path, me).map(Hold::File),
        Location::Postgres(_) => wait_for_session(location, options).await.map(Hold::Session),
    }
}

/// The database's own name, so that two names of one file have one lock.
fn lock_path(path: &Path) -> PathBuf {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = real.into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

fn lock_file(location: &Location, path: &Path, me: &str) -> Result<Flock<fs::File>, StoreError> {
    link::make_file(path)?;
    let lock = lock_path(path);
    let fault = |what, source: io::Error| StoreError::File {
        what,
        path: lock.clone(),
        advice: "the vault's user must be allowed to write in the folder of its database",
        source: Arc::new(source),
    };
    let opened =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock);
    let file = opened.map_err(|error| fault("open", error))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut held) => {
            let written =
                held.set_len(0).and_then(|()| held.rewind()).and_then(|()| held.write_all(me.as_bytes()));
            // What it says is for people; the lock is what counts.
            if let Err(error) = written {
                tracing::debug!(%error, path = %lock.display(), "the lock file does not say who holds it");
            }
            Ok(held)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            Read::by_ref(&mut file).take(HOLDER_MAX).read_to_string(&mut holder).ok();
            let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
            Err(StoreError::Held { location: location.to_string(), holder })
        }
        Err((_, error)) => Err(fault("lock", error.into())),
    }
}

/// Asks again and again, because a question that waits in the server would not notice that
/// the server is gone.
async fn wait_for_session(location: &Location, options: &Options) -> Result<Link, StoreError> {
    let began = tokio::time::Instant::now();
    let mut session = link::lock_session(location).await?;
    let mut told = String::new();
    for asked in 0_u64.. {
        match link::try_lock(&mut session).await {
            Ok(true) => return Ok(session),
            Ok(false) => {}
            Err(error) if fault::class(&error) == fault::Class::Lost => {
                tracing::warn!(%location, %error, "the database went away while waiting for it");
                tokio::time::sleep(ASK_EVERY).await;
                if let Ok(anew) = link::lock_session(location).await {
                    session = anew;
                }
            }
            Err(error) => return Err(fault::opening(location, "take the lock", error)),
        }
        let over = match options.wait {
            Wait::No => true,
            Wait::AtMost(time) => began.elapsed() >= time,
            Wait::Forever => false,
        };
        if over || asked.is_multiple_of(LOOK_EVERY) {
            let holder = holder(location, options).await;
            if over {
                session.close().await;
                return Err(StoreError::Held { location: location.to_string(), holder });
            }
            if told != holder {
                tracing::info!(%location, %holder, "standing by until the store is free");
                told = holder;
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Err(StoreError::Closed { location: location.to_string() })
}

/// Who says that he has it.
async fn holder(location: &Location, options: &Options) -> String {
    let asked = async {
        let mut link = Link::open(location, Purpose::Read, options).await.ok()?;
        let head = head::read(&mut link).await.ok();
        link.close().await;
        Some(head?.holder)
    };
    asked.await.filter(|holder| !holder.is_empty()).unwrap_or_else(|| "another process".to_owned())
}
