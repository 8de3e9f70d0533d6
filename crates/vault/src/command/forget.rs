//! Forgetting what is gone for good: a protection one side of which is lost, a host, a site.
//! It ends protections as disabling does, and waits for nobody. Nothing is deleted by it: what
//! a lost host has, it keeps when it is back, and it is told that it was forgotten.

use farshore_types::{HostId, JobId, MachineId, SiteId};

use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    jobs::{Forgetting, Kind},
    rows::{About, CloudRow, Ended, Leaving, ProtectionRow, ReplicaFate},
};

impl Core {
    pub(super) fn forget(&mut self, machine: MachineId, force: bool, at: &Moment) -> Result<Answer, Problem> {
        let Some(row) = self.tables.protections.get(&machine).cloned() else {
            return Err(Problem::unknown("protection", format_args!("of machine {machine}")));
        };
        let gone = row.hosts().into_iter().any(|host| self.is_gone(host, at));
        if !gone && !force {
            let [source, target] = row.hosts().map(|host| self.host_name(host));
            let what = format!("both hosts of machine '{}' answer, '{source}' and '{target}'", row.name);
            let advice = "disable it: `farshore protection disable`; forgetting is for a side that is lost";
            return Err(Problem::refused("hosts-answer", what, advice));
        }
        if !row.is_live() && self.open_jobs_of(machine).is_empty() {
            return Ok(Answer { warnings: self.what_is_left(&row, at), ..Answer::changed(false) });
        }
        self.forget_protection(&row, at)
    }

    /// Ends a protection and everything that waits for one of its hosts.
    fn forget_protection(&mut self, row: &ProtectionRow, at: &Moment) -> Result<Answer, Problem> {
        let machine = row.machine;
        let warnings = self.what_is_left(row, at);
        let why = "the protection was forgotten: one of its hosts was taken for lost".to_owned();
        self.tables.protections.change(&machine, |row| {
            row.has_ended(Ended { why, at_ms: at.wall_ms, replica: ReplicaFate::Kept });
            // Forgetting deletes nothing, also what was ordered to go before.
            if let Some(ended) = &mut row.ended
                && matches!(ended.replica, ReplicaFate::ToDelete | ReplicaFate::Asked { .. })
            {
                ended.replica = ReplicaFate::Kept;
            }
        });
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(crate::Bug::ForgettingDeletes) {
            let goes = |row: &mut ProtectionRow| {
                row.ended.iter_mut().for_each(|ended| ended.replica = ReplicaFate::ToDelete);
            };
            self.tables.protections.change(&machine, goes);
        }
        self.withdraw_requests(machine);
        for open in self.open_jobs_of(machine) {
            self.cancel_job(open, "the protection was forgotten", at)?;
        }
        let mut jobs: Vec<JobId> = Vec::new();
        // Without an epoch nothing was ever told to a host.
        if let Some(epoch) = self.tables.epochs.get(&machine).map(|row| row.epoch) {
            let [source, target] = row.hosts().map(|host| self.host_name(host));
            let input = Forgetting { machine, epoch, name: row.name.clone(), source, target };
            let about = About::Machine(machine);
            jobs.push(match self.open_job(Kind::Forget, about) {
                Some(open) => open,
                None => self.begin_job(Kind::Forget, about, &input, at)?,
            });
        }
        Ok(Answer { warnings, ..Answer::changed(true) }.with_jobs(jobs))
    }

    /// What each host is left with, and what can be done about it.
    fn what_is_left(&self, row: &ProtectionRow, at: &Moment) -> Vec<Finding> {
        let moved = self.leaving(row).map(|leaving| leaving.host);
        let mut left = vec![self.left_at_source(row, at), self.left_at_replica(row, row.target(), at)];
        left.extend(moved.map(|host| self.left_at_replica(row, host, at)));
        left
    }

    fn left_at_source(&self, row: &ProtectionRow, at: &Moment) -> Finding {
        let (name, host) = (&row.name, self.host_name(row.source()));
        let (what, advice) = match self.is_gone(row.source(), at) {
            true => (
                format!(
                    "host '{host}', which ran machine '{name}', is gone: the replica may be the only copy"
                ),
                "bring the machine up from its replica where it is wanted; if the host comes back, it is told",
            ),
            false => (
                format!("machine '{name}' runs on host '{host}', and is not protected any more"),
                "protect it again, to another host: `farshore protection enable`",
            ),
        };
        finding(row.machine, "left-at-source", what, advice)
    }

