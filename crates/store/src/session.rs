//! Opening a store for writing, and coming back to it after the connection was lost: lock,
//! checks, schema, fence. What is written then is decided elsewhere.

use uuid::Uuid;

use crate::{
    StoreError, fault,
    head::{self, Head},
    hold::{self, Hold},
    link::{self, Link, Purpose},
    location::Location,
    options::Options,
    record::Version,
    schema,
};

/// What writes, and what makes it the only one.
pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) hold: Hold,
}

impl Session {
    /// Ends it in order; the lock goes last.
    pub(crate) async fn close(self) {
        self.link.close().await;
        self.hold.release().await;
    }
}

/// What a process knows of its store from before the connection was lost.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) fence: u64,
    pub(crate) holder: String,
    /// The newest transaction that was acknowledged.
    pub(crate) newest: Version,
}

/// Opens the store for writing, and takes it over from whoever had it before.
pub(crate) async fn open(location: &Location, options: &Options) -> Result<(Session, Head), StoreError> {
    if matches!(location, Location::Postgres(_)) {
        // Said at once, not after hours of waiting.
        let mut link = Link::open(location, Purpose::Read, options).await?;
        schema::refuse_newer(schema::found(&mut link, location).await?, &location.to_string())?;
        link.close().await;
    }
    let me = me(options);
    let hold = hold::take(location, options, &me).await?;
    let mut link = Link::open(location, Purpose::Write, options).await?;
    let timeline = link::prepare_postgres(&mut link, location).await?;
    schema::refuse_newer(schema::found(&mut link, location).await?, &location.to_string())?;
    schema::migrate(&mut link, location, &Uuid::new_v4().to_string()).await?;
    let taken = head::take_over(&mut link, &me, &timeline).await;
    let head = taken.map_err(|error| fault::opening(location, "take the store over", error))?;
    Ok((Session { link, hold }, head))
}

/// One attempt to go on where the connection was lost: only if nobody else took the store
/// over, and it still has all that was acknowledged. `hold` is given back on failure, where
/// it is still worth something.
pub(crate) async fn resume(
    location: &Location,
    options: &Options,
    known: &Known,
    hold: &mut Option<Hold>,
) -> Result<(Session, Head), StoreError> {
    let mut link = Link::open(location, Purpose::Write, options).await?;
    link::prepare_postgres(&mut link, location).await?;
    let reread = |error| fault::opening(location, "read it again", error);
    link::fold_log(&mut link).await.map_err(reread)?;
    let head = head::read_settled(&mut link, options).await.map_err(reread)?;
    check_same(location, known, &head)?;
    let kept = match hold.take() {
        Some(mut kept) => kept.lives().await.is_ok().then_some(kept),
        None => None,
    };
    let kept = match kept {
        Some(kept) => kept,
        None => take_again(location, &head).await?,
    };
    // Somebody may have had the store between the first look and the lock.
    let head = match head::read_settled(&mut link, options).await.map_err(reread) {
        Ok(head) => head,
        Err(error) => {
            *hold = Some(kept);
            return Err(error);
        }
    };
    check_same(location, known, &head)?;
    Ok((Session { link, hold: kept }, head))
}

async fn take_again(location: &Location, head: &Head) -> Result<Hold, StoreError> {
    let mut session = link::lock_session(location).await?;
    match link::try_lock(&mut session).await {
        Ok(true) => Ok(Hold::Session(session)),
        // Either somebody who is about to take over, or a session of ours that the server
        // has not given up yet: the next attempt knows more.
        Ok(false) => Err(StoreError::Held { location: location.to_string(), holder: head.holder.clone() }),
        Err(error) => Err(fault::opening(location, "take the lock again", error)),
    }
}

fn check_same(location: &Location, known: &Known, head: &Head) -> Result<(), StoreError> {
    if head.id != known.id || head.newest < known.newest {
        return Err(StoreError::RolledBack {
            location: location.to_string(),
            acknowledged: known.newest,
            found: if head.id == known.id { head.newest } else { Version(0) },
        });
    }
    if head.fence != known.fence || head.holder != known.holder {
        return Err(StoreError::Superseded { location: location.to_string(), by: head.holder.clone() });
    }
    Ok(())
}

/// What others are told of this process.
fn me(options: &Options) -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let wall_ms = i64::try_from(options.clock.wall_ms()).unwrap_or(i64::MAX);
    let since = jiff::Timestamp::from_millisecond(wall_ms).map(|t| t.to_string()).unwrap_or_default();
    format!("process {} on {} since {since}", std::process::id(), host.as_deref().unwrap_or("this host"))
}
