//! Holding a guest's file systems frozen around one instant, and thawing them for certain: a
//! mark on disk says so before they are, so that whoever comes after a killed agent thaws them;
//! where an answer was lost, the guest is asked again and again until it says that it is thawed.
//! Whether the freeze held until the instant was over is the guest's word, and nothing else.
//!
//! The guest's own hooks are run by its agent, before the freeze and after the thaw. This module
//! must never know what happens at the instant.

mod mark;
mod unthawed;

use std::{
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_env::Files;
use farshore_hypervisor::{Hypervisor, HypervisorError, Kind};
use farshore_types::MachineId;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    Parts, Status,
    bug::{self, Bug},
};
pub use unthawed::Unthawed;

/// How much longer than its own limit an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);

/// Least time that the guest gets for its hook and for freezing.
const ASK_LEAST: Duration = Duration::from_secs(2);

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

/// A freeze that was asked for: it goes on where nobody waits for it any more.
type Freezing = JoinHandle<Result<u32, HypervisorError>>;

/// Freezes and thaws one machine's guest.
pub(crate) struct Freezer {
    guest: Guest,
    limits: FreezeLimits,
    status: watch::Sender<Status>,
    /// Sees to it that the guest is thawed, while that is not certain.
    keeper: Option<JoinHandle<()>>,
    /// Whether what came of the last try was never answered.
    lost: bool,
}

impl Freezer {
    pub(crate) fn new(parts: &Parts, status: watch::Sender<Status>) -> Freezer {
        let Parts { hypervisor, files, places, machine, settings, .. } = parts;
        let (hypervisor, files) = (Arc::clone(hypervisor), Arc::clone(files));
        let guest = Guest { hypervisor, files, state: places.state.clone(), machine: *machine };
        let most = (settings.frequency() / 2).max(ASK_LEAST);
        let limits = FreezeLimits { ask: settings.freeze.ask.min(most), ..settings.freeze };
        Freezer { guest, limits, status, keeper: None, lost: false }
    }

    /// Sees to it that a guest is thawed which a killed agent, or a cycle that was dropped, may
    /// have left frozen. Does not wait for that.
    pub(crate) fn see_to_leftovers(&mut self) {
        if self.is_unsure() {
            return;
        }
        if let Some(left) = Unthawed::find(&*self.guest.files, &self.guest.state, self.guest.machine) {
            self.keep(left, None);
        }
    }

    /// Freezes the guest, lets the instant happen, and thaws the guest whatever comes of either.
    /// The instant happens also where the guest cannot be frozen.
    pub(crate) async fn around<T>(&mut self, instant: impl Future<Output = T>) -> (T, Frozen) {
        let asked = Instant::now();
        let (done, mut frozen) = match self.freeze().await {
            Ok((count, left)) => self.hold(count, left, asked, instant).await,
            Err(why) => (instant.await, Frozen { held: Err(why), took_ms: None }),
        };
        if bug::is(Bug::LabelsAnyFreeze) {
            frozen.held = Ok(());
        }
        (done, frozen)
    }

    /// How many file systems are frozen now.
    async fn freeze(&mut self) -> Result<(u32, Unthawed), String> {
        if self.is_unsure() {
            return Err("whether the guest was thawed after the last try is not known yet".to_owned());
        }
        let Guest { hypervisor, files, state, machine } = self.guest.clone();
        let mut left = Unthawed::begin(&*files, &state, machine).map_err(|e| e.to_string())?;
        let ask = self.limits.ask;
        let mut freezing: Freezing = tokio::spawn(async move { hypervisor.freeze(machine, ask).await });
        let was_lost = std::mem::replace(&mut self.lost, true);
        let Ok(ended) = timeout(ask + GRACE, &mut freezing).await else {
            self.keep(left, Some(freezing));
            return Err(format!(
                "the guest was not frozen within {} s: look at what its freeze hook, or a disk of it, waits for",
                ask.as_secs()
            ));
        };
        let answer = ended.map_err(|panic| HypervisorError::new("freeze", Kind::Other, panic.to_string()));
        let answer = answer.flatten();
        left.hear(&answer);
        self.lost = answer.as_ref().is_err_and(|error| !is_without_effect(error.kind));
        let why = match answer {
            Ok(0) => "the guest has no file system that can be frozen".to_owned(),
            Ok(count) => return Ok((count, left)),
            // Right after a try of ours that was not answered, what holds it may be just that.
            Err(error) if is_without_effect(error.kind) && !(was_lost && error.kind == Kind::Busy) => {
                self.unmark(left);
                return Err(error.to_string());
            }
            Err(error) => error.to_string(),
        };
        self.keep(left, None);
        Err(why)
    }

    async fn hold<T>(
        &mut self,
        count: u32,
        left: Unthawed,
        asked: Instant,
        instant: impl Future<Output = T>,
    ) -> (T, Frozen) {
        let mut instant = pin!(instant);
        if bug::is(Bug::ThawsEarly) {
            let held = self.thaw(count, left).await;
            return (instant.await, Frozen { held, took_ms: Some(millis(asked.elapsed())) });
        }
        match timeout(self.limits.hold, &mut instant).await {
            Ok(done) => {
                let held = self.thaw(count, left).await;
                let took_ms = (!self.is_unsure()).then(|| millis(asked.elapsed()));
                (done, Frozen { held, took_ms })
            }
            Err(_) => {
                self.keep(left, None);
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
    async fn thaw(&mut self, count: u32, left: Unthawed) -> Result<(), String> {
        let patience = self.limits.thaw;
        let answer =
            timeout(patience + GRACE, self.guest.hypervisor.thaw(self.guest.machine, patience)).await;
        let why = match answer {
            Ok(Ok(thawed)) if thawed >= count => {
                self.unmark(left);
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
        match bug::is(Bug::TrustsLostThaw) {
            true => self.unmark(left),
            false => self.keep(left, None),
        }
        Err(why)
    }

    /// The guest is thawed for certain.
    fn unmark(&mut self, left: Unthawed) {
        if let Err(error) = left.clear(&*self.guest.files) {
            tracing::warn!(%error, "the guest is thawed, and the mark of its freeze stays: it is looked at again");
            self.keep(left, None);
        }
    }

    /// Whether it is not yet certain that the guest is thawed.
    fn is_unsure(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| !keeper.is_finished())
    }

    fn keep(&mut self, left: Unthawed, freezing: Option<Freezing>) {
        self.keeper = Some(tokio::spawn(keep(self.guest.clone(), left, freezing, self.status.clone())));
    }
}

/// Thaws a guest until it is certain, which it is not before the freeze has ended; tells where
/// that takes long.
async fn keep(
    guest: Guest,
    mut left: Unthawed,
    mut freezing: Option<Freezing>,
    status: watch::Sender<Status>,
) {
    let begun = Instant::now();
    for turn in 0.. {
        let Guest { hypervisor, files, machine, .. } = &guest;
        // Before the guest is asked: what it says then is of after the freeze.
        if let Some(ended) = freezing.take_if(|freezing| freezing.is_finished())
            && let Ok(answer) = ended.await
        {
            left.hear(&answer);
        }
        match left.thaw(&**hypervisor, &**files).await {
            Ok(true) => break,
            Ok(false) => {}
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

/// Whether a freeze that failed with it has not frozen anything, and will not.
fn is_without_effect(kind: Kind) -> bool {
    matches!(kind, Kind::NoAgent | Kind::NotRunning | Kind::NoSuchMachine | Kind::Unsupported | Kind::Busy)
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
