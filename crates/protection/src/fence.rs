//! What an agent decides about running a machine: after its host's boot, when somebody claims
//! that another host owns it, when a document wants something, and when a person brings it up
//! without the vault. The agent makes a lineage durable before it does what is said here. This
//! module must never ask anybody; it is told what was answered.

mod boots;
mod converge;

use farshore_ownership::{self as ownership, Denied, Lineage, Occasion, Witness};
use farshore_types::{Epoch, HostId};
use serde::{Deserialize, Serialize};

use crate::{
    Reason, Want,
    bug::{self, Bug},
};
pub use boots::Boots;
pub use converge::{Do, Here, converge};

/// Who answers a question for a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Voice {
    /// The agent of the other host.
    OtherHost,
    /// The site server of the other site.
    OtherSite,
    /// The own site server, which knows only what came to it.
    OwnSite,
    /// The vault, likewise.
    Vault,
}

/// An answer to a question for a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// By whom.
    pub by: Voice,
    /// What.
    pub witness: Witness,
}

/// What becomes of a protected machine when its host has booted (rule R8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtBoot {
    /// It is started.
    Start,
    /// It is started because a person on this host said so, though nobody answered: to be
    /// logged, and told to the vault.
    StartOverridden,
    /// It is held; asked again until somebody answers.
    Hold(Reason),
    /// It is not this host's to start, whatever anybody says here.
    Never(Reason),
}

/// Decides that by the answers to the question `nonce`. Only the other site can say that it
/// has not taken over; of several answers the highest epoch counts.
#[must_use]
pub fn at_boot(lineage: &Lineage, me: HostId, nonce: u128, answers: &[Answered], overridden: bool) -> AtBoot {
    let believed = |answered: &&Answered| {
        let other = matches!(answered.by, Voice::OtherHost | Voice::OtherSite);
        (other && answered.witness.nonce == nonce) || bug::is(Bug::BelievesAnybody)
    };
    let mut answer =
        answers.iter().filter(believed).map(|answered| answered.witness).max_by_key(|w| w.epoch.number);
    if bug::is(Bug::BelievesAnybody) {
        answer = answer.map(|witness| Witness { nonce, ..witness });
    }
    match lineage.may_start(me, Occasion::Boot { nonce, answer }) {
        Ok(()) => AtBoot::Start,
        // A person can stand in for a missing witness, never for what is known.
        Err(Denied::NoWitness | Denied::StaleWitness) if overridden => AtBoot::StartOverridden,
        Err(denied @ (Denied::NoWitness | Denied::StaleWitness)) => {
            let advice = "it starts when the other site answers; override it here if you know better";
            AtBoot::Hold(Reason::new("no-witness", denied.to_string(), advice))
        }
        Err(denied) => AtBoot::Never(reason_of(&denied)),
    }
}

/// Answers another host's question: by everything that is durable here, a seal that was
/// refused and an epoch that conflicts included. Of two of one number it is the one that is held:
/// who owns the machine by the other one must hear that there is a conflict, not its own epoch.
#[must_use]
pub fn witness(lineage: &Lineage, nonce: u128) -> Witness {
    let epochs = if bug::is(Bug::AnswersTwins) {
        [Some(lineage.epoch), lineage.conflict]
    } else {
        [lineage.conflict, Some(lineage.epoch)]
    };
    // Of equals the last one.
    let epochs = epochs.into_iter().flatten();
    let epoch = epochs.max_by_key(|epoch| epoch.number).unwrap_or(lineage.epoch);
    Witness { nonce, epoch }
}

/// Who says that another host owns a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The vault, by its document, confirmed as the newest since this agent began to run.
    Vault,
    /// A document of before, or a peer.
    Rumour,
}

/// What is configured for a machine that runs here and is another host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fence {
    /// It is switched off.
    #[default]
    Stop,
    /// It runs on without any network.
    Isolate,
}

/// What becomes of a machine that runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing: it is this host's.
    GoOn,
    /// It runs on; nothing is sent or written by its epoch any more.
    GoOnUnprotected,
    /// It is fenced.
    Fence(Fence),
}

/// Decides that by what is held, after what was heard was made durable. A guest is stopped by
/// the vault's claim alone, and not while a person has to decide.
#[must_use]
pub fn on_claim(lineage: &Lineage, me: HostId, want: Want, claim: Claim, fence: Fence) -> Act {
    if lineage.conflict.is_some() {
        return Act::GoOnUnprotected;
    }
    if want == Want::Nothing || lineage.owner == me {
        return Act::GoOn;
    }
    let told = claim == Claim::Vault || bug::is(Bug::StopsOnRumour);
    match want {
        Want::Fence | Want::Adopt | Want::Receive if told => Act::Fence(fence),
        _ => Act::GoOnUnprotected,
    }
}

/// What the other host says of a machine that is to be brought up without the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// It runs there.
    Runs,
    /// It does not.
    DoesNot,
    /// Nobody answers.
    Silent,
}

/// Issues the epoch by which a machine is brought up here without the vault (break-glass):
/// above all that the lineage knows, and `heard`, which was met without being made its own: a
/// seal that arrived, what the other host answers. Where the other host answers, it is told of
/// the epoch, and must have kept it durably, before the machine is brought up here: else it
/// could still accept a seal that is on its way, or start again what it had stopped and not
/// sealed.
///
/// # Errors
/// Where the other host runs it, or is silent, where it was sealed here for that host, or where
/// two own it, and nobody forces it.
pub fn break_glass(
    lineage: &Lineage,
    heard: &[Epoch],
    probe: Probe,
    force: bool,
    token: u128,
) -> Result<Epoch, Reason> {
    if !force && !bug::is(Bug::ProbesNobody) {
        match probe {
            Probe::DoesNot => {}
            Probe::Runs => {
                let advice = "stop it there first; or force it, and declare the winner later";
                return Err(Reason::new("runs-there", "the machine runs on the other host", advice));
            }
            Probe::Silent => {
                let what = "the other host does not say whether it runs the machine";
                let advice = "reach it; or force it if you know that it does not run there";
                return Err(Reason::new("may-run-there", what, advice));
            }
        }
        if let Some(conflict) = lineage.conflict {
            return Err(reason_of(&Denied::Conflict { number: conflict.number }));
        }
        if let Some(seal) = lineage.seal {
            return Err(reason_of(&Denied::Sealed { next: seal.next.number }));
        }
    }
    let sealed = lineage.seal.map(|seal| seal.next);
    let known: Vec<Epoch> = [Some(lineage.epoch), lineage.conflict, sealed]
        .into_iter()
        .flatten()
        .chain(lineage.refused.iter().chain(heard).copied())
        .collect();
    Ok(ownership::issue_for_winner(&known, token))
}

fn reason_of(denied: &Denied) -> Reason {
    let (code, advice) = match denied {
        Denied::Sealed { .. } => ("sealed", "complete the hand-over, or abort it on the other side"),
        Denied::Conflict { .. } => ("contested", "declare which of the owners is the winner"),
        Denied::NotOwner { .. } | Denied::Superseded { .. } => {
            ("not-owner", "the other side has it now; fail back, or fail over to this side")
        }
        Denied::Moved { .. } | Denied::WrongSeal { .. } => {
            ("owner-changed", "wait until this host has heard who owns it")
        }
        Denied::NoWitness | Denied::StaleWitness => {
            ("no-witness", "it starts when the other site answers; override it here if you know better")
        }
    };
    Reason::new(code, denied.to_string(), advice)
}
