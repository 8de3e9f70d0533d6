//! Who has not been heard of for too long. Pure: times come in, what changed comes out.

use std::time::Duration;

/// Whether somebody is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hearing {
    last: Duration,
    silent: bool,
    after: Duration,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has become silent.
    Silent,
    /// It speaks again.
    Back,
}

impl Hearing {
    /// Begins to listen; silence is noticed `after` that time.
    pub(super) fn new(now: Duration, after: Duration) -> Hearing {
        Hearing { last: now, silent: false, after }
    }

    /// It spoke.
    pub(super) fn heard(&mut self, now: Duration) -> Option<Turn> {
        self.last = now;
        std::mem::take(&mut self.silent).then_some(Turn::Back)
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Duration) -> Option<Turn> {
        let due = !self.silent && now.saturating_sub(self.last) >= self.after;
        self.silent |= due;
        due.then_some(Turn::Silent)
    }

    /// Whether it is silent.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Since when nothing was heard.
    pub(super) fn since(&self) -> Duration {
        self.last
    }

    /// When to look again; none: only when it speaks.
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.silent).then_some(self.last.saturating_add(self.after))
    }
}
