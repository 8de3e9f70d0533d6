//! Holding a guest's file systems frozen around one instant, and thawing them for certain: a
//! mark on disk says so before they are, so that whoever comes after a killed agent thaws them;
//! where an answer was lost, the guest is asked again and again until it says that it is thawed.
//! Whether the freeze held until the instant was over is the guest's word, and nothing else.
//!
//! The guest's own hooks are run by its agent, before the freeze and after the thaw. This module
//! must never know what happens at the instant.

mod mark;

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_env::Files;
use farshore_hypervisor::{Hypervisor, Kind};
use farshore_types::MachineId;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    CaptureError, Parts, Status,
    bug::{self, Bug},
};

/// How much longer than its own limit an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// Least time that the guest gets for its hook and for freezing.
const ASK_LEAST: Duration = Duration::from_secs(2);

/// How long an answer to "are you frozen?" is waited for.
const LOOK: Duration = Duration::from_secs(5);

/// Pauses between looks at a guest that may stand frozen, in milliseconds; then the last one
/// again and again.
const LOOK_AGAIN_MS: [u64; 6] = [100, 200, 500, 1000, 2000, 5000];

/// How long it is looked before it is told.
const TELL_AFTER: Duration = Duration::from_secs(10);

/// How long anything about a freeze may take.
#[derive(Clone, Copy, Debug)]
pub struct FreezeLimits {
    /// The guest's hook and the freezing; never more than half the copy frequency, or 2 s where
    /// that is more: a guest that does not answer delays its points by no more.
    pub ask: Duration,
    /// How long the guest stays frozen for the instant.
    pub hold: Duration,
    /// The first answer to the thaw.
    pub thaw: Duration,
}

impl Default for FreezeLimits {
    fn default() -> Self {
        let [ask, hold, thaw] = [10, 2, 5].map(Duration::from_secs);
        FreezeLimits { ask, hold, thaw }
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Whether all file systems were frozen from before the instant until after it; else why
    /// that is not so, or not known, and what to do.
    pub(crate) held: Result<(), String>,
    /// Milliseconds from asking for the freeze to the answer to the thaw: how long the guest's
    /// writes stood still at most.
    pub(crate) took_ms: Option<u64>,
}

/// A guest as far as it is frozen and thawed.
#[derive(Clone)]
struct Guest {
    hypervisor: Arc<dyn Hypervisor>,
    files: Arc<dyn Files>,
    state: PathBuf,
    machine: MachineId,
}

/// Freezes and thaws one machine's guest.
pub(crate) struct Freezer {
    guest: Guest,
    limits: FreezeLimits,
    status: watch::Sender<Status>,
    /// Sees to it that the guest is thawed, while that is not certain.
    keeper: Option<JoinHandle<()>>,
}

impl Freezer {
    pub(crate) fn new(parts: &Parts, status: watch::Sender<Status>) -> Freezer {
        let Parts { hypervisor, files, places, machine, settings, .. } = parts;
        let (hypervisor, files) = (Arc::clone(hypervisor), Arc::clone(files));
        let guest = Guest { hypervisor, files, state: places.state.clone(), machine: *machine };
        let most = (settings.frequency() / 2).max(ASK_LEAST);
        let limits = FreezeLimits { ask: settings.freeze.ask.min(most), ..settings.freeze };
        Freezer { guest, limits, status, keeper: None }
    }

    /// Sees to it that a guest is thawed which a killed agent, or a cycle that was dropped, may
    /// have left frozen. Does not wait for that.
    pub(crate) fn see_to_leftovers(&mut self) {
        if !self.is_unsure() && mark::is_there(&*self.guest.files, &self.guest.state) {
            self.keep();
        }
    }

    /// Freezes the guest, lets the instant happen, and thaws the guest whatever comes of either.
    /// The instant happens also where the guest cannot be frozen.
    pub(crate) async fn around<T>(&mut self, instant: impl Future<Output = T>) -> (T, Frozen) {
        let asked = Instant::now();
        let (done, mut frozen) = match self.freeze().await {
            Ok(count) => self.hold(count, asked, instant).await,
            Err(why) => (instant.await, Frozen { held: Err(why), took_ms: None }),
        };
        if bug::is(Bug::LabelsAnyFreeze) {
            frozen.held = Ok(());
        }
        (done, frozen)
    }

    /// How many file systems are frozen now.
    async fn freeze(&mut self) -> Result<u32, String> {
        if self.is_unsure() {
            return Err("whether the guest was thawed after the last try is not known yet".to_owned());
        }
        let Guest { hypervisor, files, state, machine } = &self.guest;
        mark::write(&**files, state).map_err(|e| e.to_string())?;
        let ask = self.limits.ask;
        let why = match timeout(ask + GRACE, hypervisor.freeze(*machine, ask)).await {
            Ok(Ok(0)) => "the guest has no file system that can be frozen".to_owned(),
            Ok(Ok(count)) => return Ok(count),
            Ok(Err(error)) if is_without_effect(error.kind) => {
                self.unmark();
                return Err(error.to_string());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "the guest was not frozen within {} s: look at what its freeze hook, or a disk of it, waits for",
                ask.as_secs()
            ),
        };
        self.keep();
        Err(why)
    }

