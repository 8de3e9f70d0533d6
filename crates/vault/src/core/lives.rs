//! Lives of protections: what hosts say becomes events of them, and what is seen around one when
//! somebody orders something. What follows from what is decided in `farshore_protection`; this
//! module must never change a life but by what that gives.

use farshore_control::{
    Body, Key, Standing, Version,
    ownership::Lineage,
    report::{HostReport, ReplicaState, SourcePhase, SourceState},
};
use farshore_protection::{
    Copying, Drill, DrillPhase, Event, Facts, Flat, Life, Operation, Order, Report, Said, Seen, Speaks, Stage,
};
use farshore_types::{EpochOrder, HostId, MachineId};

use super::Core;
use crate::{
    Moment,
    rows::{EpochRow, ProtectionRow},
};

impl Core {
    /// Puts a life in the place of the one before it. The epoch by which the machine is owned is
    /// kept beside it, for it outlives the protection.
    pub(crate) fn put_life(&mut self, machine: MachineId, life: Life) -> bool {
        let (epoch, owner) = (life.epoch, life.source);
        let changed = self.tables.protections.change(&machine, |row| row.life = life);
        let known = self.tables.epochs.get(&machine).map(|row| (row.epoch, row.owner));
        match known.map(|(known, _)| known.order_of(&epoch)) {
            None | Some(EpochOrder::Newer) => {
                self.tables.epochs.put(EpochRow { machine, epoch, owner, conflict: None });
            }
            Some(EpochOrder::Same) if known.is_some_and(|(_, known)| known != owner) => {
                self.tables.epochs.change(&machine, |row| row.owner = owner);
            }
            Some(_) => {}
        }
        changed
    }

    /// Makes lives of what was kept before there were any, once all rows are there.
    pub(super) fn make_lives(&mut self) {
        let of_before = self.tables.protections.rows().filter(|row| row.is_of_before());
        for row in of_before.cloned().collect::<Vec<_>>() {
            let epoch = self.tables.epochs.get(&row.machine).copied();
            let Some(EpochRow { epoch, conflict, .. }) = epoch else { continue };
            let about = crate::rows::About::Machine(row.machine);
            let copying = self.open_job(crate::jobs::Kind::Enable, about).is_some() || row.leaving.is_some();
            let conflict = conflict.filter(|_| row.is_live());
            let (paused, ended) = (row.life.paused, !row.is_live());
            let life = Life::of_before(row.hosts(), epoch, paused, ended, !copying, conflict);
            self.tables.protections.change(&row.machine, |row| row.life = life);
        }
    }

    /// What a host says of its machines, told to their lives.
    pub(super) fn hear_of_lives(&mut self, report: &HostReport, at: &Moment) {
        let sources = report.sources.iter().map(|state| state.machine);
        let replicas = report.replicas.iter().map(|state| state.machine);
        let standings = report.standings.iter().map(|standing| standing.machine);
        let machines: std::collections::BTreeSet<MachineId> =
            sources.chain(replicas).chain(standings).collect();
        for machine in machines {
            let Some(row) = self.tables.protections.get(&machine).filter(|row| row.is_live()) else {
                continue;
            };
            if row.hosts().contains(&report.host) {
                self.hear_of_life(machine, report.host, at);
            } else if row.life.drill.as_ref().is_some_and(|drill| drill.host == Some(report.host)) {
                self.hear_of_drill(machine, report.host, at);
            }
        }
    }

    fn hear_of_life(&mut self, machine: MachineId, host: HostId, at: &Moment) {
        let Some(row) = self.tables.protections.get(&machine) else { return };
        if let Some(said) = self.said_by(row, host) {
            let other = if host == row.life.source { row.life.target } else { row.life.source };
            let told = self.said_by(row, other);
            for event in row.life.news_of(&said, told.as_ref()) {
                self.happens(machine, &Report { epoch: said.lineage.epoch, event }, at);
            }
        }
        let Some(row) = self.tables.protections.get(&machine) else { return };
        let beside = [self.copying_of(row), self.drill_of(row, host, at), self.flat_of(row, host)];
        let epoch = row.life.epoch;
        for event in beside.into_iter().flatten() {
            self.happens(machine, &Report { epoch, event }, at);
        }
    }

