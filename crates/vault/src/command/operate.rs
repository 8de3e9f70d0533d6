//! Orders about a protection's life: failover in all its forms, and the way home. Whether one
//! is allowed, and what it makes of the life, is decided in `farshore_protection`; here the life
//! is put in its place, what was under way is given up, and the job begins that sees to it.

use farshore_protection::{
    Answer as Judged, Begin, Choice, DrillNetwork, Input, Operation, Order, Reason, Stage, Supersedes,
};
use farshore_types::{JobId, MachineId};

use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    jobs::{Course, Kind, SUPERSEDED},
    rows::{About, DRILLS_KEPT, DrillRecord, HostRow, ProtectionRow},
};

/// Longest notes of a test failover, in bytes.
const NOTES_MAX: usize = 16 << 10;

impl Core {
    /// Orders something of a protection's life.
    pub(crate) fn operate(
        &mut self,
        machine: MachineId,
        order: &Order,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        if has_its_own_command(order.operation) {
            let what = format!("'{}' is a command of its own", order.operation.name());
            return Err(Problem::invalid("operation", what, "order it by that"));
        }
        let notes = order.notes.as_ref().map_or(0, String::len);
        if notes > NOTES_MAX {
            let what = format!("the notes have {notes} bytes");
            return Err(Problem::invalid("notes", what, "keep them below 16 KiB, and the rest elsewhere"));
        }
        let row = self.protection_row(machine)?.clone();
        if !self.may_issue_for(row.hosts(), at) {
            let what = format!("neither host of machine '{}' has told this vault what it holds", row.name);
            return Err(Problem::unavailable("learning", what, "see to the agents of both hosts"));
        }
        if let Some(known) = self.is_so_already(&row, order, at) {
            return Ok(known);
        }
        let warnings = self.stay_with_the_whole_one(&row, order, at)?;
        let before = row.life.version;
        let row = self.protection_row(machine)?.clone();
        // Who saw what was before that saw what there was to be seen.
        let seen = order.seen.map(|seen| if seen == before { row.life.version } else { seen });
        let order = Order { seen, ..order.clone() };
        self.check_point(&row, &order, at)?;
        self.check_where_to(&row, &order, at)?;
        self.check_network(&row, &order)?;
        let may_not_start = self.may_not_start(&row, &order, at);
        let mut answer = self.order_life(&row, &order, None, at)?;
        answer.warnings.extend(warnings);
        answer.warnings.extend(may_not_start);
        Ok(answer)
    }

    /// Carries an order out; `except` is a job that is not given up for it.
    pub(crate) fn order_life(
        &mut self,
        row: &ProtectionRow,
        order: &Order,
        except: Option<JobId>,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let machine = row.machine;
        let token = at.draw(&format!("epoch of {machine}"));
        let until_ms = order.open_ms.map(|open_ms| at.wall_ms.saturating_add(open_ms)).or(order.until_ms);
        let order = Order { token, until_ms, ..order.clone() };
        let facts = self.facts_of(row, at);
        let input = Input::Order(Box::new(order.clone()));
        let step = row.life.step(&input, &facts).map_err(|reason| self.refusal(row, &order, &reason, at))?;
        if row.life.has_open_drill() && step.life.drill.is_some() && !step.life.has_open_drill() {
            self.remember_drill(row, &order, at);
        }
        let changed = self.put_life(machine, step.life);
        let by = format!("a later order: {}", order.operation.name());
        self.supersede_jobs(machine, step.supersedes, &by, except, at);
        let mut answer = Answer::changed(changed);
        if let (Some(begin), None) = (step.begins, except) {
            answer.jobs.extend(self.begin_course(machine, begin, &order, at)?);
        }
        Ok(answer)
    }

