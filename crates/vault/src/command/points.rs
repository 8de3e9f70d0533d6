//! Recovery points, asked for: only the host that has a replica knows all its points. The answer
//! is for the one who asks, and is kept no longer than its host takes to hear of that. An order that
//! names one is held to what that host said: nothing is fenced for a point that is not there.

use farshore_control::{
    Key,
    request::{Action, POINTS_MAX, Request},
};
use farshore_protection::{Answer as Judged, Choice, Operation, Order, Stage};
use farshore_types::{HostId, MachineId, PointId, RequestId};

use crate::{
    Answer, Core, Moment, Problem, ProblemKind,
    rows::{ProtectionRow, RequestRow},
};

/// Milliseconds for which somebody may wait for them.
const WAIT_MS: u64 = 60_000;

impl Core {
    pub(super) fn ask_points(
        &mut self,
        machine: MachineId,
        by: Option<Operation>,
        (before, application, limit): (Option<PointId>, bool, u32),
        at: &Moment,
    ) -> Result<Answer, Problem> {
        if !(1..=POINTS_MAX).contains(&limit) {
            let what = format!("{limit} recovery points cannot be listed at once");
            return Err(Problem::invalid("limit", what, "use 1 to 1000"));
        }
        let row = self.tables.protections.get(&machine);
        let row = row.ok_or_else(|| Problem::unknown("protection", format_args!("of machine {machine}")))?;
        let has_some = |host: &HostId| self.has_points(row, *host);
        let keeper = match by {
            Some(operation) => Some(self.host_of_point(row, operation)).filter(has_some),
            None => self.keeper_of_points(row),
        };
        let Some(host) = keeper else {
            let what = format!("no host has told of recovery points of machine '{}'", row.name);
            let kind = ProblemKind::NotFound;
            return Err(Problem::new(kind, "no-points", what, "wait for the first one"));
        };
        if self.silence(host, at).is_some() {
            let what = format!(
                "host '{}', which has the recovery points of machine '{}', is not reached",
                self.host_name(host),
                row.name
            );
            let advice = "see to its agent, or look there: `farshore-agent points`";
            return Err(Problem::unavailable("target-away", what, advice));
        }
        let id = RequestId(at.id(&format!("points of {machine}")));
        let expires_ms = Some(at.wall_ms.saturating_add(WAIT_MS));
        let request =
            Request { id, expires_ms, action: Action::Points { machine, before, application, limit } };
        let machine = Some(machine);
        let row = RequestRow { id, host, machine, request, ending: None, withdrawn: false, effect: None };
        self.tables.requests.put(row);
        Ok(Answer { id: Some(id.0), ..Answer::changed(false) })
    }

    /// The host that has the points: that of the replica, which after a failover is the one on
    /// which the machine runs.
    fn keeper_of_points(&self, row: &ProtectionRow) -> Option<HostId> {
        let [source, target] = row.hosts();
        let target = self.leaving(row).map_or(target, |leaving| leaving.host);
        let of_source_first = matches!(
            row.life.stage,
            Stage::FailedOver { .. } | Stage::BringingUp(_) | Stage::Committed | Stage::Reversing { .. }
        );
        let hosts = if of_source_first { [source, target] } else { [target, source] };
        hosts.into_iter().find(|host| self.has_points(row, *host))
    }

    fn has_points(&self, row: &ProtectionRow, host: HostId) -> bool {
        self.replica_on(host, row.machine).is_some_and(|replica| replica.newest.is_some())
    }

    /// The host that brings a point up which an order names.
    fn host_of_point(&self, row: &ProtectionRow, operation: Operation) -> HostId {
        match operation {
            // The points of a machine that was failed over are where it runs.
            Operation::ChangePoint => row.source(),
            _ => self.leaving(row).map_or(row.target(), |leaving| leaving.host),
        }
    }

    /// That the point which is meant is there: by the order a machine is fenced where it runs, and
    /// without the point it could start nowhere. A report tells the ends only, between which others
    /// may have been thinned out; so its host has to have told of it.
    pub(super) fn check_point(&self, row: &ProtectionRow, order: &Order, at: &Moment) -> Result<(), Problem> {
        // What is not allowed at all is refused by that.
        if !matches!(row.life.judge(&self.facts_of(row, at), order.operation), Judged::Allowed { .. }) {
            return Ok(());
        }
        let told = order.point_age.map(|(point, _)| point);
        let host = self.host_of_point(row, order.operation);
        let replica = self.replica_on(host, row.machine);
        if order.operation == Operation::ChangePoint {
            self.check_it_is_another(row, order, told)?;
        }
        match order.point {
            Choice::Latest | Choice::LatestWhole | Choice::AsLeft => Ok(()),
            Choice::NotBefore(shown) => self.check_newest(row, shown, at),
            Choice::LatestApplication => {
                let there = told.is_some() || replica.is_some_and(|there| there.newest_application.is_some());
                there.then_some(()).ok_or_else(|| self.no_application_point(row, host))
            }
            Choice::At(point) => {
                let ends = replica.map(|there| [there.oldest, there.newest, there.newest_application]);
                let mut ends = ends.into_iter().flatten().flatten().map(|end| end.id);
                // One at which it ran stays until the failover is committed.
                let known = || ends.any(|end| end == point) || row.life.keeps_point(point);
                let there = told.map_or_else(known, |told| told == point);
                there.then_some(()).ok_or_else(|| self.not_there(row, host, point, told))
            }
        }
    }