    fn left_at_replica(&self, row: &ProtectionRow, host: HostId, at: &Moment) -> Finding {
        let (name, there) = (&row.name, self.host_name(host));
        let seen = self.tables.observed.get(&host);
        let replica = seen.and_then(|seen| seen.report.replicas.iter().find(|r| r.machine == row.machine));
        let has = match replica {
            Some(replica) => format!("{} recovery points, {} bytes", replica.points, replica.stored),
            None => "what it has of it is not known".to_owned(),
        };
        let (what, advice) = match self.is_gone(host, at) {
            true => (
                format!("host '{there}' is gone with its replica of machine '{name}' ({has})"),
                "if it comes back, it keeps the replica aside; `farshore replica discard` deletes it then",
            ),
            false => (
                format!("host '{there}' keeps its replica of machine '{name}' ({has})"),
                "bring it up where it is needed; `farshore replica discard` deletes it, nothing else does",
            ),
        };
        finding(row.machine, "left-at-target", what, advice)
    }

    fn open_jobs_of(&self, machine: MachineId) -> Vec<JobId> {
        let about = About::Machine(machine);
        let open = self.tables.jobs.rows().filter(|row| row.is_open() && row.about == about);
        open.filter(|row| row.job.kind != Kind::Forget.name()).map(|row| row.job.id).collect()
    }

    pub(super) fn forget_host(&mut self, host: HostId, force: bool, at: &Moment) -> Result<Answer, Problem> {
        self.host_row(host)?;
        self.is_gone_or_forced(host, force, at)?;
        let concerned = |row: &&ProtectionRow| {
            let leaves = self.leaving(row).is_some_and(|leaving| leaving.host == host);
            row.hosts().contains(&host) || leaves
        };
        let rows: Vec<ProtectionRow> = self.tables.protections.rows().filter(concerned).cloned().collect();
        let mut answer = Answer::changed(true);
        for row in rows {
            if let Some(leaving) = self.leaving(&row).cloned().filter(|_| row.source() != host) {
                self.forget_while_moving(&row, host, &leaving, at)?;
                continue;
            }
            if row.is_live() || !self.open_jobs_of(row.machine).is_empty() {
                let done = self.forget_protection(&row, at)?;
                answer.warnings.extend(done.warnings);
                answer.jobs.extend(done.jobs);
            }
        }
        self.remove_host(host)?;
        Ok(answer)
    }

    /// One of the two hosts between which a replica is moved is gone: the other one's stays.
    fn forget_while_moving(
        &mut self,
        row: &ProtectionRow,
        host: HostId,
        from: &Leaving,
        at: &Moment,
    ) -> Result<(), Problem> {
        self.tables.protections.change(&row.machine, |row| row.leaving = None);
        if row.target() == host {
            self.tables.protections.change(&row.machine, |row| {
                row.life = row.life.put_back(from.host);
                (row.place, row.place_on) = (from.place.clone(), Some(from.host));
            });
            if let Some(open) = self.open_job(Kind::Move, About::Machine(row.machine)) {
                self.cancel_job(open, "the new host was forgotten", at)?;
            }
        }
        Ok(())
    }

    pub(super) fn forget_site(&mut self, site: SiteId, force: bool, at: &Moment) -> Result<Answer, Problem> {
        self.site_row(site)?;
        let here = self.tables.hosts.rows().filter(|row| row.site == site && !row.removed);
        let hosts: Vec<HostId> = here.map(|row| row.id).collect();
        for host in &hosts {
            self.is_gone_or_forced(*host, force, at)?;
        }
        let mut answer = Answer::changed(true);
        for host in hosts {
            let done = self.forget_host(host, true, at)?;
            answer.warnings.extend(done.warnings);
            answer.jobs.extend(done.jobs);
        }
        let clouds: Vec<CloudRow> =
            self.tables.clouds.rows().filter(|row| row.site == site).cloned().collect();
        for cloud in clouds {
            self.unpair_cloud(cloud.id)?;
            self.associate(cloud.id, None, at)?;
            self.remove_cloud(cloud.id)?;
        }
        self.remove_site(site)?;
        Ok(answer)
    }

    fn is_gone_or_forced(&self, host: HostId, force: bool, at: &Moment) -> Result<(), Problem> {
        if force || self.is_gone(host, at) {
            return Ok(());
        }
        let what = format!(
            "host '{}' answers, or may have had no time to since the vault started",
            self.host_name(host)
        );
        let advice = "remove it once nothing uses it; force it where you know that it will never come back";
        Err(Problem::refused("host-answers", what, advice))
    }
}

fn finding(machine: MachineId, code: &str, what: String, advice: &str) -> Finding {
    let (severity, machine) = (Severity::Warning, Some(machine));
    Finding { severity, code: code.to_owned(), machine, what, advice: advice.to_owned() }
}
