//! The disks of a machine that is another host's now become its replica here, without a copy:
//! disks of its own are adopted, overlays are folded into the replica they stand on. What only
//! this host has is kept as a pinned point. This module must never stop a machine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_capture::{Definition, Left, digests, newest_known, read_nvram};
use farshore_control::{Protection, standing::Adopted};
use farshore_env::OpenMode;
use farshore_hypervisor::{Disk, GuestState, Kind, Machine, Tracking, definition};
use farshore_protection::Want;
use farshore_replica::{Aside, Known, Own, Phase, Pin, Replica, ReplicaError};
use farshore_types::{DiskKey, MachineId, PointId, PointRef};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Managed, ledger::Ledger},
    look::{self, Seen, left},
    station::Turning,
};
use crate::{Agent, AgentError, OpenReplica, commands, control::Observer, replicas::blocking, source};

/// Disks and their files.
type Images = Vec<(DiskKey, PathBuf)>;

/// Who holds the points that a failover can be taken back to.
const BACK: &str = "the failover can be taken back";
/// Names of the definitions that the machine had here, beside the records of its replication:
/// when it left last, and when it left its home.
const DEFINITION: &str = "definition.xml";
const HOME: &str = "home.xml";

/// Whether the machine runs on the replica here.
pub(super) fn is_ours(agent: &Agent, there: &Machine) -> bool {
    let dir = agent.replicas().dir_of(there.id);
    there.disks.iter().any(|disk| disk.path.as_deref().is_some_and(|path| path.starts_with(&dir)))
}

/// Once a failover is committed, or was taken back, its point grows old as all others.
pub(super) async fn let_go(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    let over = seen.protection.life.as_ref().is_some_and(farshore_protection::Life::points_age);
    let Some(point) = seen.station.back.filter(|_| over) else { return Ok(()) };
    if let Some(replica) = agent.replicas().get(machine).await? {
        let pin = Pin { point, holder: BACK.to_owned() };
        replica.run(move |store| store.unpin(&pin)).await?;
    }
    managed
        .change(move |ledger| {
            ledger.station_mut(machine).back = None;
            ((), true)
        })
        .await
}

/// What this host has of a machine with disks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnDisks {
    /// Nothing.
    None,
    /// The machine as it was left when it went to the other host.
    AsLeft,
    /// The same, and the replica beside it has gone on since.
    Behind,
    /// A machine of that identity that was never this protection's.
    Strange,
}

/// What disks of its own this host has of the machine. The replica has gone on since where it was
/// turned to by a later epoch than that by which the machine was replicated from here last,
/// whichever is held meanwhile.
pub(super) fn own_disks_of(agent: &Agent, seen: &Seen) -> OwnDisks {
    match &seen.there {
        Some(there) if !is_ours(agent, there) => match source::Owner::held(agent, there.id) {
            None => OwnDisks::Strange,
            Some(held) if seen.station.turned.is_some_and(|turned| turned.epoch.number > held.number) => {
                OwnDisks::Behind
            }
            Some(_) => OwnDisks::AsLeft,
        },
        _ => OwnDisks::None,
    }
}

/// What is answered where a strange machine is in the way.
pub(super) fn strange(seen: &Seen) -> AgentError {
    let name = seen.there.as_ref().map(|there| there.name.clone()).unwrap_or_default();
    AgentError::Foreign { machine: name }
}

/// The machine with disks of its own goes out of the way of the one on the replica: its
/// definition is kept, its disks stay where they are.
pub(super) async fn make_way(agent: &Arc<Agent>, there: &Machine) -> Result<(), AgentError> {
    keep_definition(agent, there, true)?;
    withdraw(agent, there.id).await
}

/// The definition that a machine had when it left its home, which this host is.
pub(crate) fn home_definition(agent: &Agent, machine: MachineId) -> Option<String> {
    std::fs::read_to_string(source::dir_of(agent, machine).join(HOME)).ok()
}