    /// After a disaster it is tried whatever the target's host thinks of it; it is told.
    fn may_not_start(&self, row: &ProtectionRow, order: &Order, at: &Moment) -> Option<Finding> {
        let goes = matches!(order.operation, Operation::UnplannedFailover | Operation::TestFailover);
        let why = self.facts_of(row, at).target.could_not_start.filter(|_| goes)?;
        let host = self.host_name(row.target());
        Some(Finding {
            severity: Severity::Warning,
            code: "may-not-start".to_owned(),
            machine: Some(row.machine),
            what: format!("machine '{}' may not start on host '{host}': {why}", row.name),
            advice: "it is tried all the same, and again when that was seen to".to_owned(),
        })
    }

    /// What there was to see of a test failover that is being cleaned up.
    fn remember_drill(&mut self, row: &ProtectionRow, order: &Order, at: &Moment) {
        let Some(drill) = &row.life.drill else { return };
        let hosts = drill.host.map_or(row.hosts().to_vec(), |host| vec![host]);
        let there = hosts.into_iter().find_map(|host| {
            let seen = self.standing(host, row.machine)?.drill.as_ref()?;
            (seen.order == drill.order).then_some((host, seen))
        });
        let ran = there.is_some_and(|(_, seen)| seen.runs);
        let record = DrillRecord {
            order: drill.order,
            at: there.and_then(|(_, seen)| seen.at),
            host: drill.host.or(there.map(|(host, _)| host)),
            ran,
            failed: there
                .filter(|_| !ran)
                .and_then(|(_, seen)| seen.failed.as_ref())
                .map(ToString::to_string),
            overdue: drill.overdue,
            ended_ms: at.wall_ms,
            notes: order.notes.clone().filter(|notes| !notes.is_empty()),
        };
        self.tables.protections.change(&row.machine, |row| {
            row.drills.push(record);
            let over = row.drills.len().saturating_sub(DRILLS_KEPT);
            row.drills.drain(..over);
        });
    }

    /// What is asked for is so already, or is being done: said, and nothing is changed.
    fn is_so_already(&self, row: &ProtectionRow, order: &Order, at: &Moment) -> Option<Answer> {
        // Who names another version than that of now is told of that first.
        if order.seen.is_some_and(|seen| seen != row.life.version) {
            return None;
        }
        let Judged::Already(reason) = row.life.judge(&self.facts_of(row, at), order.operation) else {
            return None;
        };
        let about = About::Machine(row.machine);
        let open = self.tables.jobs.rows().filter(|job| job.is_open() && job.about == about);
        let jobs = open.filter(|job| Kind::of_life(&job.job.kind).is_some()).map(|job| job.job.id);
        let warnings = vec![Finding {
            severity: Severity::Warning,
            code: reason.code,
            machine: Some(row.machine),
            what: format!("machine '{}': {}", row.name, reason.what),
            advice: reason.advice,
        }];
        Some(Answer { warnings, ..Answer::changed(false) }.with_jobs(jobs.collect::<Vec<_>>()))
    }

    /// While a replica is moved to another host, the one on the old host is whole: a failover
    /// goes to that one, and everything else waits.
    fn stay_with_the_whole_one(
        &mut self,
        row: &ProtectionRow,
        order: &Order,
        at: &Moment,
    ) -> Result<Vec<Finding>, Problem> {
        let Some(leaving) = self.leaving(row).cloned() else { return Ok(Vec::new()) };
        if order.operation != Operation::UnplannedFailover {
            self.is_not_moving(row)?;
        }
        let (from, to) = (self.host_name(leaving.host), self.host_name(row.target()));
        self.tables.protections.change(&row.machine, |row| {
            (row.place, row.place_on, row.leaving) = (leaving.place.clone(), Some(leaving.host), None);
        });
        self.put_life(row.machine, row.life.put_back(leaving.host));
        self.supersede_jobs(row.machine, Supersedes::All, "the failover", None, at);
        Ok(vec![Finding {
            severity: Severity::Warning,
            code: "move-given-up".to_owned(),
            machine: Some(row.machine),
            what: format!(
                "the replica of '{}' was on its way from '{from}' to '{to}': it is on '{from}'",
                row.name
            ),
            advice: format!("what is on '{to}' is not wanted: `farshore replica discard` deletes it"),
        }])
    }

