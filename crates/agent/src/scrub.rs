//! The scrub: in the background, the replicas' tables are compared with the chain about
//! daily, and all data is read and checked about weekly, a little at a time and never while
//! a cycle comes in. What is found is logged and kept for `status`. This module must never
//! know how a replica lies on disk.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use farshore_env::{Clock, Files, OpenMode, read_exact_at};
use farshore_replica::{Decay, Phase, Replica, ReplicaError, Scrub, ScrubPlace};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{AgentError, OpenReplica, Replicas, control::ScrubLine, replicas::blocking};

/// Between two looks at what is due; with [`SLICE`] the share of time that reading takes.
const PAUSE: Duration = Duration::from_millis(900);
/// Longest reading at once: freed space is held back meanwhile.
const SLICE: Duration = Duration::from_millis(100);
/// How old a comparison of tables may get.
const TABLES_EVERY_MS: u64 = 24 * 3600 * 1000;
/// Most places of decay that are remembered of one reading.
const DECAY_MAX: usize = 100;
/// Longest record that is read, in bytes.
const RECORD_MAX: u64 = 1 << 20;

/// What was done for one replica, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// When the tables were last compared; milliseconds since the Unix epoch.
    tables_ms: Option<u64>,
    /// Images whose tables were found wrong and built anew.
    mended: u64,
    /// When the reading under way began.
    begun_ms: Option<u64>,
    /// Where it goes on.
    place: Option<ScrubPlace>,
    /// When the last reading ended.
    read_ms: Option<u64>,
    /// What the last whole reading found.
    decay: Vec<Decay>,
    /// What the one under way has found.
    found: Vec<Decay>,
}

impl Record {
    /// The record in a replica's directory. One that cannot be read is as good as none: all
    /// is then read again.
    pub(crate) fn load(files: &dyn Files, dir: &Path) -> Record {
        let read = || {
            let file = files.open(&Record::path(dir), OpenMode::Read)?;
            let mut bytes = vec![0; usize::try_from(file.size()?.min(RECORD_MAX)).unwrap_or(0)];
            read_exact_at(&*file, &mut bytes, 0)?;
            Ok::<_, std::io::Error>(serde_json::from_slice(&bytes)?)
        };
        read().unwrap_or_default()
    }

    fn save(&self, files: &dyn Files, dir: &Path) -> Result<(), AgentError> {
        let (path, new) = (Record::path(dir), dir.join("scrub.json.tmp"));
        let write = || {
            let file = files.open(&new, OpenMode::Truncate)?;
            file.write_at(&serde_json::to_vec(self)?, 0)?;
            file.sync()?;
            files.rename(&new, &path)
        };
        write().map_err(AgentError::io("write", &path))
    }

    fn path(dir: &Path) -> PathBuf {
        dir.join("scrub.json")
    }

    /// For `status`: what was done, and decay that points which are still there show.
    pub(crate) fn told(&self, store: &Replica) -> (ScrubLine, Vec<String>) {
        let all = self.found.iter().chain(self.decay.iter().filter(|d| !self.found.contains(d)));
        let shown: Vec<&Decay> = all.filter(|d| store.point(d.last).is_ok()).collect();
        let line = ScrubLine {
            tables_checked_ms: self.tables_ms,
            tables_mended: self.mended,
            data_checked_ms: self.read_ms,
            reading: self.begun_ms.is_some(),
            decayed: shown.len(),
        };
        (line, shown.into_iter().map(told).collect())
    }

    fn tables_are_due(&self, now_ms: u64) -> bool {
        self.tables_ms.is_none_or(|at| now_ms.saturating_sub(at) >= TABLES_EVERY_MS)
    }

    fn data_is_due(&self, now_ms: u64, every: Duration) -> bool {
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.begun_ms.is_some() || self.read_ms.is_none_or(|at| now_ms.saturating_sub(at) >= every)
    }
}

fn told(decay: &Decay) -> String {
    let Decay { first, last, disk, cluster, why } = decay;
    let points = if first == last { format!("point {first}") } else { format!("points {first} to {last}") };
    format!(
        "disk {disk}, cluster {cluster} of {points}: {why}; bring up another point, and replicate to a new replica"
    )
}

/// Scrubs all open replicas, one after the other, until stopped. Data is read again when the
/// last reading is `every` old; never, if that is zero.
pub(crate) async fn scrub(
    replicas: Arc<Replicas>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    every: Duration,
    stop: CancellationToken,
) {
    let scrubber = Scrubber { replicas, files, clock, every, stop: stop.clone() };
    while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
        for replica in scrubber.replicas.opened().await {
            // One at a time: the share of the disks' time is for all together.
            if scrubber.look_after(&replica).await {
                break;
            }
        }
    }
}

