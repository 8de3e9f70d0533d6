//! The addresses that a guest should have on this side: reserved ahead of any failover in the
//! libvirt network that its card is in here, where that gives addresses. Where it does not, it is
//! said what is to be done by hand; nothing else waits for that. This module must never touch a
//! reservation that was not made here, nor start anything.

use std::{net::IpAddr, sync::Arc, time::Duration};

use farshore_capture::Definition;
use farshore_control::{CardAddress, Protection, report::Problem, standing::AddressStanding};
use farshore_hypervisor::{Kind, Nic, NicSource, definition};
use farshore_types::{HostId, MachineId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    super::{Managed, ledger::Ledger, locked},
    look::Seen,
};
use crate::{Agent, AgentError, control::PointChoice};

/// How often it is looked again whether everything is reserved: networks are made and changed by
/// others.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A reservation that was made here: what must be known to end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressKept {
    /// Of which card.
    pub card: String,
    /// In which network.
    pub network: String,
}

/// How it was at the last look. In memory only.
pub(in super::super) struct Addressed {
    at: Instant,
    wanted: Vec<(String, IpAddr)>,
    pub(super) told: Vec<AddressStanding>,
}

/// What this host's side is to give to which card.
fn wanted_of(protection: &Protection, me: HostId) -> Vec<(String, IpAddr)> {
    let home = protection.life.as_ref().is_some_and(|life| life.home == me);
    let side = |address: &CardAddress| if home { address.home } else { address.away };
    protection.addresses.iter().filter_map(|one| Some((one.card.clone(), side(one)?))).collect()
}

/// Reserves what is wanted, and ends what is not any more.
pub(super) async fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) {
    let machine = seen.protection.machine;
    let wanted = wanted_of(&seen.protection, managed.host());
    if wanted.is_empty() && seen.station.addresses.is_empty() {
        locked(&managed.acting).addressed.remove(&machine);
        return;
    }
    let lately = locked(&managed.acting)
        .addressed
        .get(&machine)
        .is_some_and(|last| last.wanted == wanted && last.at.elapsed() < LOOK_AGAIN);
    if lately {
        return;
    }
    let mut told = Vec::new();
    for (card, address) in &wanted {
        told.push(match reserve(agent, managed, seen, card, *address).await {
            Ok(network) => standing(card, *address, Some(network), None),
            Err(problem) => standing(card, *address, None, Some(problem)),
        });
    }
    if let Err(error) = end_others(agent, managed, seen, &told).await {
        tracing::warn!(%machine, error = error.fault().what, "a reservation is ended later");
    }
    let addressed = Addressed { at: Instant::now(), wanted, told };
    let mut acting = locked(&managed.acting);
    let before = acting.addressed.get(&machine).map(|last| last.told.clone());
    let changed = before.as_ref() != Some(&addressed.told);
    acting.addressed.insert(machine, addressed);
    drop(acting);
    if changed {
        managed.news.soon.notify_one();
    }
}

fn standing(
    card: &str,
    address: IpAddr,
    reserved_in: Option<String>,
    by_hand: Option<Problem>,
) -> AddressStanding {
    AddressStanding { card: card.to_owned(), address, reserved_in, by_hand }
}

fn by_hand(what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem { code: "address".to_owned(), what: what.into(), advice: advice.into() }
}

/// Reserves an address; in which network, or what is to be done by hand.
async fn reserve(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    card: &str,
    address: IpAddr,
) -> Result<String, Problem> {
    let problem = |error: AgentError| {
        let fault = error.fault();
        by_hand(fault.what, fault.advice)
    };
    let network = network_of(agent, managed, seen, card).await.map_err(problem)??;
    let machine = seen.protection.machine;
    let hypervisor = agent.hypervisor().await.map_err(problem)?;
    let kept = AddressKept { card: card.to_owned(), network: network.clone() };
    let made = seen.station.addresses.contains(&kept);
    if !made {
        match hypervisor.reserved_address(&network, card).await {
            Ok(None) => {}
            // It is as it should be, and whoever made it ends it.
            Ok(Some(known)) if known == address => return Ok(network),
            Ok(Some(known)) => {
                let what =
                    format!("network '{network}' keeps {known} for card {card}, which was not made here");
                return Err(by_hand(what, "end that with `virsh net-update`, or choose that address"));
            }
            Err(error) => return Err(by_hand(error.detail, error.advice)),
        }
        // Known before it is made: what a crash leaves behind is ended later all the same.
        note(managed, machine, kept.clone(), true).await.map_err(problem)?;
    }
    match hypervisor.reserve_address(&network, card, address).await {
        Ok(()) => Ok(network),
        Err(error) => {
            let was_refused = matches!(
                error.kind,
                Kind::Unsupported | Kind::Invalid | Kind::AlreadyExists | Kind::NoSuchNetwork
            );
            if was_refused && !made {
                note(managed, machine, kept, false).await.map_err(problem)?;
            }
            Err(by_hand(error.detail, error.advice))
        }
    }
}

