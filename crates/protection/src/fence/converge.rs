//! The next thing that an agent does about one machine, from what its document wants and what
//! is so here. Asked again after everything that was done. This module must never remember.

use farshore_ownership::{Heard, Lineage, Occasion, Seal};
use farshore_types::{Epoch, HostId};

use super::{Act, Claim, Fence, on_claim};
use crate::{
    Choice, Overlay, Want, Wanted,
    bug::{self, Bug},
};

/// What is so on a host about one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// Whether the machine runs here.
    pub runs: bool,
    /// Whether what runs was cut off from the network while it was another host's, and is this
    /// host's now: it is started anew, for else it would stay cut off.
    pub cut_off: bool,
    /// Whether it is off, and nobody has said since the host was booted that it is this host's.
    pub booted: bool,
    /// Whether it is off, and ran when the host went down.
    pub ran: bool,
    /// Whether its guest was asked here to shut down, not long ago, and may do so late.
    pub asked: bool,
    /// Whether the document was confirmed as the newest by the vault since this agent began to
    /// run, and within the time for which a stop holds. One from a cache stops nothing (R7).
    pub fresh: bool,
    /// Whether the other host has everything that the machine wrote here.
    pub complete: bool,
    /// By which order of the epoch that is held the machine was brought up here last; 0 where
    /// it was started by a seal.
    pub brought_up: Option<u64>,
    /// A seal that came from the other host.
    pub seal: Option<Seal>,
    /// What is configured for a copy that is another host's.
    pub fence: Fence,
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Nothing.
    Nothing,
    /// Take notice of the epoch and owner of the document, durably.
    Hear,
    /// Start the machine as it is; one that is cut off is stopped for that first.
    Start,
    /// Ask the other site whether it has taken over, and start the machine when it has not.
    AskWitness,
    /// Ask the other host for its durable refusal of this epoch.
    AskRefusal(Epoch),
    /// Shut the machine down.
    ShutDown {
        /// Whether it is switched off where it does not.
        power_off: bool,
    },
    /// Send what the other host does not have.
    SendRest,
    /// Seal the machine for the next owner, durably, and send the seal.
    Seal(Epoch),
    /// Accept a seal, durably.
    Accept(Seal),
    /// Refuse a seal of this epoch, durably.
    Refuse(Epoch),
    /// Bring the machine up; where it runs here, it is stopped for that first.
    BringUp {
        /// At which point.
        point: Choice,
        /// From what, at that point.
        overlay: Overlay,
        /// By which order.
        order: u64,
    },
    /// Stop or isolate the machine.
    Fence(Fence),
    /// Keep what was written here as a point, and make the disks the replica.
    Adopt,
}

/// Decides it.
#[must_use]
pub fn converge(lineage: &Lineage, me: HostId, wanted: &Wanted, here: &Here) -> Do {
    let heard = lineage.clone().hear(&wanted.epoch, wanted.owner);
    if !matches!(heard, Heard::Stale | Heard::Known) {
        return Do::Hear;
    }
    let mine = wanted.of(me);
    if heard == Heard::Stale {
        // The document is of before: what is held here counts, and the vault learns of it. The
        // one thing that it may be waiting for is that an accepted machine runs.
        return match (lineage.owner == me, here.brought_up.is_some()) {
            (false, _) => Do::Nothing,
            (true, false) => run(lineage, me, here),
            (true, true) => own(lineage, me, here),
        };
    }
    match mine {
        Want::Own => own(lineage, me, here),
        Want::Run => run(lineage, me, here),
        Want::HandOver { next, last_cycle, power_off } => {
            hand_over(lineage, me, here, next, last_cycle, power_off)
        }
        Want::Accept { next } => accept(lineage, me, here, next),
        Want::Refuse { next } if !lineage.refused.contains(&next) && lineage.epoch.number < next.number => {
            Do::Refuse(next)
        }
        Want::BringUp { order, .. } if here.runs && here.brought_up == Some(order) => Do::Nothing,
        Want::BringUp { point: Choice::AsLeft, .. } if here.runs && !here.cut_off => Do::Nothing,
        // Another point is to be shown: that stops a guest, which only a fresh word does (R7).
        Want::BringUp { .. } if here.runs && !here.fresh => Do::Nothing,
        // What was done before the boot is not ordered again; what was not waits for a fresh word.
        Want::BringUp { order, .. } if here.booted && here.brought_up == Some(order) => Do::AskWitness,
        Want::BringUp { .. } if here.booted && !here.fresh => Do::Nothing,
        // Off before the vault has heard that it ran: what it wrote here is not given up for that.
        Want::BringUp { order, .. } if here.brought_up == Some(order) => bring_up(lineage, me, Do::Start),
        Want::BringUp { point, overlay, order } => {
            bring_up(lineage, me, Do::BringUp { point, overlay, order })
        }
        Want::Fence | Want::Receive | Want::Adopt if here.runs => fenced(lineage, me, here, mine),
        Want::Adopt => Do::Adopt,
        Want::Refuse { .. } | Want::Fence | Want::Receive | Want::Hold | Want::Nothing => Do::Nothing,
    }
}

