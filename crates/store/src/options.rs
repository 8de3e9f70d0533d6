//! How a store is opened: what its program decides, and nothing that a row could mean.

use std::{fmt, sync::Arc, time::Duration};

use farshore_env::{Clock, SystemClock};

use crate::bug::Bug;

/// What to do while another process holds a PostgreSQL store. A SQLite store that is held
/// is always refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Refuse at once.
    No,
    /// Wait at most so long.
    AtMost(Duration),
    /// Wait as long as it takes: this process is the one that takes over.
    Forever,
}

/// Which of the append-only tables a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Events; the name is their topic.
    Events,
    /// Samples; the name is their series.
    Samples,
}

/// How long the events of one topic, or the samples of one series, are kept. What no rule
/// names is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Which table.
    pub table: Table,
    /// The topic or the series.
    pub name: String,
    /// How long, counted back from the newest one or from now, whichever is earlier: a
    /// clock that jumps ahead deletes nothing.
    pub keep: Duration,
}

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Where the time comes from: for retention and for what people read.
    pub clock: Arc<dyn Clock>,
    /// What to do while another process holds it.
    pub wait: Wait,
    /// How long events and samples are kept.
    pub retention: Vec<Retention>,
    /// Longest time that a sample waits to be written: what a crash may cost of them.
    pub flush_every: Duration,
    /// How often what is too old is looked for.
    pub prune_every: Duration,
    /// How often the lock's own session is asked whether it still lives.
    pub heartbeat_every: Duration,
    /// What goes wrong on purpose.
    #[cfg(feature = "deliberate-bugs")]
    pub bug: Option<Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            clock: Arc::new(SystemClock::default()),
            wait: Wait::No,
            retention: Vec::new(),
            flush_every: Duration::from_secs(10),
            prune_every: Duration::from_secs(600),
            heartbeat_every: Duration::from_secs(2),
            #[cfg(feature = "deliberate-bugs")]
            bug: None,
        }
    }
}

impl Options {
    /// Whether the bug is switched on for this store.
    #[cfg(feature = "deliberate-bugs")]
    pub(crate) fn is(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// No bug can be switched on in a program.
    #[cfg(not(feature = "deliberate-bugs"))]
    #[expect(clippy::unused_self, reason = "the question is the same with the feature")]
    pub(crate) const fn is(&self, _: Bug) -> bool {
        false
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("wait", &self.wait)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
