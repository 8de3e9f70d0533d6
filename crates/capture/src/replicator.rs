//! One machine's replication from start to stop: sessions, cycles, retries. The one owner
//! of its digest map, its checkpoints and its status.

mod frozen;

use std::time::Duration;

use farshore_hypervisor::{Kind, Machine, Start};
use farshore_link::{CycleOver, Greeting, LinkError, Session, SessionOptions};
use farshore_types::DiskKey;
use farshore_wire::FailureCode;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Activity, CaptureError, CycleReport, Parts, Status,
    apps::Due,
    cycle::{Cycle, delete_checkpoint},
    freeze::Freezer,
    map::{DigestMap, Record, ScanReason, Settled},
    plan::{self, PREFIX, Plan},
    resync,
    schedule::Schedule,
    started,
    watch::{end_own_backup, is_halted, rescue},
};

/// Pauses before the next try after a failure that may heal, in seconds; then the last one
/// again and again. Short at first: what is at stake is the RPO.
const RETRY_SECS: [u64; 7] = [1, 2, 4, 8, 15, 30, 60];

/// How often a machine is looked at again while something else holds it.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// How long a stop waits for the session's goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Replicates one machine to one target.
pub struct Replicator {
    parts: Parts,
    map: DigestMap,
    status: watch::Sender<Status>,
    schedule: Schedule,
    failures: usize,
    /// A patch did not fit: what the target has is not what was thought, or cannot be read
    /// there. Whole clusters mend both.
    whole: bool,
    /// Whether a cycle of this session has seen the machine off.
    looked: bool,
    /// Cycles since the last point that were cut.
    cuts: u32,
    /// Times since the last point that the record of changes was lost.
    lost: u32,
    /// What the last point has to do without, and why.
    without: Option<String>,
    /// Which cycles are to be application-consistent.
    due: Due,
    freezer: Freezer,
}

/// What a turn of the loop came to.
enum Turn {
    /// A cycle was sealed; more is to be read at once.
    Again,
    /// The next tick is awaited.
    Rest,
    /// So it is, but nothing could be sent.
    Held,
}

impl Replicator {
    /// Opens the machine's state; nothing else happens yet.
    ///
    /// # Errors
    /// Where the state directory cannot be used.
    pub fn new(parts: Parts) -> Result<Replicator, CaptureError> {
        let map = DigestMap::open(parts.files.clone(), &parts.places.state)?;
        let runtime = &parts.places.runtime;
        let io = |source| CaptureError::State { what: "creating", path: runtime.clone(), source };
        parts.files.create_dir_all(runtime).map_err(io)?;
        let schedule = Schedule::new(parts.clock.monotonic(), parts.settings.frequency());
        let record = map.record();
        let status = Status {
            last_point: record.point,
            captured_ms: record.captured_ms,
            resynced: resynced(record, 0),
            ..Status::default()
        };
        let status = watch::Sender::new(status);
        Ok(Replicator {
            due: Due::new(parts.clock.monotonic(), parts.settings.apps.clone()),
            freezer: Freezer::new(&parts, status.clone()),
            parts,
            map,
            status,
            schedule,
            failures: 0,
            looked: false,
            cuts: 0,
            whole: false,
            lost: 0,
            without: None,
        })
    }