/// Notes that a reservation is ours to change and to end, or that it is not.
async fn note(
    managed: &Arc<Managed>,
    machine: MachineId,
    kept: AddressKept,
    ours: bool,
) -> Result<(), AgentError> {
    let note = move |ledger: &mut Ledger| {
        let addresses = &mut ledger.station_mut(machine).addresses;
        addresses.retain(|known| *known != kept);
        addresses.extend(ours.then_some(kept));
        ((), true)
    };
    managed.change(note).await
}

/// The network that a card is in here, or is going to be in when the machine comes.
async fn network_of(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    card: &str,
) -> Result<Result<String, Problem>, AgentError> {
    let machine = seen.protection.machine;
    if let Some(there) = &seen.there {
        return Ok(of_cards(&there.nics, card));
    }
    let read = |text: &str| definition::machine(text).map(|text| text.nics).unwrap_or_default();
    if let Some(text) = managed.home_definition(agent, machine) {
        return Ok(of_cards(&read(&text), card));
    }
    let Some(replica) = agent.replicas().get(machine).await? else {
        return Ok(Err(by_hand("the machine's cards are not known here yet", "it is looked at again")));
    };
    let Ok(reader) = agent.reader(&replica, PointChoice::Latest).await else {
        let advice = "it is looked at again when there is a recovery point";
        return Ok(Err(by_hand("the machine's cards are not known here yet", advice)));
    };
    let packed = replica.run(move |_| reader.definition()).await?;
    let cards = Definition::decode(&packed).map(|sent| read(&sent.xml)).unwrap_or_default();
    let there = match of_cards(&cards, card) {
        Ok(there) => there,
        Err(problem) => return Ok(Err(problem)),
    };
    let mapped = managed.networks(machine).and_then(|networks| networks.get(&there).cloned());
    Ok(mapped.ok_or_else(|| {
        let what = format!("the other side's network '{there}' is none here");
        by_hand(what, "map it: `farshore network map`")
    }))
}

fn of_cards(cards: &[Nic], card: &str) -> Result<String, Problem> {
    let give = "give the guest its address by hand, or by the DHCP server of that network";
    match cards.iter().find(|nic| nic.mac.as_deref() == Some(card)).map(|nic| &nic.source) {
        Some(NicSource::Network(network)) => Ok(network.clone()),
        Some(NicSource::Bridge(bridge)) => {
            Err(by_hand(format!("card {card} is on bridge '{bridge}', not in a network of libvirt"), give))
        }
        Some(_) => Err(by_hand(format!("card {card} is in no network of libvirt"), give)),
        None => {
            let what = format!("the machine has no card {card}");
            Err(by_hand(what, "look at its definition, and name one that it has"))
        }
    }
}

/// Ends reservations that were made here and are not wanted any more.
async fn end_others(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    told: &[AddressStanding],
) -> Result<(), AgentError> {
    let wanted = |kept: &AddressKept| {
        told.iter().any(|one| {
            let same = one.reserved_in.as_ref().is_none_or(|network| *network == kept.network);
            one.card == kept.card && same
        })
    };
    let over = seen.station.addresses.iter().filter(|kept| !wanted(kept)).cloned().collect::<Vec<_>>();
    end(agent, managed, seen.protection.machine, over).await
}

/// Ends reservations that were made here.
pub(super) async fn end(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
    over: Vec<AddressKept>,
) -> Result<(), AgentError> {
    for kept in over {
        match agent.hypervisor().await?.release_address(&kept.network, &kept.card).await {
            // A hypervisor without networks keeps none either.
            Err(error) if error.kind != Kind::Unsupported => return Err(error.into()),
            _ => {}
        }
        note(managed, machine, kept, false).await?;
    }
    Ok(())
}