fn fenced(lineage: &Lineage, me: HostId, here: &Here, want: Want) -> Do {
    let claim = if here.fresh { Claim::Vault } else { Claim::Rumour };
    match on_claim(lineage, me, want, claim, here.fence) {
        Act::Fence(fence) => Do::Fence(fence),
        Act::GoOn | Act::GoOnUnprotected => Do::Nothing,
    }
}

/// A sealed machine needs the refusal; one that ran when its host went down, a witness. One that
/// went down for a move that was given up runs again; so does one that is cut off from when it was
/// another host's, by a word that was durable before: nobody uses it as it is. Whether it runs
/// otherwise is its users' business.
fn own(lineage: &Lineage, me: HostId, here: &Here) -> Do {
    let asked = here.asked && !bug::is(Bug::ForgetsItAsked);
    match lineage.held_seal() {
        Some(seal) => Do::AskRefusal(seal.next),
        None if here.cut_off && lineage.may_start(me, Occasion::Ordered).is_ok() => Do::Start,
        None if here.runs => Do::Nothing,
        None if here.ran || (asked && here.booted) => Do::AskWitness,
        None if asked && lineage.may_start(me, Occasion::Ordered).is_ok() => Do::Start,
        None => Do::Nothing,
    }
}

/// The same, where it is to run: also one that has never run here, or that a hand-over has shut
/// down, needs the witness after a boot.
fn run(lineage: &Lineage, me: HostId, here: &Here) -> Do {
    let rests = own(lineage, me, here);
    if rests != Do::Nothing || here.runs || lineage.may_start(me, Occasion::Ordered).is_err() {
        return rests;
    }
    if here.booted && !bug::is(Bug::StartsUnasked) { Do::AskWitness } else { Do::Start }
}

/// Unsealed, and without a vault that still wants it, the machine runs again (rule R3).
fn hand_over(
    lineage: &Lineage,
    me: HostId,
    here: &Here,
    next: Epoch,
    last_cycle: bool,
    power_off: bool,
) -> Do {
    if lineage.held_seal().is_some() {
        // Somebody has started it behind the seal, by which the other host may at any moment.
        let twice = here.runs && here.fresh && !bug::is(Bug::RunsBehindItsSeal);
        return if twice { Do::Fence(Fence::Stop) } else { Do::Nothing };
    }
    if !here.fresh && !bug::is(Bug::StopsFromCache) {
        return run(lineage, me, here);
    }
    if here.runs {
        return Do::ShutDown { power_off };
    }
    if last_cycle && !here.complete && !bug::is(Bug::SealsEarly) { Do::SendRest } else { Do::Seal(next) }
}

fn accept(lineage: &Lineage, me: HostId, here: &Here, next: Epoch) -> Do {
    if lineage.epoch == next && lineage.owner == me {
        return run(lineage, me, here);
    }
    match here.seal {
        Some(seal) if seal.next == next && lineage.clone().accept(me, &seal).is_ok() => Do::Accept(seal),
        _ => Do::Nothing,
    }
}

fn bring_up(lineage: &Lineage, me: HostId, act: Do) -> Do {
    let allowed = lineage.may_start(me, Occasion::Ordered).is_ok();
    if allowed { act } else { Do::Nothing }
}