    async fn hold<T>(&mut self, count: u32, asked: Instant, instant: impl Future<Output = T>) -> (T, Frozen) {
        let mut instant = pin!(instant);
        if bug::is(Bug::ThawsEarly) {
            let held = self.thaw(count).await;
            return (instant.await, Frozen { held, took_ms: Some(millis(asked.elapsed())) });
        }
        match timeout(self.limits.hold, &mut instant).await {
            Ok(done) => {
                let held = self.thaw(count).await;
                let took_ms = (!self.is_unsure()).then(|| millis(asked.elapsed()));
                (done, Frozen { held, took_ms })
            }
            Err(_) => {
                self.keep();
                let why = format!(
                    "the backup had not begun when the guest had stood frozen for {} s, and it was thawed before: \
                     look what keeps the host busy",
                    self.limits.hold.as_secs_f32()
                );
                (instant.await, Frozen { held: Err(why), took_ms: None })
            }
        }
    }

    /// Thaws the guest; whether it was frozen until then.
    async fn thaw(&mut self, count: u32) -> Result<(), String> {
        let patience = self.limits.thaw;
        let answer =
            timeout(patience + GRACE, self.guest.hypervisor.thaw(self.guest.machine, patience)).await;
        let why = match answer {
            Ok(Ok(thawed)) if thawed >= count => {
                self.unmark();
                return Ok(());
            }
            Ok(Ok(thawed)) => format!(
                "of the guest's {count} frozen file systems only {thawed} were still frozen after the instant: look \
                 what in the guest thaws them"
            ),
            Ok(Err(error)) => format!("whether the guest stayed frozen is not known: {error}"),
            Err(_) => {
                format!(
                    "whether the guest stayed frozen is not known: its agent did not answer within {} s",
                    patience.as_secs()
                )
            }
        };
        if bug::is(Bug::TrustsLostThaw) {
            self.unmark();
            return Err(why);
        }
        self.keep();
        Err(why)
    }

    /// The guest is thawed for certain.
    fn unmark(&mut self) {
        if let Err(error) = mark::clear(&*self.guest.files, &self.guest.state, None) {
            tracing::warn!(%error, "the guest is thawed, and the mark of its freeze stays: it is looked at again");
            self.keep();
        }
    }

    /// Whether it is not yet certain that the guest is thawed.
    fn is_unsure(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !keeper.is_finished())
    }

    fn keep(&mut self) {
        self.keeper = Some(tokio::spawn(keep(self.guest.clone(), self.status.clone())));
    }
}

/// Thaws a guest until it is certain; tells where that takes long.
async fn keep(guest: Guest, status: watch::Sender<Status>) {
    let begun = Instant::now();
    for turn in 0.. {
        let Guest { hypervisor, files, state, machine } = &guest;
        match thaw_left(&**hypervisor, &**files, state, *machine).await {
            Ok(_) => break,
            Err(error) if begun.elapsed() >= TELL_AFTER => {
                tracing::error!(%machine, %error, "the guest may stand frozen");
                status.send_modify(|s| s.apps.unthawed = Some(error.to_string()));
            }
            Err(error) => tracing::warn!(%machine, %error, "thawing the guest: it is tried again"),
        }
        let pause = LOOK_AGAIN_MS[usize::min(turn, LOOK_AGAIN_MS.len() - 1)];
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    status.send_if_modified(|s| s.apps.unthawed.take().is_some());
}

/// Thaws a guest that a cycle may have left frozen, where the mark of that is there, asks it
/// whether it is thawed, and takes the mark away. `state` is where the machine's replication
/// keeps its state. Returns whether there was a mark.
///
/// # Errors
/// [`CaptureError`]; the mark stays, and whoever comes next tries again.
pub async fn thaw_left(
    hypervisor: &dyn Hypervisor,
    files: &dyn Files,
    state: &Path,
    id: MachineId,
) -> Result<bool, CaptureError> {
    let Some(ours) = mark::read(files, state)? else { return Ok(false) };
    if bug::is(Bug::ForgetsFrozen) {
        return Ok(false);
    }
    // Thawed, and then asked again: an answer may have been lost, and an earlier request be done
    // only now.
    for _ in 0..2 {
        match hypervisor.is_frozen(id, LOOK).await {
            Ok(true) => drop(hypervisor.thaw(id, LOOK).await),
            Ok(false) => {
                mark::clear(files, state, Some(ours.as_slice()))?;
                return Ok(true);
            }
            // What stood still is gone with the guest.
            Err(e) if matches!(e.kind, Kind::NotRunning | Kind::NoSuchMachine) => {
                mark::clear(files, state, Some(ours.as_slice()))?;
                return Ok(true);
            }
            Err(e) => return Err(CaptureError::Frozen { machine: id, why: e.to_string() }),
        }
    }
    Err(CaptureError::Frozen { machine: id, why: "it says that it is still frozen".to_owned() })
}

/// Whether the mark of a freeze is there: the guest may stand frozen. `state` is where the
/// machine's replication keeps its state.
#[must_use]
pub fn is_marked_frozen(files: &dyn Files, state: &Path) -> bool {
    mark::is_there(files, state)
}

/// Whether a freeze that failed with it has not frozen anything, and will not.
fn is_without_effect(kind: Kind) -> bool {
    matches!(kind, Kind::NoAgent | Kind::NotRunning | Kind::NoSuchMachine | Kind::Unsupported | Kind::Busy)
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