    /// An unplanned failover goes to the other side, whichever that is. Ordered a second time, by
    /// somebody who does not know of the first, it would take the machine back: that has to be said.
    fn check_where_to(&self, row: &ProtectionRow, order: &Order, at: &Moment) -> Result<(), Problem> {
        if order.operation != Operation::UnplannedFailover || order.to == Some(row.target()) {
            return Ok(());
        }
        let [here, there] = row.hosts().map(|host| self.host_name(host));
        if order.to.is_some() {
            let what = format!("machine '{}' would be failed over to host '{there}'", row.name);
            let advice = "look at where it runs: it may be there already; or name that host";
            return Err(Problem::conflict("goes-elsewhere", what, advice));
        }
        let failed = match &row.life.stage {
            Stage::FailedOver { .. } => None,
            Stage::BringingUp(up) => up.failed.as_ref(),
            Stage::Starting { failed, .. } => failed.as_ref(),
            _ => return Ok(()),
        };
        let facts = self.facts_of(row, at);
        if !facts.source.reachable {
            return Ok(());
        }
        let what = format!("machine '{}' is failed over to host '{here}' already", row.name);
        let (what, mut advice) = match failed {
            None => (what, "nothing is to be done".to_owned()),
            Some(why) => (format!("{what}, and could not be started: {why}"), "it is tried again".to_owned()),
        };
        // Only what would be carried out is advised.
        let ways = [
            (Operation::ChangePoint, "`change-point` brings it up at another point".to_owned()),
            (Operation::Cancel, "`cancel` takes that back".to_owned()),
            (Operation::UnplannedFailover, format!("`--to {there}` fails it over once more")),
        ];
        for (operation, way) in ways {
            let another = operation != Operation::ChangePoint || failed.is_some();
            if another && row.life.judge(&facts, operation).is_allowed() {
                advice += &format!("; {way}");
            }
        }
        Err(Problem::conflict("failed-over", what, &advice))
    }

    /// The copy of a test failover is never connected to what production is connected to, nor to
    /// what its host does not have.
    fn check_network(&self, row: &ProtectionRow, order: &Order) -> Result<(), Problem> {
        let DrillNetwork::Named(name) = &order.network else { return Ok(()) };
        let host = self.tables.hosts.get(&row.target());
        // One that has not told yet what is on it may have it.
        let told = |host: &&HostRow| !host.inventory_digest.is_empty();
        if let Some(host) = host.filter(told).filter(|host| !host.networks.contains(name)) {
            let what = format!("host '{}' has no network '{name}'", host.name);
            let there = match host.networks.as_slice() {
                [] => "it has none that runs: start it there (`virsh net-start`)".to_owned(),
                some => format!("there are: {}", some.join(", ")),
            };
            let advice = format!("{there}; or let one be made for it (--own-network)");
            return Err(Problem::refused("network-unknown", what, &advice));
        }
        let machine = self.tables.machines.get(&(row.source(), row.machine));
        let used = machine.into_iter().flat_map(|row| row.facts.networks.iter().flatten());
        let mapped = self.networks_between(row.source(), row.target());
        if !used.filter_map(|network| mapped.get(network)).any(|there| there == name) {
            return Ok(());
        }
        let what = format!("network '{name}' is the one that machine '{}' gets after a failover", row.name);
        let advice = "name another one, or let one be made for it (--own-network)";
        Err(Problem::refused("production-network", what, advice))
    }