    /// A host that is no end of a protection any more tells of the test failover that it still has,
    /// and of nothing else.
    fn hear_of_drill(&mut self, machine: MachineId, host: HostId, at: &Moment) {
        let Some(row) = self.tables.protections.get(&machine) else { return };
        let epoch = row.life.epoch;
        if let Some(event) = self.drill_of(row, host, at) {
            self.happens(machine, &Report { epoch, event }, at);
        }
    }

    /// An event of a life.
    pub(crate) fn happens(&mut self, machine: MachineId, report: &Report, at: &Moment) {
        let Some(row) = self.tables.protections.get(&machine).filter(|row| row.is_live()) else { return };
        // Most of what is said is known: that is told without a copy of the life.
        if let Event::Owned { epoch, .. } = &report.event
            && matches!(row.life.epoch.order_of(epoch), EpochOrder::Same | EpochOrder::Older)
            && !row.life.awaits_the_other()
        {
            return;
        }
        let step = row.life.hear(report);
        if step.life == row.life {
            return;
        }
        let note = match (&report.event, &step.life.stage) {
            (Event::Owned { epoch, .. }, Stage::FailedOver { .. } | Stage::Committed) => {
                let number = epoch.number;
                Some(format!("epoch {number} was issued on a host: the machine is that host's now"))
            }
            _ => None,
        };
        self.put_life(machine, step.life);
        if note.is_some() {
            self.tables.protections.change(&machine, |row| row.note = note);
        }
        self.supersede_jobs(machine, step.supersedes, "what a host did by itself", None, at);
    }

    /// What a host said last of a machine, if it can tell how it stands with it.
    fn said_by(&self, row: &ProtectionRow, host: HostId) -> Option<Said> {
        let report = &self.tables.observed.get(&host)?.report;
        let standing = report.standings.iter().find(|standing| standing.machine == row.machine)?;
        let lineage = report.lineages.iter().find(|lineage| lineage.machine == row.machine)?;
        Some(standing.said(host, lineage, self.version_of(row), &row.life.epoch))
    }

    /// The version of a protection's document, where that says what its row says.
    fn version_of(&self, row: &ProtectionRow) -> Option<Version> {
        let held = &self.tables.documents.get(&Key::Protection(row.machine))?.document;
        let Body::Protection(body) = &held.body else { return None };
        (body.life.as_ref() == Some(&row.life)).then_some(held.version)
    }

    /// What a host said last of how it stands with a machine.
    #[must_use]
    pub fn standing(&self, host: HostId, machine: MachineId) -> Option<&Standing> {
        let report = &self.tables.observed.get(&host)?.report;
        report.standings.iter().find(|standing| standing.machine == machine)
    }

    /// The same, while it is of the document as it is now.
    pub(crate) fn standing_now(&self, row: &ProtectionRow, host: HostId) -> Option<&Standing> {
        let newest = self.version_of(row)?;
        self.standing(host, row.machine).filter(|standing| standing.document == Some(newest))
    }

    fn source_of(&self, row: &ProtectionRow) -> Option<&SourceState> {
        let report = &self.tables.observed.get(&row.source())?.report;
        report.sources.iter().find(|state| state.machine == row.machine && state.epoch == row.life.epoch)
    }

    pub(crate) fn replica_on(&self, host: HostId, machine: MachineId) -> Option<&ReplicaState> {
        let report = &self.tables.observed.get(&host)?.report;
        report.replicas.iter().find(|state| state.machine == machine)
    }

