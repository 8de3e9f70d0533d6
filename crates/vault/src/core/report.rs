//! What a site server reports: outcomes, lineages and inventories go into rows, the rest is
//! kept in memory. A report that says nothing new writes nothing.

use farshore_control::{
    report::{HostReport, Inventory, ReportReply},
    sync::{SiteReply, SiteReport},
};
use farshore_types::HostId;

use super::Core;
use crate::{
    Moment, Problem,
    rows::{HostRow, MachineRow, ObservedRow},
};

/// Rows touched by what hosts say after which no further host is heard in one transaction:
/// what follows of an outcome is some five rows more, and a store takes 20,000 at once.
const HEARD_MAX: usize = 2_000;

impl Core {
    /// Takes a site server's report, and gives its answer, which may leave only after the
    /// commit: it acknowledges what is durable then. Hosts that the answer does not name were
    /// not heard, because those before them had so much to say: they are told of again.
    ///
    /// # Errors
    /// An unknown site.
    pub fn site_report(&mut self, report: &SiteReport, at: &Moment) -> Result<SiteReply, Problem> {
        if self.tables.sites.get(&report.site).is_none() {
            return Err(Problem::unknown("site", report.site));
        }
        self.watch.heard_site(report, at);
        let mut hosts = Vec::new();
        let versions = report.hosts.iter().flat_map(|(_, host)| host.holds.values());
        versions.for_each(|version| self.hear_term(version.term));
        if self.head().superseded.is_some() {
            // Another vault speaks: what this one acknowledged would be lost to that one.
            return Ok(SiteReply { term: self.term(), hosts });
        }
        let begun = self.tables.mark_of_kept();
        for (age_ms, host) in &report.hosts {
            if self.tables.mark_of_kept().saturating_sub(begun) > HEARD_MAX {
                break;
            }
            let age_ms = age_ms.saturating_add(host.transit_ms).saturating_add(report.transit_ms);
            self.adopt_unknown_host(report, host);
            if self.tables.hosts.get(&host.host).is_some_and(|row| !row.removed) {
                hosts.push((host.host, self.host_report(age_ms, host, at)));
            }
        }
        self.see_to_deletions(at);
        self.end_learning(at);
        if self.tables.has_kept_changes() {
            self.publish(at);
        }
        self.move_jobs(at);
        Ok(SiteReply { term: self.term(), hosts })
    }

    fn host_report(&mut self, age_ms: u64, report: &HostReport, at: &Moment) -> ReportReply {
        let mut reply = ReportReply::default();
        let mut news = false;
        if !self.may_speak_to(report.host) {
            news = self.learn_from(report, at);
            reply.wants_documents = !news;
        }
        for lineage in &report.lineages {
            let tells = report.standings.iter().any(|standing| standing.machine == lineage.machine);
            self.adopt_lineage(lineage, Some((report.host, tells)), at);
        }
        for outcome in &report.outcomes {
            // What a host was asked may not be known before it has told all that it holds.
            let known = self.may_speak_to(report.host) || self.tables.requests.get(&outcome.id).is_some();
            if known && self.take_outcome(outcome) {
                reply.acknowledged.push(outcome.id);
            }
        }
        if self.is_newer(report) {
            news |= self.tables.observed.get(&report.host).is_none();
            self.observe(age_ms, report, at);
            reply.wants_inventory = self.take_inventory(report, at);
            if self.may_speak_to(report.host) {
                self.hear_of_lives(report, at);
            }
            self.drop_old_requests(report.host);
        }
        if news {
            // What was learned may name hosts where machines are no longer, as was said before.
            self.follow_moves(report.host);
        }
        reply
    }

    /// Whether a report is not of before the one known: reports of one run overtake each other.
    fn is_newer(&self, report: &HostReport) -> bool {
        let known = self.tables.observed.get(&report.host).map(|row| &row.report);
        known.is_none_or(|known| known.run != report.run || known.sequence < report.sequence)
    }