    /// A refusal, with what somebody who has to confirm needs to know.
    fn refusal(&self, row: &ProtectionRow, order: &Order, reason: &Reason, at: &Moment) -> Problem {
        let mut what = format!("machine '{}': {}", row.name, reason.what);
        let mut advice = reason.advice.clone();
        let judged = self.judge(row, at);
        let newest = match order.point {
            Choice::LatestApplication => judged.newest_application.or(judged.newest),
            _ => judged.newest,
        };
        if let ("confirm-data-loss", Some((point, age_ms))) = (reason.code.as_str(), newest) {
            let secs = age_ms.div_ceil(1000);
            what += &match order.operation {
                Operation::UnplannedFailover if let Some((chosen, age_ms)) = order.point_age => {
                    let secs = age_ms.div_ceil(1000);
                    advice += &format!("; `--shown {chosen}` holds it to that");
                    format!("; the last {secs} s would be lost: point {chosen} is so old")
                }
                Operation::UnplannedFailover if matches!(order.point, Choice::At(chosen) if chosen != point) =>
                {
                    format!(
                        "; more than the last {secs} s would be lost: the newest point, {point}, is so old"
                    )
                }
                Operation::UnplannedFailover => {
                    advice += &format!("; `--shown {point}` holds it to that");
                    format!("; the last {secs} s would be lost: the newest point, {point}, is so old")
                }
                Operation::DeclareWinner => {
                    "; what the other host wrote since both own it is kept as a point when replication to \
                     that begins"
                        .to_owned()
                }
                Operation::TakeBack => {
                    "; what the other side wrote since, if it runs there, is kept as a point when replication \
                     to it begins"
                        .to_owned()
                }
                _ => "; what was written since the failover is not there then, and is kept as a point"
                    .to_owned(),
            };
        }
        if let ("confirm-data-loss", None, Operation::UnplannedFailover) =
            (reason.code.as_str(), newest, order.operation)
        {
            what += "; no recovery point is known there: it comes up as its disks were left";
        }
        match reason.code.as_str() {
            "changed-meanwhile" | "owner-changed" => Problem::conflict(&reason.code, what, &advice),
            "learning" => Problem::unavailable(&reason.code, what, &advice),
            "no-winner" | "no-point-named" => Problem::invalid(&reason.code, what, &advice),
            _ => Problem::refused(&reason.code, what, &advice),
        }
    }

    /// Jobs of a machine's life that wait for what is not wanted any more end as superseded. Those
    /// that would take something back find by themselves that the life has gone elsewhere.
    pub(crate) fn supersede_jobs(
        &mut self,
        machine: MachineId,
        which: Supersedes,
        by: &str,
        except: Option<JobId>,
        at: &Moment,
    ) {
        let about = About::Machine(machine);
        let given_up = |kind: Kind| match which {
            Supersedes::Nothing => false,
            Supersedes::Flattening => kind == Kind::Flatten,
            Supersedes::All => true,
        };
        let open = self.tables.jobs.rows().filter(|row| row.is_open() && row.about == about);
        let of_life = open.filter(|row| Kind::of_life(&row.job.kind).is_some_and(given_up));
        let open: Vec<JobId> = of_life.map(|row| row.job.id).filter(|id| Some(*id) != except).collect();
        for id in open {
            let _ = self.cancel_job(id, &format!("{SUPERSEDED}{by}"), at);
        }
    }

    fn begin_course(
        &mut self,
        machine: MachineId,
        begin: Begin,
        order: &Order,
        at: &Moment,
    ) -> Result<Option<JobId>, Problem> {
        let row = self.protection_row(machine)?;
        let [source, target] = row.hosts().map(|host| self.host_name(host));
        let Some((kind, course)) = Course::of(row, begin, order, [&source, &target]) else {
            return Ok(None);
        };
        let about = About::Machine(machine);
        if let (Some(open), Operation::Complete) = (self.open_job(kind, about), order.operation) {
            return Ok(Some(open));
        }
        self.begin_job(kind, about, &course, at).map(Some)
    }

    /// Flattening has begun because its time has come.
    pub(crate) fn begin_flatten(&mut self, machine: MachineId, at: &Moment) -> Result<(), Problem> {
        let order = Order::new(Operation::Flatten, 0);
        self.begin_course(machine, Begin::Flatten, &order, at).map(|_| ())
    }

    fn protection_row(&self, machine: MachineId) -> Result<&ProtectionRow, Problem> {
        let row = self.tables.protections.get(&machine);
        row.ok_or_else(|| Problem::unknown("protection", format_args!("of machine {machine}")))
    }
}

fn has_its_own_command(operation: Operation) -> bool {
    use Operation::{Disable, Enable, Pause, Resume, Resync};
    matches!(operation, Enable | Disable | Pause | Resume | Resync)
}