    /// How replication stands, where that is news.
    fn copying_of(&self, row: &ProtectionRow) -> Option<Event> {
        let life = &row.life;
        let source = self.source_of(row);
        let replica = self.replica_on(row.target(), row.machine);
        let points = [source.and_then(|s| s.newest), replica.and_then(|r| r.newest)];
        let of_now = |point: &farshore_control::report::PointAge| point.id.epoch == life.epoch.number;
        let has_point = points.into_iter().flatten().any(|point| of_now(&point));
        let phase = source.map(|source| &source.phase);
        match life.copying {
            Copying::Off => None,
            Copying::Seeding => {
                let copied = !matches!(phase, Some(SourcePhase::Seeding { .. }));
                (has_point && copied).then_some(Event::FirstPoint)
            }
            Copying::Steady => match phase {
                Some(SourcePhase::Resynchronizing { .. } | SourcePhase::ResyncNeeded { .. }) => {
                    Some(Event::TrackerLost)
                }
                Some(SourcePhase::Seeding { .. }) => Some(Event::CopiesAnew),
                _ => None,
            },
            Copying::Resync => {
                let compared = source.is_some_and(|source| source.resynced >= row.resync);
                let done = has_point && compared && phase == Some(&SourcePhase::Replicating);
                done.then_some(Event::Resynced)
            }
        }
    }

    /// How a drill stands, where its host says that.
    fn drill_of(&self, row: &ProtectionRow, host: HostId, at: &Moment) -> Option<Event> {
        let standing = self.standing_now(row, host)?;
        if let (None, Some(there)) = (&row.life.drill, &standing.drill) {
            let until_ms = Some(at.wall_ms.saturating_add(Drill::OPEN_MS));
            let (order, at) = (there.order, there.at?);
            return Some(Event::DrillFound { host, order, at, until_ms });
        }
        let drill = row.life.drill.as_ref().filter(|drill| drill.host.is_none_or(|at| at == host))?;
        let there = standing.drill.as_ref().filter(|there| there.order == drill.order);
        match (drill.phase, there) {
            (DrillPhase::Opening, Some(there)) if there.runs => Some(Event::DrillRuns),
            (DrillPhase::CleaningUp, None) => Some(Event::DrillGone),
            _ => None,
        }
    }

    /// What the machine's disks are, where that is news.
    fn flat_of(&self, row: &ProtectionRow, host: HostId) -> Option<Event> {
        let standing = self.standing_now(row, host).filter(|_| host == row.source())?;
        let layered = standing.layered.filter(|_| standing.runs == Some(true));
        match (row.life.flat, layered) {
            (Flat::Flattening, _) => {
                let flat = standing.flattening.as_ref().is_some_and(|flattening| flattening.flat);
                flat.then_some(Event::Flattened)
            }
            (Flat::Own, Some(true)) => Some(Event::Disks { layered: true }),
            (Flat::Layered | Flat::Scheduled { .. }, Some(false)) => Some(Event::Disks { layered: false }),
            _ => None,
        }
    }

    /// A host that is too old to tell how it stands owns a machine by a higher epoch.
    pub(super) fn turn_to(&mut self, machine: MachineId, lineage: &Lineage) {
        let Some(row) = self.tables.protections.get(&machine) else { return };
        // What a person has to decide about is not decided by hearing of it again.
        let known = row.life.rival.is_some_and(|rival| rival.epoch == lineage.epoch);
        if known || row.life.epoch.order_of(&lineage.epoch) != EpochOrder::Newer {
            return;
        }
        let (owner, number, same) = (lineage.owner, lineage.epoch.number, row.source() == lineage.owner);
        let accepted = matches!(&row.life.stage, Stage::HandingOver(over) if over.next == lineage.epoch);
        let life = match (row.is_live(), accepted) {
            (true, true) => {
                let event = Event::Accepted { next: lineage.epoch };
                row.life.hear(&Report { epoch: row.life.epoch, event }).life
            }
            (true, false) => row.life.taken_over(lineage.epoch, owner),
            (false, _) => return,
        };
        self.put_life(machine, life);
        if !same {
            let note = format!("epoch {number} was issued on a host: the machine is that host's now");
            self.tables.protections.change(&machine, |row| row.note = Some(note));
        }
    }

