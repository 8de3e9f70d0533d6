//! Recovery points, asked for: only the host that has a replica knows all its points. The answer
//! is for the one who asks, and is kept no longer than its host takes to hear of that.

use farshore_control::{
    Key,
    request::{Action, POINTS_MAX, Request},
};
use farshore_protection::Stage;
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
        (before, application, limit): (Option<PointId>, bool, u32),
        at: &Moment,
    ) -> Result<Answer, Problem> {
        if !(1..=POINTS_MAX).contains(&limit) {
            let what = format!("{limit} recovery points cannot be listed at once");
            return Err(Problem::invalid("limit", what, "use 1 to 1000"));
        }
        let row = self.tables.protections.get(&machine);
        let row = row.ok_or_else(|| Problem::unknown("protection", format_args!("of machine {machine}")))?;
        let Some(host) = self.keeper_of_points(row) else {
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
        hosts
            .into_iter()
            .find(|host| self.replica_on(*host, row.machine).is_some_and(|replica| replica.newest.is_some()))
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