    /// What is going on, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Replicates until asked to stop, or until something is wrong that only a person can
    /// mend. In both cases no backup and no session is left behind.
    ///
    /// # Errors
    /// What only a person can mend.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), CaptureError> {
        let result = self.run_until(&stop).await;
        let activity = match &result {
            Ok(()) => Activity::Stopped,
            Err(e) => Activity::Failed { why: e.to_string() },
        };
        self.show(activity);
        result
    }

    async fn run_until(&mut self, stop: &CancellationToken) -> Result<(), CaptureError> {
        loop {
            match self.session(stop).await {
                Ok(()) | Err(CaptureError::Stopped) => return Ok(()),
                Err(e) if !e.heals() => return Err(e),
                Err(e) => {
                    let secs = RETRY_SECS[self.failures.min(RETRY_SECS.len() - 1)];
                    self.failures += 1;
                    tracing::warn!(machine = %self.parts.machine, error = %e, retry_in_secs = secs, "replication interrupted");
                    self.show(Activity::Retrying { why: e.to_string(), after_secs: secs });
                    if rest(Duration::from_secs(secs), stop).await {
                        return Ok(());
                    }
                    self.count_missed(true);
                }
            }
        }
    }

    /// One session with the target, for as long as it lasts.
    async fn session(&mut self, stop: &CancellationToken) -> Result<(), CaptureError> {
        self.looked = false;
        self.clear_leftovers().await?;
        self.show(Activity::Connecting);
        let machine = self.parts.hypervisor.machine(self.parts.machine).await?;
        let greeting = Greeting {
            machine: self.parts.machine,
            machine_name: machine.name.clone(),
            epoch: self.parts.epoch,
            agent: self.parts.agent.clone(),
        };
        let options = SessionOptions { rate: self.parts.settings.rate.clone(), ..SessionOptions::default() };
        let opening = Session::over(self.parts.dial.clone(), greeting, options);
        let mut session = tokio::select! {
            session = opening => session?,
            () = stop.cancelled() => return Err(CaptureError::Stopped),
        };
        self.settle(&mut session).await?;
        let result = self.cycles(&mut session, stop).await;
        if let Ok(()) | Err(CaptureError::Stopped) = result {
            let _ = timeout(GOODBYE, session.bye()).await;
        }
        result
    }

    async fn cycles(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), CaptureError> {
        loop {
            let wait = self.schedule.wait(self.parts.clock.monotonic());
            let hurry = self.parts.settings.hurry.clone();
            tokio::select! {
                stopped = rest(wait, stop) => if stopped { return Err(CaptureError::Stopped) },
                () = hurry.asked() => self.schedule.at_once(self.parts.clock.monotonic()),
            }
            let turn = tokio::select! {
                still = hurry.still() => still,
                () = stop.cancelled() => return Err(CaptureError::Stopped),
            };
            let result = self.turn(session, stop).await;
            drop(turn);
            let owed = match result {
                Ok(Turn::Again) => continue,
                Ok(Turn::Rest) => {
                    (self.failures, self.lost) = (0, 0);
                    false
                }
                Ok(Turn::Held) => false,
                Err(e) if e.in_the_way() => {
                    self.show(Activity::Waiting { why: e.to_string() });
                    if rest(WAIT_FOR_OTHERS, stop).await {
                        return Err(CaptureError::Stopped);
                    }
                    false
                }
                Err(e) if e.lost_tracking() => {
                    tracing::warn!(machine = %self.parts.machine, error = %e, "the record of changes is lost");
                    self.forget_checkpoints(&e.to_string())?;
                    self.lost += 1;
                    if self.lost == 1 {
                        continue;
                    }
                    // An image that takes no bitmap: beginning anew does not help at once.
                    self.status.send_modify(|s| s.totals.failed += 1);
                    self.pause_after(e, stop).await?;
                    true
                }
                Err(e) => {
                    self.status.send_modify(|s| s.totals.failed += 1);
                    if !keeps_session(&e) {
                        return Err(e);
                    }
                    self.pause_after(e, stop).await?;
                    true
                }
            };
            self.count_missed(owed);
        }
    }

    /// The session lives, only this cycle failed.
    async fn pause_after(
        &mut self,
        error: CaptureError,
        stop: &CancellationToken,
    ) -> Result<(), CaptureError> {
        if !error.heals() {
            return Err(error);
        }
        let secs = RETRY_SECS[self.failures.min(RETRY_SECS.len() - 1)];
        self.failures += 1;
        tracing::warn!(machine = %self.parts.machine, %error, retry_in_secs = secs, "cycle failed");
        self.show(Activity::Retrying { why: error.to_string(), after_secs: secs });
        match rest(Duration::from_secs(secs), stop).await {
            true => Err(CaptureError::Stopped),
            false => Ok(()),
        }
    }

    /// One cycle, if one is needed.
    async fn turn(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<Turn, CaptureError> {
        // Also what a begin left that was late, or an end that failed.
        self.clear_leftovers().await?;
        let machine = self.parts.hypervisor.machine(self.parts.machine).await?;
        // Stopped by an earlier backup whose cycle did not see it.
        if is_halted(&machine.power) && rescue(&self.parts).await? {
            self.status.send_modify(|s| s.totals.rescued += 1);
        }
        // To read its disks would start it, and so end what is kept of its memory.
        if machine.saved {
            self.show(Activity::Waiting { why: started::SAVED.to_owned() });
            return Ok(Turn::Held);
        }
        let off = machine.power.is_off();
        if self.looked && is_as_left(&machine, self.map.record()) {
            self.show(Activity::Off);
            return Ok(Turn::Rest);
        }
        if off {
            started::note(&*self.parts.files, &self.parts.places.state)?;
            self.parts.hypervisor.start(self.parts.machine, Start::Paused).await?;
        }
        let result = self.started_turn(session, &machine, off, stop).await;
        if off {
            self.put_back().await;
            if matches!(result, Ok(Turn::Rest)) {
                self.remember_as_left().await?;
                self.looked = true;
                // Whoever waits for just that need not wait for the next tick.
                if !self.map.record().stamps.is_empty() {
                    self.show(Activity::Off);
                }
            }
        }
        result
    }

    /// Notes what the disks' files look like now that the last point has all of them.
    async fn remember_as_left(&mut self) -> Result<(), CaptureError> {
        let machine = self.parts.hypervisor.machine(self.parts.machine).await?;
        // Somebody may have set it going meanwhile; then nothing is known.
        let stamps = if machine.power.is_off() { stamps(&machine) } else { Vec::new() };
        self.map.set_record(Record { stamps, ..self.map.record().clone() })
    }

    /// A machine that was started paused for a cycle is stopped again, unless somebody has
    /// set it going meanwhile.
    async fn put_back(&self) {
        let Parts { hypervisor, files, places, machine, .. } = &self.parts;
        if let Err(e) = started::put_back(&**hypervisor, &**files, &places.state, *machine).await {
            tracing::warn!(error = %e, "stopping a machine that was started for a cycle only: it is tried again");
        }
    }

    async fn started_turn(
        &mut self,
        session: &mut Session,
        machine: &Machine,
        off: bool,
        stop: &CancellationToken,
    ) -> Result<Turn, CaptureError> {
        let checkpoints = self.parts.hypervisor.checkpoints(self.parts.machine).await?;
        self.sweep(checkpoints.iter().map(|c| c.name.as_str()).collect()).await;
        let (chosen, notes) = self.choose(machine)?;
        let plan = plan::next(machine, &chosen, self.map.record(), &checkpoints);
        if let Some(why) = resync::held_back(&plan, &self.parts.settings.resync_gate) {
            self.show(Activity::ResyncNeeded { why });
            return Ok(Turn::Held);
        }
        let left_out = machine.disks.iter().map(|d| d.key.clone()).filter(|k| !chosen.contains(k)).collect();
        self.announce(&plan);
        let status = self.status.clone();
        let advance = move |done, total| Status::advance(&status, done, total);
        let parts = self.parts.clone();
        // Of a scan, most of what is read is of other instants.
        let is_due = plan.scan.is_none() && self.is_app_due(machine, off);
        let mut cycle = Cycle {
            parts: &parts,
            machine,
            plan,
            session,
            map: &mut self.map,
            advance: &advance,
            left_out,
            cuts: self.cuts,
            off,
            whole: self.whole,
            without: None,
            freezer: is_due.then_some(&mut self.freezer),
            frozen: None,
        };
        let ordinary = cycle.plan.scan.is_none();
        let result = cycle.run(stop).await;
        self.without = cycle.without;
        let frozen = cycle.frozen;
        if let Some(frozen) = frozen {
            self.froze(frozen, result.as_ref().ok());
        }
        let report = result.inspect_err(|e| self.whole |= e.is_bad_patch())?;
        self.note(notes);
        self.whole = false;
        if report.point {
            self.cuts = 0;
        } else if ordinary {
            self.cuts += 1;
        }
        self.sealed(report);
        let more = self.map.record().scan.is_some() || !report.point;
        Ok(if more { Turn::Again } else { Turn::Rest })
    }

    fn choose(&self, machine: &Machine) -> Result<(Vec<DiskKey>, Vec<String>), CaptureError> {
        let excluded = &self.parts.settings.excluded;
        let missing = excluded.iter().find(|key| machine.disk(key).is_none());
        // A name that never was one is a mistake; a disk may go while its machine is protected.
        if let Some(missing) = missing.filter(|_| self.map.record().sealed.is_none()) {
            return Err(CaptureError::NoSuchDisk {
                machine: machine.name.clone(),
                disk: missing.to_string(),
                has: machine.disks.iter().map(|d| d.key.to_string()).collect::<Vec<_>>().join(", "),
            });
        }
        let (chosen, notes) = plan::choose_disks(machine, excluded, &self.map.record().disks)?;
        if chosen.is_empty() {
            return Err(CaptureError::NoDisks { machine: machine.name.clone(), why: notes.join("; ") });
        }
        self.note(notes.clone());
        Ok((chosen, notes))
    }

    /// Shows what is to be said of the machine's disks, and of what the last point lacks.
    fn note(&self, mut notes: Vec<String>) {
        notes.extend(self.without.clone());
        self.status.send_if_modified(|s| {
            let changed = s.notes != notes;
            s.notes = notes;
            changed
        });
    }

    /// Brings the digest map to where the target is.
    async fn settle(&mut self, session: &mut Session) -> Result<(), CaptureError> {
        let last = session.welcome().last;
        match tokio::task::block_in_place(|| self.map.settle(last))? {
            Settled::Same { dropped: old } | Settled::Applied { superseded: old } => {
                for name in old {
                    delete_checkpoint(&self.parts, &name).await;
                }
            }
            Settled::Unknown => self.rebuild(session).await?,
        }
        if let Some(record) = resync::asked(self.map.record(), self.parts.settings.resync) {
            self.map.set_record(record)?;
        }
        let record = self.map.record().clone();
        self.status.send_modify(|s| {
            (s.last_point, s.captured_ms) = (record.point, record.captured_ms);
            s.resynced = resynced(&record, s.resynced);
        });
        Ok(())
    }

    /// The target's last element is none that is known here: its digests are fetched, and
    /// the source is then read once and compared.
    async fn rebuild(&mut self, session: &mut Session) -> Result<(), CaptureError> {
        let welcome = session.welcome();
        tracing::info!(machine = %self.parts.machine, last = ?welcome.last, "rebuilding the digest map from the target");
        self.map.reset()?;
        let Some(last) = welcome.last else { return Ok(()) };
        for disk in &welcome.disks {
            let mut from = Some(0);
            while let Some(start) = from {
                let page = session.digests(&disk.key, start).await?;
                tokio::task::block_in_place(|| self.map.fill(&disk.key, disk.size, &page.entries))?;
                from = page.next;
            }
        }
        let disks = welcome.disks.iter().map(|d| (d.key.clone(), d.size)).collect();
        self.map.set_record(Record { sealed: Some(last), disks, ..Record::default() })
    }

    /// Ends what a killed agent left: its backup, the guest's standstill, and a machine that
    /// was started for a cycle only.
    async fn clear_leftovers(&mut self) -> Result<(), CaptureError> {
        let Parts { hypervisor, files, places, machine, .. } = &self.parts;
        if started::put_back(&**hypervisor, &**files, &places.state, *machine).await? {
            tracing::warn!(machine = %machine, "stopped again: an agent that was killed had started it for a cycle");
        }
        self.freezer.see_to_leftovers();
        if end_own_backup(&self.parts).await? && rescue(&self.parts).await? {
            self.status.send_modify(|s| s.totals.rescued += 1);
        }
        let io = |source| CaptureError::State {
            what: "clearing",
            path: self.parts.places.runtime.clone(),
            source,
        };
        for name in self.parts.files.list(&self.parts.places.runtime).map_err(io)? {
            if name.starts_with("scratch-") {
                // Still there only where no backup runs that uses it.
                self.parts.files.remove(&self.parts.places.runtime.join(name)).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Deletes checkpoints of ours that nothing needs.
    async fn sweep(&self, names: Vec<&str>) {
        let needed = self.map.record().checkpoints();
        for name in names.into_iter().filter(|n| n.starts_with(PREFIX) && !needed.contains(n)) {
            delete_checkpoint(&self.parts, name).await;
        }
    }

    fn forget_checkpoints(&mut self, why: &str) -> Result<(), CaptureError> {
        let mut record = self.map.record().clone();
        record.checkpoint = None;
        if let Some(scan) = &mut record.scan {
            (scan.checkpoint, scan.since) = (None, None);
            scan.done.clear();
            if scan.why == ScanReason::Rest {
                scan.why = ScanReason::Resync(why.to_owned());
            }
        } else if record.sealed.is_some() {
            let why = ScanReason::Resync(why.to_owned());
            record.scan =
                Some(crate::map::Scan { why, checkpoint: None, done: Default::default(), since: None });
        }
        self.map.set_record(record)
    }

    fn announce(&self, plan: &Plan) {
        let total = plan.disks.iter().map(|d| d.size).sum();
        let resyncing = matches!(self.status.borrow().activity, Activity::Resynchronizing { .. });
        let activity = match plan.scan.as_ref().map(|s| &s.why) {
            None | Some(ScanReason::Rest) => Activity::Replicating,
            Some(ScanReason::Initial) => Activity::InitialReplication { done: 0, total },
            Some(ScanReason::Resync(why)) => Activity::Resynchronizing { why: why.clone(), done: 0, total },
        };
        let begins = matches!(activity, Activity::Resynchronizing { .. }) && !resyncing;
        self.status.send_if_modified(|s| {
            s.totals.resyncs += u64::from(begins);
            let same = std::mem::discriminant(&s.activity) == std::mem::discriminant(&activity);
            if !same {
                s.activity = activity;
            }
            !same
        });
    }

    fn sealed(&self, report: CycleReport) {
        let record = self.map.record();
        self.status.send_modify(|s| {
            (s.last_point, s.captured_ms, s.last_cycle) = (record.point, record.captured_ms, Some(report));
            s.resynced = resynced(record, s.resynced);
            s.totals.cycles += 1;
            s.totals.read += report.read;
            s.totals.sent += report.sent;
        });
    }

    /// A cycle is over; one that is owed does not wait for the next tick.
    fn count_missed(&mut self, owed: bool) {
        let now = self.parts.clock.monotonic();
        let missed = if owed { self.schedule.failed(now) } else { self.schedule.done(now) };
        if missed > 0 {
            self.status.send_modify(|s| s.totals.missed += missed);
        }
    }

    fn show(&self, activity: Activity) {
        self.status.send_if_modified(|s| {
            let changed = s.activity != activity;
            s.activity = activity;
            changed
        });
    }
}

/// The last resync asked for that is done, where `before` was.
fn resynced(record: &Record, before: u64) -> u64 {
    if record.scan.is_none() && record.point.is_some() { record.resync } else { before }
}

/// Whether a machine is off, and has not been written since its last point as far as every disk of
/// it can tell.
pub(crate) fn is_as_left(machine: &Machine, record: &Record) -> bool {
    let now = stamps(machine);
    let told = !now.is_empty() && now.iter().all(|(_, stamp)| stamp.is_some());
    let whole = record.off && record.scan.is_none();
    machine.power.is_off() && whole && told && record.stamps == now && has_sizes(machine, record)
}

fn stamps(machine: &Machine) -> Vec<(DiskKey, Option<String>)> {
    let replicated = machine.disks.iter().filter(|d| d.tracking.replicates());
    replicated.map(|d| (d.key.clone(), d.stamp.clone())).collect()
}

/// Whether the disks of the last element have the sizes that they had then: a stamp that was taken
/// when somebody had resized one already would not tell.
fn has_sizes(machine: &Machine, record: &Record) -> bool {
    let now = |key: &DiskKey| machine.disk(key).map(|disk| disk.size.next_multiple_of(512));
    record.disks.iter().all(|(key, size)| now(key) == Some(*size))
}

/// Sleeps; true where asked to stop.
async fn rest(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => stop.is_cancelled(),
        () = stop.cancelled() => true,
    }
}

/// Whether the session is still good after an error of a cycle.
fn keeps_session(error: &CaptureError) -> bool {
    match error {
        // Where the target is may be another place than this session knows (restarted, brought
        // up, owned by another): the next session's beginning tells, and settles it.
        CaptureError::Link(LinkError::Cycle(CycleOver::Failed { failure, .. })) => {
            matches!(failure.code, FailureCode::NoSpace | FailureCode::Storage | FailureCode::Aborted)
        }
        CaptureError::Link(_)
        | CaptureError::Stopped
        | CaptureError::Worker(_)
        | CaptureError::State { .. } => false,
        CaptureError::Hypervisor(e) => !matches!(e.kind, Kind::NoSuchMachine | Kind::Connection),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use farshore_wire::Failure;

    use super::*;

    #[test]
    fn a_session_ends_where_the_target_may_be_elsewhere_than_it_knows() {
        for code in FailureCode::ALL {
            let failure = Failure::new(*code, "", "");
            let error = CaptureError::Link(LinkError::Cycle(CycleOver::Failed { cycle: 1, failure }));
            let full = matches!(code, FailureCode::NoSpace | FailureCode::Storage | FailureCode::Aborted);
            assert_eq!(keeps_session(&error), full, "{code}");
        }
    }
}