    /// That a point which is not named is not the one at which the machine runs: by its host it would
    /// be stopped for nothing.
    fn check_it_is_another(
        &self,
        row: &ProtectionRow,
        order: &Order,
        told: Option<PointId>,
    ) -> Result<(), Problem> {
        let replica = self.replica_on(row.source(), row.machine);
        let meant = match order.point {
            Choice::At(_) | Choice::AsLeft => None,
            Choice::LatestApplication => {
                told.or(replica.and_then(|there| there.newest_application).map(|point| point.id))
            }
            Choice::Latest | Choice::LatestWhole | Choice::NotBefore(_) => {
                replica.and_then(|there| there.newest).map(|point| point.id)
            }
        };
        match meant.and_then(|point| row.life.is_at_already(point)) {
            None => Ok(()),
            Some(reason) => {
                let what = format!("machine '{}': {}", row.name, reason.what);
                Err(Problem::refused(&reason.code, what, &reason.advice))
            }
        }
    }

    /// That what was shown as the newest point can be there still. By the same judgement by which it
    /// was shown: the source knows of points of which their host has not reported yet, and in a
    /// disaster nobody waits for that report. What is really there its host looks at.
    fn check_newest(&self, row: &ProtectionRow, shown: PointId, at: &Moment) -> Result<(), Problem> {
        match self.judge(row, at).newest {
            Some((newest, _)) if newest < shown => {
                let what = format!(
                    "machine '{}' has no recovery point {shown}: its newest one is {newest}",
                    row.name
                );
                Err(Problem::refused("point-unknown", what, &look_at_them(row)))
            }
            _ => Ok(()),
        }
    }

    fn no_application_point(&self, row: &ProtectionRow, host: HostId) -> Problem {
        let (name, host) = (&row.name, self.host_name(host));
        let what = format!(
            "host '{host}' has no recovery point of machine '{name}' for which the guest's file systems were \
             frozen"
        );
        Problem::refused("no-application-point", what, "choose the latest, or one by its name")
    }

    /// Why a named point is not brought up: its host has others, or has not told.
    fn not_there(&self, row: &ProtectionRow, host: HostId, point: PointId, told: Option<PointId>) -> Problem {
        let (name, replica) = (&row.name, self.replica_on(host, row.machine));
        let host = self.host_name(host);
        let refused = |what| Problem::refused("point-unknown", what, &look_at_them(row));
        if let Some(older) = told {
            let what = format!("host '{host}' has no recovery point {point} of machine '{name}'");
            return refused(format!("{what}: the next older one is {older}"));
        }
        match replica.and_then(|replica| Some((replica.oldest?.id, replica.newest?.id))) {
            None => {
                let what = format!("host '{host}' has told of no recovery points of machine '{name}'");
                let advice = "leave the point away: it comes up as it can there";
                Problem::refused("point-unknown", what, advice)
            }
            Some((oldest, newest)) if point < oldest || point > newest => refused(format!(
                "host '{host}' has no recovery point {point} of machine '{name}': it has {oldest} to {newest}"
            )),
            Some(_) => {
                let what = format!("host '{host}' has not told whether it has point {point} of '{name}'");
                let advice = "order it again, or without the point: the newest one is known to be there";
                Problem::unavailable("point-not-told", what, advice)
            }
        }
    }

    /// Drops what somebody asked for whose time has passed: nobody waits for it any more.
    pub(crate) fn drop_unanswered_points(&mut self, at: &Moment) {
        let over = |row: &&RequestRow| {
            let late = row.request.expires_ms.is_some_and(|until| until.saturating_add(WAIT_MS) < at.wall_ms);
            late && row.is_open() && matches!(row.request.action, Action::Points { .. })
        };
        for id in self.tables.requests.rows().filter(over).map(|row| row.id).collect::<Vec<_>>() {
            self.tables.requests.remove(&id);
            self.tables.documents.remove(&Key::Request(id));
        }
    }
}

fn look_at_them(row: &ProtectionRow) -> String {
    format!(
        "choose one that is there (`farshore protection points {}`); others are thinned out by retention",
        row.name
    )
}