/// Whether a turn was begun, by whichever epoch, whose disks no look finds any more: what they have is
/// kept before anything else is made of them. Where the machine is there, nothing has become of them.
pub(super) fn is_halfway(seen: &Seen) -> bool {
    seen.station.turning.is_some() && seen.there.is_none()
}

/// Makes them the replica. Cut anywhere, it goes on where it was.
pub(super) async fn turn(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    if agent.sources().of(machine).is_some() {
        return Err(AgentError::Request {
            what: "the machine's replication from here has not ended yet".to_owned(),
            advice: "it is looked at again".to_owned(),
        });
    }
    let epoch = seen.lineage.epoch;
    let begun = seen.station.turning.clone();
    let turning = match begun.filter(|turning| turning.epoch == epoch || is_halfway(seen)) {
        Some(turning) => Some(turning),
        None => begin(agent, managed, seen).await?,
    };
    let sealed = match &turning {
        Some(turning) => work(agent, seen, turning).await?,
        None => None,
    };
    let had_disks = sealed.is_some() || held(agent, machine).await?;
    let back = turning.and_then(|turning| turning.left).and(sealed).map(|sealed| sealed.id);
    let done = move |ledger: &mut Ledger| {
        let station = ledger.station_mut(machine);
        (station.turned, station.turning) = (Some(Adopted { epoch, had_disks }), None);
        station.back = back.or(station.back);
        ((), true)
    };
    managed.change(done).await
}

/// Whether the replica here has anything.
async fn held(agent: &Arc<Agent>, machine: MachineId) -> Result<bool, AgentError> {
    match agent.replicas().get(machine).await? {
        Some(replica) => Ok(replica.run(|store| store.last()).await.is_some()),
        None => Ok(false),
    }
}

/// Notes what is to be turned, and withdraws the definition. None: there is nothing.
async fn begin(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
) -> Result<Option<Turning>, AgentError> {
    let machine = seen.protection.machine;
    let Some(there) = &seen.there else {
        return match agent.replicas().get(machine).await? {
            // A machine that was brought up, and that somebody has withdrawn since, or that was put
            // aside for another point at which it never came up.
            Some(replica) if replica.run(|store| has_run(store)).await? => {
                note(agent, managed, seen, (Vec::new(), Vec::new()), None).await.map(Some)
            }
            _ => Ok(None),
        };
    };
    let ours = is_ours(agent, there);
    // A machine of that identity which was never protected from here is nobody's to take.
    if own_disks_of(agent, seen) == OwnDisks::Strange {
        return Ok(None);
    }
    let had = own_disks(&seen.protection, there)?;
    let (disks, ran_on) = if ours { (Vec::new(), had) } else { (had, Vec::new()) };
    if !ours && (disks.is_empty() || !adoptable(agent, machine, &disks).await?) {
        return Ok(None);
    }
    // Whoever has it started here has accepted what is lost by that; nobody has where it only
    // becomes the replica.
    if there.saved && seen.lineage.owner != managed.host() {
        return Err(look::saved(""));
    }
    let found = left(agent, there).await?.filter(|left| ours || covers(left, &disks));
    let home = seen.protection.life.as_ref().is_some_and(|life| life.home == managed.host());
    keep_definition(agent, there, home || !ours)?;
    let turning = note(agent, managed, seen, (disks, ran_on), found).await?;
    withdraw(agent, machine).await?;
    Ok(Some(turning))
}

/// The machine is not this host's to start any more.
async fn withdraw(agent: &Agent, machine: MachineId) -> Result<(), AgentError> {
    match agent.hypervisor().await?.undefine(machine, GuestState::Keep).await {
        Err(error) if error.kind == Kind::NoSuchMachine => Ok(()),
        done => Ok(done?),
    }
}

