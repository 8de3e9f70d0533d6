//! Whether a machine whose replica is kept here could be started here, found out before anybody
//! fails over: by its newest point's definition as it would be here, the room on this host, and who
//! has its name already. Looked at now and then, and told; this module must never start, define or
//! change anything.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_control::{Version, report::Problem, standing::CouldStart};
use farshore_hypervisor::{
    Kind,
    definition::{self, MachineText},
};
use farshore_types::{Digest, MachineId, PointId};

use super::{
    super::{Managed, inventory::meminfo, locked},
    look::Seen,
    turn::{OwnDisks, own_disks_of, strange},
};
use crate::{Agent, AgentError, OpenReplica, commands, control::PointChoice};

/// How often it is looked at though nothing has changed that is known of: networks and machines
/// come and go, memory is taken.
const LOOK_AGAIN: Duration = Duration::from_secs(300);
/// How often it is looked whether the newest point has another definition.
const LOOK_FOR_CHANGE: Duration = Duration::from_secs(30);
/// Where the system tells of huge pages by their size.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// The last look. In memory only.
pub(in super::super) struct Looked {
    at: Instant,
    /// When the newest point was looked at last.
    checked: Instant,
    document: Option<Version>,
    definition: Digest,
    needs: Option<Needs>,
    pub(super) told: CouldStart,
}

/// Memory that a machine would take: of which size of huge pages, and how many bytes.
type Needs = (Option<u64>, u64);

/// Looks, where that is due.
pub(super) async fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) {
    let machine = seen.protection.machine;
    if seen.wanted.other != managed.host() || seen.here.runs {
        locked(&managed.acting).looked.remove(&machine);
        return;
    }
    match look(agent, managed, seen).await {
        Ok(None) => {}
        Ok(Some(looked)) => {
            let mut acting = locked(&managed.acting);
            let before = acting.looked.get(&machine).map(|before| before.told.against.clone());
            let changed = before.as_ref() != Some(&looked.told.against);
            if changed {
                for Problem { what, advice, .. } in &looked.told.against {
                    tracing::warn!(%machine, what, advice, "it could not be started here");
                }
            }
            acting.looked.insert(machine, looked);
            drop(acting);
            if changed {
                managed.news.soon.notify_one();
            }
        }
        // That nothing could be seen is no word against it.
        Err(error) => {
            tracing::debug!(%machine, error = error.fault().what, "whether it could start here is looked at later");
        }
    }
}

/// Says whether all that could start here one by one could do so together.
pub(super) fn settle_together(managed: &Managed, alive: &[MachineId]) {
    let mut acting = locked(&managed.acting);
    acting.looked.retain(|machine, _| alive.contains(machine));
    let all: Vec<Needs> = acting.looked.values().filter_map(|looked| looked.needs).collect();
    drop(acting);
    managed.set_problem("memory", together(&all, |huge| free(huge).map(|(free, ..)| free)));
}

/// None: it was looked at lately, and nothing has changed since, or there is nothing to look at.
async fn look(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) -> Result<Option<Looked>, AgentError> {
    let machine = seen.protection.machine;
    let document = managed.ledger().version_of(machine);
    let due = locked(&managed.acting).looked.get(&machine).is_none_or(|last| {
        last.document != document
            || last.at.elapsed() >= LOOK_AGAIN
            || last.checked.elapsed() >= LOOK_FOR_CHANGE
    });
    let Some(replica) = agent.replicas().get(machine).await?.filter(|_| due) else { return Ok(None) };
    let Ok(point) = replica.run(|store| store.newest()).await else { return Ok(None) };
    let definition = digest_of(agent, &replica, point.id).await;
    let now = Instant::now();
    if let Some(last) = locked(&managed.acting).looked.get_mut(&machine) {
        let same = last.document == document && definition.as_ref().ok() == Some(&last.definition);
        if same && last.at.elapsed() < LOOK_AGAIN {
            (last.checked, last.told.at) = (now, point.id);
            return Ok(None);
        }
    }
    let (mut against, mut needs) = (Vec::new(), None);
    match commands::as_it_would_be(agent, &replica, &point).await {
        Ok(xml) => {
            needs = definition::machine(&xml).ok().map(|text| (text.huge_pages, text.memory));
            check(agent, &replica, seen, &xml, &mut against).await?;
        }
        Err(error) => {
            let fault = error.fault();
            against.push(problem("point", fault.what, fault.advice));
        }
    }
    let told = CouldStart { at: point.id, against };
    let definition = definition.unwrap_or(Digest::ZERO);
    Ok(Some(Looked { at: now, checked: now, document, definition, needs, told }))
}

async fn digest_of(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: PointId,
) -> Result<Digest, AgentError> {
    let reader = agent.reader(replica, PointChoice::At(point)).await?;
    Ok(Digest::of(&replica.run(move |_| reader.definition()).await?))
}

