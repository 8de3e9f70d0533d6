//! What is really so, and what must hold at every step of every story.

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{Body, Key, Term, ownership::Lineage};
use farshore_types::{Epoch, HostId, MachineId, PointId};
use farshore_vault::{Core, Moment};

use super::{
    host::index_of,
    world::{DELAY_MAX, Ms, Node, World},
};

/// What messages may be on their way longer than those before them, by which the way is
/// told: two from the host that is believed, and two by which the clock of the other is known.
const AGE_JITTER: Ms = 4 * DELAY_MAX + 20;

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) restores: u64,
    /// The instant that each point shows.
    pub(crate) points: BTreeMap<(MachineId, PointId), Ms>,
    /// Points that a source was told of, at a host.
    acknowledged: BTreeMap<(MachineId, usize), PointId>,
    /// Machines whose protection somebody has ended, and whose replica somebody had deleted.
    pub(crate) disabled: BTreeSet<MachineId>,
    pub(crate) to_delete: BTreeSet<MachineId>,
    /// By which version a machine was protected anew: an end of before may come late.
    pub(crate) renewed: BTreeMap<MachineId, (u64, u64)>,
    /// Machines that changed sides.
    pub(crate) turned: BTreeSet<MachineId>,
    /// Who owns those by the highest epoch.
    pub(crate) owners: BTreeMap<MachineId, usize>,
    terms: BTreeMap<Node, Term>,
    /// By whom a replica was written last: epoch and session.
    written: BTreeMap<(usize, MachineId), (Epoch, u64)>,
    /// Tokens that the vault has issued, and after how many restores.
    issued: BTreeMap<(MachineId, u64), (u128, u64)>,
    /// How often what this is about has happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Truth {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// No term goes back, and no two vaults of one term are followed (R4).
    pub(crate) fn follows(&mut self, _: Node, node: Node, term: Option<Term>) {
        let Some(term) = term else { return };
        if let Some(before) = self.terms.insert(node, term) {
            assert!(before.number <= term.number, "R4: {node:?} goes back from {before:?} to {term:?}");
            let one = before.number < term.number || before.vault == term.vault;
            assert!(one, "R4: {node:?} follows {before:?} and {term:?}");
        }
    }

    /// Every owner has an epoch of its own (R1).
    pub(crate) fn vault_issued(&mut self, core: &Core) {
        for row in core.epochs() {
            let key = (row.machine, row.epoch.number);
            let known = self.issued.entry(key).or_insert((row.epoch.token, self.restores));
            let same =
                known.0 == row.epoch.token || known.1 != self.restores || self.turned.contains(&row.machine);
            assert!(same, "R1: epoch {} of {} was issued twice", row.epoch.number, row.machine);
        }
    }

    pub(crate) fn written(
        &mut self,
        n: usize,
        machine: MachineId,
        epoch: Epoch,
        session: u64,
        lineage: Option<&Lineage>,
    ) {
        self.count("points");
        let lineage = lineage.expect("who writes is known");
        let owner = lineage.epoch == epoch && lineage.conflict.is_none();
        assert!(owner, "R2, R4: {machine} is written on host {n} by {epoch:?}, held is {lineage:?}");
        if let Some((before, last)) = self.written.insert((n, machine), (epoch, session)) {
            let higher = before.number < epoch.number || (before == epoch && last <= session);
            assert!(
                higher,
                "R4: {machine} is written on host {n} by {epoch:?}/{session} after {before:?}/{last}"
            );
        }
    }

    pub(crate) fn acknowledged(&mut self, machine: MachineId, n: usize, id: PointId) {
        self.acknowledged.insert((machine, n), id);
    }

    pub(crate) fn deleted(&mut self, n: usize, machine: MachineId) {
        self.count("deletions");
        assert!(self.to_delete.contains(&machine), "nobody had the replica of {machine} deleted on host {n}");
        self.acknowledged.remove(&(machine, n));
        self.written.remove(&(n, machine));
    }
}

impl World {
    /// What became of a protection on a host by documents.
    pub(crate) fn truth_of_taken(&mut self, n: usize, machine: MachineId, before: Option<&Body>) {
        let Some(ledger) = self.ledger(n) else { return };
        let document = ledger.holder().get(&Key::Protection(machine));
        let version = document.map(|document| (document.version.term.number, document.version.generation));
        match (before, document.map(|document| &document.body)) {
            (Some(Body::Protection(_)), Some(Body::Removed { .. })) => {
                let late = version < self.truth.renewed.get(&machine).copied();
                assert!(
                    late || self.truth.disabled.contains(&machine),
                    "R5: nobody has ended the protection of {machine}"
                );
            }
            (Some(Body::Protection(old)), Some(Body::Protection(new))) => {
                assert!(new.epoch.number >= old.epoch.number, "R2: {machine} goes back to {:?}", new.epoch);
                let back = new.epoch == old.epoch && new.settings.bandwidth < old.settings.bandwidth;
                assert!(
                    !back,
                    "R6: the settings of {machine} on host {n} go back: {:?} after {:?}",
                    new.settings, old.settings
                );
            }
            _ => {}
        }
    }

    /// What the vault shows is never better than what is so: but for what two messages may
    /// have been on their way longer than those before them.
    pub(crate) fn check_ages(&mut self, at: &Moment, hosts: impl Iterator<Item = HostId>) {
        let hosts: BTreeSet<HostId> = hosts.collect();
        let Some(core) = &self.vault.core else { return };
        let mut told = 0;
        for row in
            core.protections().filter(|row| row.is_live() && row.hosts().iter().any(|h| hosts.contains(h)))
        {
            let judged = core.judge(row, at);
            let Some((id, age)) = judged.newest else { continue };
            let captured_of = |id| self.truth.points.get(&(row.machine, id)).copied().expect("it was sealed");
            let captured = captured_of(id);
            // No point is taken to be older than the one before it that the source vouches for.
            let vouched = judged.source.and_then(|source| source.newest).map(|newest| newest.id);
            let first = vouched.map_or(captured, |vouched| captured_of(vouched).min(captured));
            // A clock that was set back while nobody looked hides its own step: a run that
            // began later cannot know, nor a room that a run opens later for a point that
            // this run has never seen.
            let unknowable = row.hosts().iter().any(|host| {
                let host = &self.hosts[index_of(*host)];
                let room = host.run.as_ref().and_then(|run| run.rooms.get(&row.machine));
                let looked = room.filter(|_| first < host.clock.began).map(|room| room.opened);
                let looked = looked.unwrap_or(0).max(host.clock.began);
                host.clock.set_back.iter().any(|back| *back > first && looked > *back)
            });
            told += 1;
            let real = self.now - captured;
            assert!(
                unknowable || age + AGE_JITTER >= real,
                "the RPO of {} from {} to {} is shown as {age} ms by point {id}, and is {real} ms: {:?}, {:?}",
                row.name,
                row.source(),
                row.target(),
                judged.source.map(|source| source.newest),
                judged.replica.map(|replica| replica.newest),
            );
        }
        *self.truth.counts.entry("RPOs shown").or_default() += told;
    }

    /// Every hour: what was acknowledged is there.
    pub(crate) fn bookkeeping(&mut self) {
        for ((machine, n), id) in &self.truth.acknowledged {
            let points = self.hosts[*n].disk.replicas.get(machine).map(|replica| &replica.points);
            let newest = points.and_then(|points| points.last()).map(|point| point.id);
            assert!(
                newest >= Some(*id),
                "point {id} of {machine} is lost on host {n}: its newest is {newest:?}"
            );
        }
        self.at(self.now + 600_000, super::world::Event::Bookkeeping);
    }
}