/// The disks that are replicated, and their files. None is left out because it cannot be looked
/// at just now: the point would lack it.
fn own_disks(protection: &Protection, there: &Machine) -> Result<Images, AgentError> {
    let unseen = |disk: &&Disk| matches!(disk.tracking, Tracking::Unknown { .. });
    if let Some(disk) = there.disks.iter().find(unseen) {
        return Err(AgentError::Request {
            what: format!("disk {} of machine '{}' cannot be looked at now", disk.key, there.name),
            advice: "see to its image; it is looked at again".to_owned(),
        });
    }
    let replicated = there
        .disks
        .iter()
        .filter(|disk| disk.tracking.replicates() && !protection.excluded.contains(&disk.key));
    Ok(replicated.filter_map(|disk| Some((disk.key.clone(), disk.path.clone()?))).collect())
}

fn covers(left: &Left, disks: &[(DiskKey, PathBuf)]) -> bool {
    left.disks.len() == disks.len() && disks.iter().all(|(key, _)| left.disks.iter().any(|(k, _)| k == key))
}

/// Whether disks of a machine's own can become the base of its replica. Where they cannot, they
/// stay as they are, and everything is copied.
async fn adoptable(
    agent: &Arc<Agent>,
    machine: MachineId,
    disks: &[(DiskKey, PathBuf)],
) -> Result<bool, AgentError> {
    let replica = agent.replicas().get_or_create(machine).await?;
    let keys: Vec<DiskKey> = disks.iter().map(|(key, _)| key.clone()).collect();
    let free = replica
        .run(move |store| keys.iter().try_for_each(|key| store.check_adoptable(key)))
        .await
        .map_err(AgentError::from);
    match free.and_then(|()| commands::check_copies(agent, machine, disks)) {
        Ok(()) => Ok(true),
        // Whoever has them open now may have let them go by the next look.
        Err(error @ AgentError::InUse { .. }) => Err(error),
        Err(error) => {
            let fault = error.fault();
            tracing::warn!(%machine, why = fault.what, advice = fault.advice, "its old disks cannot be the replica's base");
            Ok(false)
        }
    }
}

/// What is to be done is known after a crash, when the machine is not there any more.
async fn note(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    (disks, ran_on): (Images, Images),
    left: Option<Left>,
) -> Result<Turning, AgentError> {
    let machine = seen.protection.machine;
    let (files, state) = (agent.files.clone(), source::dir_of(agent, machine));
    let known = blocking(move || newest_known(&files, &state)).await?;
    let (held, shelved) = match agent.replicas().get(machine).await? {
        Some(replica) => {
            replica.run(|store| Ok::<_, AgentError>((store.last(), store.shelved()?.len()))).await?
        }
        None => (None, 0),
    };
    let newest = |point: Option<PointRef>| point.map_or((0, 0), |point| (point.id.epoch, point.id.number));
    let before = source::Owner::held(agent, machine).map_or(0, |epoch| epoch.number);
    let (point, captured_ms) = known.map_or((None, None), |(point, captured_ms)| (Some(point), captured_ms));
    let (known, held) = (newest(point), newest(held));
    // What was put aside becomes points first, which are numbered below.
    let shelved = shelved as u64;
    let own = (before.max(known.0).max(held.0).max(1), known.1.max(held.1) + 1 + shelved);
    let (epoch, end) = if left.is_some() { (held.0, held.1 + 1 + shelved) } else { own };
    let shelf = (epoch, end - shelved, end);
    let captured_ms = captured_ms.filter(|_| known >= held);
    let (left, sizes) = left.map_or((None, Vec::new()), |left| (Some(left.point), left.disks));
    let epoch = seen.lineage.epoch;
    let turning = Turning { epoch, disks, ran_on, left, sizes, own, shelf, captured_ms };
    let kept = turning.clone();
    managed
        .change(move |ledger| {
            ledger.station_mut(machine).turning = Some(kept);
            ((), true)
        })
        .await?;
    Ok(turning)
}