    /// Two hosts own a machine by one number.
    pub(super) fn contests(&mut self, lineage: &Lineage, host: HostId, at: &Moment) {
        let Some(row) = self.tables.protections.get(&lineage.machine) else { return };
        let report = |epoch, owner| Report {
            epoch: row.life.epoch,
            event: Event::Owned { epoch, owner, alone: false, twice: false },
        };
        let other = if host == row.source() { row.target() } else { row.source() };
        let reports =
            [Some(report(lineage.epoch, lineage.owner)), lineage.conflict.map(|e| report(e, other))];
        for report in reports.into_iter().flatten() {
            self.happens(lineage.machine, &report, at);
        }
    }

    /// What is seen around a protection now.
    #[must_use]
    pub fn facts_of(&self, row: &ProtectionRow, at: &Moment) -> Facts {
        let speaks = match self.head().superseded {
            Some(_) => Speaks::Superseded,
            None if self.may_issue(at) => Speaks::Yes,
            None => Speaks::Learning,
        };
        let epochs = self.tables.epochs.get(&row.machine);
        let known = epochs.into_iter().flat_map(|row| [Some(row.epoch), row.conflict]).flatten().collect();
        Facts {
            speaks,
            source: self.seen(row.source(), row.machine, at),
            target: self.seen(row.target(), row.machine, at),
            whole_point: self.has_whole_point(row),
            not_current: self.not_current(row),
            known,
        }
    }

    /// What keeps the target from getting the last state of a machine that is shut down now.
    pub(crate) fn not_current(&self, row: &ProtectionRow) -> Option<String> {
        let replica = self.replica_on(row.target(), row.machine);
        if let Some(fault) = replica.and_then(|replica| replica.faults.first()) {
            return Some(format!("its replica is damaged: {fault}"));
        }
        match &self.source_of(row)?.phase {
            SourcePhase::Retrying { why } => {
                Some(format!("the last cycle failed, and is tried again: {why}"))
            }
            SourcePhase::Failed { why } => Some(format!("replication has stopped: {why}")),
            SourcePhase::Waiting { why } => Some(format!("replication waits: {why}")),
            SourcePhase::ResyncNeeded { why } => Some(format!("everything must be compared anew: {why}")),
            SourcePhase::Seeding { .. } => Some("the first copy is not whole yet".to_owned()),
            _ => None,
        }
    }

    /// Whether the source says that nothing is sent, because of a pause or its host's maintenance.
    pub(crate) fn is_paused_at_source(&self, row: &ProtectionRow) -> bool {
        self.source_of(row).is_some_and(|source| source.phase == SourcePhase::Paused)
    }

    fn seen(&self, host: HostId, machine: MachineId, at: &Moment) -> Seen {
        let row = self.tables.hosts.get(&host).filter(|row| !row.removed);
        let reachable = row.is_some() && self.silence(host, at).is_none();
        let maintenance = row.filter(|row| row.maintenance);
        let stands_against = maintenance
            .map(|row| format!("host '{}' is in maintenance", row.name))
            .or_else(|| self.twin_stands_against(host, machine));
        let looked = self.standing(host, machine).and_then(|standing| standing.could_start.as_ref());
        let against = looked.filter(|looked| !looked.could()).map(|looked| {
            let each = looked.against.iter().map(ToString::to_string);
            each.collect::<Vec<_>>().join("; and ")
        });
        Seen {
            reachable,
            runs: self.runs_on(host, machine).filter(|_| reachable),
            stands_against,
            could_not_start: against,
        }
    }

    /// While a machine runs twice, nobody knows which of the two is to be moved by plan.
    fn twin_stands_against(&self, host: HostId, machine: MachineId) -> Option<String> {
        let row = self.tables.protections.get(&machine).filter(|row| row.source() == host)?;
        let twin = self.host_name(row.twin?);
        Some(format!("host '{twin}' runs a machine of the same identity at the same time"))
    }

