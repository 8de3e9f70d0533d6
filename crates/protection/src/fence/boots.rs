//! In which boots of its host a machine was known to be that host's to run, and ran: what
//! decides after a boot whether a witness is asked (rule R8). A value; this module must never
//! know how a boot is told from another.

use serde::{Deserialize, Serialize};

/// Of one machine on one host; `B` tells one boot of the host from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Boots<B> {
    /// The boot in which this host learned last that the machine is its own: it was accepted or
    /// assigned, a witness has spoken, or it ran.
    known: Option<B>,
    /// The boot in which it ran when it was looked at last, and was not shut down by its users.
    ran: Option<B>,
}

impl<B> Default for Boots<B> {
    fn default() -> Boots<B> {
        Boots { known: None, ran: None }
    }
}

impl<B: Clone + PartialEq> Boots<B> {
    /// Whether nobody has said in this boot that the machine is this host's: the other side may
    /// have taken it over while this host was down.
    #[must_use]
    pub fn is_unsure(&self, now: &B) -> bool {
        self.known.as_ref() != Some(now)
    }

    /// Whether it ran when this host went down.
    #[must_use]
    pub fn ran_before(&self, now: &B) -> bool {
        self.ran.as_ref().is_some_and(|boot| boot != now)
    }

    /// Somebody has said in this boot that it is this host's.
    pub fn know(&mut self, now: &B) {
        self.known = Some(now.clone());
    }

    /// What is held of its owner was found, and not heard in this boot.
    pub fn forget(&mut self) {
        self.known = None;
    }

    /// It was looked at. One that is off in the boot in which it ran was shut down by its users,
    /// and is not started after a boot; unless it is `moved`: then we may have shut it down.
    /// Whether anything is new.
    pub fn look(&mut self, now: &B, runs: bool, moved: bool) -> bool {
        let before = self.clone();
        if runs {
            self.know(now);
            self.ran = Some(now.clone());
        } else if !moved && self.ran.as_ref() == Some(now) {
            self.ran = None;
        }
        *self != before
    }
}