/// None: a person has discarded it meanwhile.
async fn work(agent: &Arc<Agent>, seen: &Seen, turning: &Turning) -> Result<Option<PointRef>, AgentError> {
    let machine = seen.protection.machine;
    let replica = agent.replicas().get_or_create(machine).await?;
    let _alone = replica.alone().await;
    // A crash between the note and this has left it defined.
    if let Some(there) = &seen.there {
        if !there.power.is_off() {
            return Err(AgentError::Request {
                what: format!("machine '{}' runs here", there.name),
                advice: "it is stopped first, as this host is set".to_owned(),
            });
        }
        withdraw(agent, machine).await?;
    }
    let kept = kept_definition(agent, machine)?;
    let definition = match &kept {
        Some(xml) => packed(machine, xml, None),
        None => replica.run(definition_of_newest).await?,
    };
    let (epoch, number) = turning.own;
    let own = Own {
        id: turning.left.map_or(PointId { epoch, number }, |left| left.id),
        root: turning.left.map(|left| left.root),
        captured_ms: turning.captured_ms,
        definition,
        plain: replica.is_plain(),
        disks: turning.ran_on.clone(),
    };
    let sealed = match turning.disks.is_empty() {
        true => {
            let known = known_of(agent, machine, turning)?;
            let (epoch, first, end) = turning.shelf;
            let aside = Aside { epoch, first, end };
            let fold = move |store: &mut Replica| {
                let with = |nvram: &Path| match &kept {
                    Some(xml) => packed(machine, xml, Some(nvram)),
                    None => own.definition.clone(),
                };
                fold_all(store, aside, &with, &own, known)
            };
            match replica.run(fold).await? {
                Some(sealed) => sealed,
                None => return Ok(None),
            }
        }
        false => {
            adopt(agent, &replica, turning).await?;
            replica.run(move |store| store.seal_own(&own)).await?
        }
    };
    let holder = if turning.left.is_none() { commands::OWN_WRITES } else { BACK };
    let pin = Pin { point: sealed.id, holder: holder.to_owned() };
    replica.run(move |store| store.pin(pin)).await?;
    replica.mark_sealed();
    commands::remove_nvram(agent, machine)?;
    tracing::info!(%machine, point = %sealed.id, "what was here is the replica from now on");
    Ok(Some(sealed))
}

/// Whether the machine ran on overlays that are there still.
fn has_run(store: &Replica) -> Result<bool, AgentError> {
    Ok(store.phase() != Phase::Receiving || !store.shelved()?.is_empty())
}

/// What the machine wrote on overlays becomes points: each time's that were put aside, which nobody
/// prunes, and as the newest one that of the last. None: there is nothing.
fn fold_all(
    store: &mut Replica,
    aside: Aside,
    definition: &dyn Fn(&Path) -> Vec<u8>,
    own: &Own,
    known: BTreeMap<DiskKey, Known>,
) -> Result<Option<PointRef>, ReplicaError> {
    let aside = store.fold_shelf(aside, own, definition, commands::OWN_WRITES)?;
    let kept = store.last().is_some_and(|last| last.id == own.id);
    if store.phase() == Phase::Receiving && !kept {
        return Ok(aside.last().copied());
    }
    let sealed = store.fold(own, known)?;
    store.clear_shelf().map(|()| Some(sealed))
}

/// The digests of the overlays' disks, where those are a point that the other host has: of one
/// that was made to stand alone all would have to be read else.
fn known_of(
    agent: &Agent,
    machine: MachineId,
    turning: &Turning,
) -> Result<BTreeMap<DiskKey, Known>, AgentError> {
    let state = source::dir_of(agent, machine);
    let mut known: BTreeMap<DiskKey, Known> = BTreeMap::new();
    for (disk, size) in &turning.sizes {
        known.insert(disk.clone(), Box::new(digests(&agent.files, &state, disk, *size)?));
    }
    Ok(known)
}