struct Scrubber {
    replicas: Arc<Replicas>,
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    every: Duration,
    stop: CancellationToken,
}

impl Scrubber {
    /// Does one step, if one is due; whether it did.
    async fn look_after(&self, replica: &Arc<OpenReplica>) -> bool {
        let now = self.clock.wall_ms();
        // A cycle that only waits for its session is not in the way: that may never come.
        let held = replica.held().is_some();
        let (busy, phase) = replica.run(move |store| (store.is_taking_cycle() && !held, store.phase())).await;
        if busy {
            return false;
        }
        let (tables, data) = {
            let record = replica.scrub();
            (record.tables_are_due(now), !self.every.is_zero() && record.data_is_due(now, self.every))
        };
        let done = match (tables && phase == Phase::Receiving, data) {
            (true, _) => self.check_tables(replica, now).await,
            (false, true) => self.read_on(replica, now).await,
            (false, false) => return false,
        };
        match done {
            Ok(()) | Err(ReplicaError::BroughtUp { .. }) => {}
            Err(error @ ReplicaError::Delta { .. }) => self.tell_damage(replica, error).await,
            Err(error) => tracing::error!(machine = %replica.machine(), %error, "the scrub failed"),
        }
        self.save(replica);
        true
    }

    async fn check_tables(&self, replica: &Arc<OpenReplica>, now: u64) -> Result<(), ReplicaError> {
        // Also where it fails: a check that cannot be made must not be made every second.
        replica.scrub().tables_ms = Some(now);
        let check = replica.run(|store| store.table_check()).await;
        if blocking(move || check.run()).await?.is_empty() {
            return Ok(());
        }
        let mended = replica.run(Replica::mend_tables).await?;
        replica.scrub().mended += mended.len() as u64;
        Ok(())
    }

    async fn read_on(&self, replica: &Arc<OpenReplica>, now: u64) -> Result<(), ReplicaError> {
        let place = {
            let mut record = replica.scrub();
            record.begun_ms.get_or_insert(now);
            record.place.clone()
        };
        let Some(scrub) = replica.run(|store| store.scrub()).await else {
            finish(&mut replica.scrub(), now);
            return Ok(());
        };
        let stop = self.stop.clone();
        let (found, next) = blocking(move || read_slice(&scrub, place.as_ref(), &stop)).await;
        let name = replica.run(|store| store.name().to_owned()).await;
        for decay in &found {
            tracing::error!(machine = name, what = told(decay), "data has decayed");
        }
        let mut record = replica.scrub();
        record.found.extend(found);
        record.found.truncate(DECAY_MAX);
        match next {
            Ok(Some(place)) => record.place = Some(place),
            Ok(None) => finish(&mut record, now),
            Err(error) => {
                finish(&mut record, now);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A delta that decayed under the open store is only told of: whoever can put the right
    /// file back must not find newer points gone for it.
    async fn tell_damage(&self, replica: &Arc<OpenReplica>, error: ReplicaError) {
        tracing::error!(machine = %replica.machine(), %error,
            "a delta is damaged; put the right file back, or replicate to a new replica; nothing is pruned until then");
        replica.run(move |store| store.note_decayed(&error)).await;
    }

    fn save(&self, replica: &Arc<OpenReplica>) {
        let record = replica.scrub().clone();
        if let Err(error) = record.save(&*self.files, &self.replicas.dir_of(replica.machine())) {
            tracing::warn!(error = error.fault().what, "the scrub may begin again after a restart");
        }
    }
}

fn finish(record: &mut MutexGuard<'_, Record>, now: u64) {
    record.decay = std::mem::take(&mut record.found);
    (record.begun_ms, record.place, record.read_ms) = (None, None, Some(now));
}

fn read_slice(
    scrub: &Scrub,
    from: Option<&ScrubPlace>,
    stop: &CancellationToken,
) -> (Vec<Decay>, Result<Option<ScrubPlace>, ReplicaError>) {
    let (begun, mut found) = (Instant::now(), Vec::new());
    let mut goes_on = |_| begun.elapsed() < SLICE && !stop.is_cancelled();
    let next = scrub.run(from, &mut goes_on, &mut |decay| found.push(decay));
    (found, next)
}