async fn check(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    seen: &Seen,
    xml: &str,
    against: &mut Vec<Problem>,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let found = hypervisor.check_startable(xml).await?;
    against.extend(found.into_iter().map(|found| problem("definition", found.what, found.advice)));
    // Whoever checks it has read it already.
    let Ok(text) = definition::machine(xml) else { return Ok(()) };
    if own_disks_of(agent, seen) == OwnDisks::Strange {
        let fault = strange(seen).fault();
        against.push(problem("identity-taken", fault.what, fault.advice));
    }
    match hypervisor.find(&text.name).await {
        Ok(other) if other.id != seen.protection.machine => {
            let what = format!("another machine of this host is named '{}'", text.name);
            against.push(problem("name-taken", what, "rename one of the two"));
        }
        Ok(_) => {}
        Err(error) if error.kind == Kind::NoSuchMachine => {}
        Err(error) => return Err(error.into()),
    }
    against.extend(memory(&text, free(text.huge_pages)));
    if !replica.run(|store| store.has_room_for(0)).await? {
        let what =
            "the storage of the replica is nearly full: the machine could soon write nothing".to_owned();
        against.push(problem("no-space", what, "make room there"));
    }
    Ok(())
}

/// Bytes of memory that a machine could have here, of which kind they are, and where more could come
/// from; none: the system does not say.
fn free(huge: Option<u64>) -> Option<(u64, &'static str, &'static str)> {
    match huge {
        Some(_) => {
            let of = "free huge pages of the size that it wants";
            Some((huge_pages_free(huge)?, of, "set huge pages aside on this host"))
        }
        None => {
            let advice = "stop what can be stopped here, or choose another host";
            Some((meminfo("MemAvailable:")?.saturating_mul(1024), "memory available", advice))
        }
    }
}

/// What the host's memory lacks.
fn memory(text: &MachineText, free: Option<(u64, &'static str, &'static str)>) -> Option<Problem> {
    let (free, of, advice) = free?;
    (free < text.memory).then(|| {
        let what =
            format!("it needs {} MiB, and this host has {} MiB of {of}", text.memory >> 20, free >> 20);
        problem("no-memory", what, advice)
    })
}

/// What it lacks for all of the machines that may come here in one failover, each of which could.
fn together(all: &[Needs], free: impl Fn(Option<u64>) -> Option<u64>) -> Option<(String, String)> {
    let kinds: BTreeSet<Option<u64>> = all.iter().map(|(huge, _)| *huge).collect();
    kinds.into_iter().find_map(|huge| {
        let of: Vec<u64> = all.iter().filter(|needs| needs.0 == huge).map(|needs| needs.1).collect();
        let (needed, free) = (of.iter().sum::<u64>(), free(huge)?);
        let kind = if huge.is_some() { "huge pages of one size" } else { "memory" };
        (of.len() > 1 && needed > free).then(|| {
            let what = format!(
                "the {} machines whose replicas are here need {} MiB of {kind} to run at once, and {} MiB are \
                 free: after a disaster not all of them could start",
                of.len(),
                needed >> 20,
                free >> 20
            );
            (what, "give this host more, spread the replicas, or let a plan start what matters first".to_owned())
        })
    })
}

/// Bytes of free huge pages of a size; 0: of the usual size. None: none are wanted, or the system
/// does not say.
fn huge_pages_free(size: Option<u64>) -> Option<u64> {
    let size = match size? {
        0 => meminfo("Hugepagesize:")?.saturating_mul(1024),
        size => size,
    };
    let path = Path::new(HUGE_PAGES).join(format!("hugepages-{}kB/free_hugepages", size >> 10));
    let pages: u64 = std::fs::read_to_string(path).map_or(Some(0), |text| text.trim().parse().ok())?;
    Some(pages.saturating_mul(size))
}

fn problem(code: &str, what: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem { code: code.to_owned(), what: what.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_lacking_is_said_of_the_kind_that_is_wanted() {
        let text = |inner: &str| {
            let xml =
                format!("<domain type='kvm'><name>a</name><memory unit='GiB'>2</memory>{inner}</domain>");
            definition::machine(&xml).unwrap()
        };
        let plain = text("");
        let has = |mib: u64, of| Some((mib << 20, of, "get more"));
        assert_eq!(memory(&plain, has(2048, "memory")), None);
        let lacking = memory(&plain, has(1024, "memory")).unwrap();
        assert!(lacking.what.contains("2048 MiB") && lacking.what.contains("1024 MiB"), "{}", lacking.what);
        assert_eq!(memory(&plain, None), None, "what is not known is no word against it");
        assert!(memory(&plain, has(1024, "huge pages")).unwrap().what.contains("huge pages"));
    }

    #[test]
    fn machines_each_of_which_could_start_are_told_where_they_could_not_together() {
        const GIB: u64 = 1 << 30;
        let free = |huge: Option<u64>| huge.map_or(Some(64 * GIB), |_| Some(8 * GIB));
        let ten = [(None, 32 * GIB); 10];
        let (what, advice) = together(&ten, free).unwrap();
        assert!(what.contains("10 machines") && what.contains("327680 MiB") && !advice.is_empty(), "{what}");
        assert_eq!(together(&ten[..2], free), None, "they can");
        assert_eq!(together(&ten[..1], |_| Some(GIB)), None, "that is said of the machine itself");
        let huge = [(None, 32 * GIB), (Some(0), 5 * GIB), (Some(0), 5 * GIB)];
        assert!(together(&huge, free).unwrap().0.contains("huge pages"));
        assert_eq!(together(&ten, |_| None), None, "what is not known is no word against it");
    }
}