/// Each disk's file becomes the base of its image: by the digests that are known where it is a
/// point that the other host has, else by reading it once.
async fn adopt(agent: &Arc<Agent>, replica: &Arc<OpenReplica>, turning: &Turning) -> Result<(), AgentError> {
    let machine = replica.machine();
    let (observer, _events) = Observer::new(CancellationToken::new());
    for (disk, path) in &turning.disks {
        let wanted = disk.clone();
        if replica.run(move |store| store.is_adopted(&wanted)).await {
            continue;
        }
        if turning.left.is_none() {
            commands::take_over_copy(agent, replica, disk, path, &observer).await?;
            continue;
        }
        let (files, state) = (agent.files.clone(), source::dir_of(agent, machine));
        let (disk, given) = (disk.clone(), path.clone());
        let adopt = move |store: &mut Replica| {
            let inside = store.adopted_path(&disk);
            let from = if given.exists() { given } else { inside };
            let size = farshore_replica::AdoptedDisk::open(&*files, &from)?.size();
            let known = digests(&files, &state, &disk, size)?;
            Ok::<_, AgentError>(store.adopt(&disk, &from, known)?)
        };
        replica.run(adopt).await?;
    }
    Ok(())
}

/// The definition stays here: for the point that is made, and, of a machine that leaves its home,
/// for the day on which it comes back. Each time anew: it may have been changed there since.
pub(super) fn keep_definition(agent: &Arc<Agent>, there: &Machine, home: bool) -> Result<(), AgentError> {
    let dir = source::dir_of(agent, there.id);
    let names = if home { &[DEFINITION, HOME][..] } else { &[DEFINITION] };
    for name in names {
        let path = dir.join(name);
        let new = path.with_extension("tmp");
        let write = || {
            agent.files.create_dir_all(&dir)?;
            let file = agent.files.open(&new, OpenMode::Truncate)?;
            file.write_at(there.definition.as_bytes(), 0)?;
            file.sync()?;
            agent.files.rename(&new, &path)?;
            agent.files.sync_dir(&dir)
        };
        write().map_err(AgentError::io("write", &path))?;
    }
    Ok(())
}

/// The definition that the machine had here last; none: nobody has kept any.
fn kept_definition(agent: &Agent, machine: MachineId) -> Result<Option<String>, AgentError> {
    let path = source::dir_of(agent, machine).join(DEFINITION);
    match std::fs::read_to_string(&path) {
        Ok(xml) => Ok(Some(xml)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AgentError::io("read", &path)(error)),
    }
}

/// A point's definition: this one, with the firmware's variables that it names, or others.
fn packed(machine: MachineId, xml: &str, nvram: Option<&Path>) -> Vec<u8> {
    let own = definition::machine(xml).ok().and_then(|text| text.nvram);
    let nvram = own.and_then(|own| {
        let read = read_nvram(nvram.unwrap_or(&own));
        read.inspect_err(|why| tracing::warn!(%machine, why, "a point lacks something")).ok()
    });
    Definition::new(xml.to_owned(), nvram, Vec::new()).encode()
}

/// That of the newest point: of a machine that was brought up, and that somebody has withdrawn since.
fn definition_of_newest(store: &mut Replica) -> Result<Vec<u8>, ReplicaError> {
    let newest = store.newest()?.id;
    store.reader(newest)?.definition()
}

/// Whether a turn is what this host has to do before it takes anything. The last cycle of a
/// machine that is moved back already needs it, too, and so does whoever takes the machine back
/// while its disks are half the replica.
pub(super) fn is_due(seen: &Seen, me: farshore_types::HostId) -> bool {
    let moves = matches!(seen.wanted.source, Want::HandOver { last_cycle: true, .. }) || is_halfway(seen);
    (seen.mine == Want::Receive || (moves && matches!(seen.mine, Want::Accept { .. })))
        && !seen.here.runs
        && seen.lineage.owner != me
        && seen.lineage.conflict.is_none()
        && !seen.station.has_turned(&seen.lineage)
}
