//! Why a target will not have a session, or drops a cycle: a code that programs branch
//! on, and a message and advice for people.

use std::fmt;

use farshore_types::{Epoch, EpochOrder};

/// Defines an enum of codes with their numbers on the wire and their short names.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every code.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub(crate) fn number(self) -> u16 {
                match self { $($name::$variant => $number,)+ }
            }

            /// A newer peer's code that this version does not know becomes `Other`.
            pub(crate) fn from_number(number: u16) -> $name {
                match number { $($number => $name::$variant,)+ _ => $name::Other }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($name::$variant => $text,)+ })
            }
        }
    };
}

codes! {
    /// Why a target refuses or ends a session.
    RefusalCode {
        /// No protocol version in common.
        Version = 1, "no version in common";
        /// The target keeps no replica of this machine and was not told to.
        UnknownMachine = 2, "unknown machine";
        /// The source was superseded as owner.
        OlderEpoch = 3, "older epoch";
        /// Two owners were issued the same number; a person decides.
        EpochConflict = 4, "epoch conflict";
        /// The replica was brought up; it runs here.
        BroughtUp = 5, "brought up";
        /// Another process holds the replica's lock.
        Locked = 6, "locked";
        /// The replica's directory belongs to another machine.
        WrongMachine = 7, "wrong machine in the directory";
        /// The target's storage is full.
        NoSpace = 8, "no space";
        /// This peer may not replicate this machine to here.
        NotAuthorised = 9, "not authorised";
        /// Too many sessions at once; worth another try.
        Busy = 10, "busy";
        /// The peer broke the protocol.
        Violation = 11, "protocol violation";
        /// A newer session of the same machine took over, or the target is stopping.
        Superseded = 12, "superseded";
        /// The replica's storage reported an error.
        Storage = 13, "storage error";
        /// Anything else; the message says it.
        Other = 99, "refused";
    }
}

codes! {
    /// Why a target dropped a cycle while the session lives.
    FailureCode {
        /// The target's storage is full.
        NoSpace = 1, "no space";
        /// The source asked for it.
        Aborted = 2, "aborted";
        /// The Seal names another number of records than arrived.
        RecordCount = 3, "record count differs";
        /// The cycle builds on another element than the replica's last.
        BaseMismatch = 4, "base differs";
        /// A record's content does not have its digest, or a cluster came twice.
        BadRecord = 5, "bad record";
        /// The root digest computed at the replica differs.
        RootMismatch = 6, "root digest differs";
        /// The replica's storage reported an error.
        Storage = 7, "storage error";
        /// A patch does not make what its digest says out of what the replica holds: whole
        /// clusters will.
        BadPatch = 8, "patch does not fit";
        /// The cycle is over: a restart, an error or another session ended it.
        NotOpen = 9, "cycle not open";
        /// The cycle has more clusters than a replica takes at once.
        TooLarge = 10, "cycle too large";
        /// The replica was brought up meanwhile; the next session is told the rest.
        BroughtUp = 11, "brought up";
        /// The source was superseded as owner, or is one of two.
        NotOwner = 12, "not the owner";
        /// Anything else; the message says it.
        Other = 99, "failed";
    }
}

/// A target's refusal of a session, before or in the middle of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// What happened, with names and numbers.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// A target's report that it dropped a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// What happened, with names and numbers.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, self.message, self.advice)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, self.message, self.advice)
    }
}

impl Refusal {
    /// A refusal with its texts.
    #[must_use]
    pub fn new(code: RefusalCode, message: impl Into<String>, advice: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), advice: advice.into() }
    }

    /// Rule R4: whether a source of epoch `arriving` may write where `held` is the highest
    /// epoch known; `None` if it may.
    #[must_use]
    pub fn for_epoch(held: &Epoch, arriving: &Epoch) -> Option<Refusal> {
        match held.order_of(arriving) {
            EpochOrder::Same | EpochOrder::Newer => None,
            EpochOrder::Older => Some(Refusal::new(
                RefusalCode::OlderEpoch,
                format!(
                    "the source speaks for epoch {}, this replica is owned by epoch {}",
                    arriving.number, held.number
                ),
                "the source lost its ownership: keep its machine stopped and let it fetch its new documents",
            )),
            EpochOrder::Conflict => Some(Refusal::new(
                RefusalCode::EpochConflict,
                format!("two owners were issued epoch {}", held.number),
                "nothing is written until an operator declares the winner",
            )),
        }
    }
}

impl Failure {
    /// A failure with its texts.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), advice: advice.into() }
    }
}