    /// Whether a machine runs on a host, as far as the host says that.
    fn runs_on(&self, host: HostId, machine: MachineId) -> Option<bool> {
        let report = &self.tables.observed.get(&host)?.report;
        if let Some(standing) = report.standings.iter().find(|standing| standing.machine == machine) {
            return standing.runs;
        }
        let facts = self.tables.machines.get(&(host, machine)).map(|row| row.facts.power.as_str());
        Some(facts == Some("running"))
    }

    /// Whether a machine runs on a host by its own word, and not as a copy that was cut off.
    pub(crate) fn runs_uncut(&self, host: HostId, machine: MachineId) -> bool {
        self.standing(host, machine).is_some_and(|said| said.runs == Some(true) && !said.fenced)
    }

    /// Whether the target, or the host that its replica is leaving, has anything to start from.
    fn has_whole_point(&self, row: &ProtectionRow) -> bool {
        let keeper = self.leaving(row).map_or(row.target(), |leaving| leaving.host);
        let replica = self.replica_on(keeper, row.machine);
        let kept = replica.is_some_and(|replica| replica.newest.is_some());
        let sent = keeper == row.target() && self.source_of(row).is_some_and(|s| s.newest.is_some());
        kept || sent || self.home_has_its_disks(row)
    }

    /// Whether the home of a machine that is away has the disks of which it ran there: by what it
    /// shows, and while they have not become its replica.
    fn home_has_its_disks(&self, row: &ProtectionRow) -> bool {
        let home = row.target();
        let shown = self.tables.machines.get(&(home, row.machine)).is_some();
        row.life.is_away() && home == row.life.home && shown
    }

    /// The report of an event for each protection that it is time for.
    fn reports_of(&self, event: &Event, which: impl Fn(&Life) -> bool) -> Vec<(MachineId, Report)> {
        let rows = self.tables.protections.rows().filter(|row| row.is_live() && which(&row.life));
        rows.map(|row| (row.machine, Report { epoch: row.life.epoch, event: event.clone() })).collect()
    }

    /// What time brings: drills that were open for long enough, flattening whose time has come.
    pub(super) fn see_to_times(&mut self, at: &Moment) {
        if !self.may_issue(at) {
            return;
        }
        self.drop_unanswered_points(at);
        let late = |until: Option<u64>| until.is_some_and(|until| until <= at.wall_ms);
        let due = |life: &Life| matches!(life.flat, Flat::Scheduled { at_ms } if late(Some(at_ms)));
        let overdue = |life: &Life| {
            life.has_open_drill() && life.drill.as_ref().is_some_and(|drill| late(drill.until_ms))
        };
        let over = self.reports_of(&Event::DrillOverdue, overdue);
        // Whose host was removed has nobody left who would tell that it is gone.
        let removed = |host: HostId| self.tables.hosts.get(&host).is_some_and(|row| row.removed);
        let lost = |life: &Life| life.drill.as_ref().and_then(|drill| drill.host).is_some_and(removed);
        let lost = self.reports_of(&Event::DrillGone, lost);
        let due = self.reports_of(&Event::FlattenBegun, due);
        for (machine, report) in over {
            self.happens(machine, &report, at);
            let order = Order::new(Operation::CleanUp, 0);
            // Where it cannot be ordered now, it is at the next look.
            let _ = self.atomically(|core| core.operate(machine, &order, at));
        }
        for (machine, report) in lost {
            self.happens(machine, &report, at);
        }
        for (machine, report) in due {
            self.happens(machine, &report, at);
            let flat = self.tables.protections.get(&machine).map(|row| row.life.flat);
            if flat == Some(Flat::Flattening) {
                let _ = self.atomically(|core| core.begin_flatten(machine, at));
            }
        }
    }
}