    fn observe(&mut self, age_ms: u64, report: &HostReport, at: &Moment) {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let told = signed(report.clock_ms.saturating_add(age_ms));
        self.tables.observed.put(ObservedRow {
            host: report.host,
            mono_ms: at.mono_ms,
            age_ms,
            skew_ms: told.saturating_sub(signed(at.wall_ms)),
            report: HostReport { inventory: None, documents: Vec::new(), ..report.clone() },
        });
    }

    /// Takes an inventory; whether one is wanted that is not in the report.
    fn take_inventory(&mut self, report: &HostReport, at: &Moment) -> bool {
        let known = self.tables.hosts.get(&report.host).map(|host| host.inventory_digest.as_str());
        if known == Some(report.inventory_digest.as_str()) {
            return false;
        }
        let Some(inventory) = &report.inventory else { return true };
        self.tables.hosts.change(&report.host, |host| {
            host.inventory_digest.clone_from(&report.inventory_digest);
            host.facts = inventory.host.clone();
            host.networks.clone_from(&inventory.networks);
            host.storage.clone_from(&inventory.storage);
        });
        self.take_machines(report.host, inventory);
        self.follow_moves(report.host);
        self.protect_new_machines(at);
        false
    }

    fn take_machines(&mut self, host: HostId, inventory: &Inventory) {
        let had: Vec<_> =
            self.tables.machines.rows().filter(|row| row.host == host).map(|row| row.facts.id).collect();
        for facts in &inventory.machines {
            let known = self.tables.machines.get(&(host, facts.id));
            let wants_protection = match known {
                Some(row) => row.wants_protection,
                None => self.is_new_and_wanted(host, facts),
            };
            self.tables.machines.put(MachineRow { host, facts: facts.clone(), wants_protection });
        }
        // What is not in the inventory is not on the host. That ends no protection (R5).
        for machine in had.iter().filter(|id| !inventory.machines.iter().any(|facts| facts.id == **id)) {
            self.tables.machines.remove(&(host, *machine));
            #[cfg(feature = "deliberate-bugs")]
            if self.has_bug(super::Bug::AbsenceIsRemoval) {
                self.end_for_absence(*machine);
            }
        }
    }

    #[cfg(feature = "deliberate-bugs")]
    fn end_for_absence(&mut self, machine: farshore_types::MachineId) {
        use crate::rows::{Ended, ReplicaFate};
        self.tables.protections.change(&machine, |row| {
            let why = "the machine is gone".to_owned();
            row.has_ended(Ended { why, at_ms: 0, replica: ReplicaFate::Kept });
        });
    }

    /// A host that the records do not name and that a site server lets in was enrolled after
    /// what was restored: it is known again, and somebody has to say to which cloud it belongs.
    /// In the first term nothing was ever restored, and there is no such host.
    fn adopt_unknown_host(&mut self, report: &SiteReport, host: &HostReport) {
        if self.term().number == 1 || self.tables.hosts.get(&host.host).is_some() {
            return;
        }
        self.tables.hosts.put(HostRow {
            id: host.host,
            site: report.site,
            cloud: None,
            name: host.host.to_string(),
            address: String::new(),
            principal: None,
            maintenance: false,
            machines_go_on: false,
            removed: false,
            heard_term: 0,
            inventory_digest: String::new(),
            facts: Default::default(),
            networks: Vec::new(),
            storage: Vec::new(),
        });
    }

    /// Lets time pass: learning ends, requests that expired are asked anew, new machines that
    /// could not be protected are tried again. To be called about every second.
    pub fn tick(&mut self, at: &Moment) {
        let before = self.tables.mark_of_published();
        let learned = self.head().learned;
        self.end_learning(at);
        self.see_to_deletions(at);
        self.see_to_times(at);
        self.see_to_twins(at);
        self.protect_new_machines(at);
        self.drop_old_operations(at);
        self.drop_old_jobs(at);
        if !learned || before != self.tables.mark_of_published() {
            self.publish(at);
        }
        self.begin_missing_courses(at);
        self.move_jobs(at);
    }

    /// Moves jobs on, once documents say what is wanted now, and writes what they changed.
    pub(crate) fn move_jobs(&mut self, at: &Moment) {
        let before = self.tables.mark_of_published();
        self.drive_jobs(at);
        if before != self.tables.mark_of_published() {
            self.publish(at);
        }
    }
}
