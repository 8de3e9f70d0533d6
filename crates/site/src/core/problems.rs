//! What is wrong, for people: here, and told to the vault once it hears again. This module
//! must never change anything.

use std::time::Duration;

use farshore_control::report::Problem;
use farshore_types::HostId;

use super::{Core, SILENCE_TOLD};

impl Core {
    /// What is wrong with this server itself, or was while the vault could not be told.
    #[must_use]
    pub fn own_problems(&self, now: Duration) -> Vec<Problem> {
        let told = self.vault.was_silent.filter(|(_, back)| now.saturating_sub(*back) < SILENCE_TOLD);
        let problem = told.map(|(silent, back)| Problem {
            code: "vault-was-silent".to_owned(),
            what: format!(
                "its site server could not reach the vault for {} s, until {} s ago",
                silent.as_secs(),
                now.saturating_sub(back).as_secs()
            ),
            advice: "replication went on; look at the vault and at the line to it".to_owned(),
        });
        problem.into_iter().collect()
    }

    /// Milliseconds since each host has spoken.
    pub(crate) fn silences(&self, now: Duration) -> Vec<(HostId, u64)> {
        let hosts = self.hosts.iter();
        hosts.map(|(id, host)| (*id, millis_since(host.hearing.since(), now))).collect()
    }

    /// Milliseconds since the vault has answered, or since this server began.
    pub(crate) fn vault_silent_ms(&self, now: Duration) -> u64 {
        millis_since(self.vault.hearing.since(), now)
    }

    /// What is wrong now, for people at this site.
    #[must_use]
    pub fn problems(&self, now: Duration) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.vault.hearing.is_silent() {
            let secs = now.saturating_sub(self.vault.hearing.since()).as_secs();
            problems.push(Problem {
                code: "vault-silent".to_owned(),
                what: format!("the vault has not answered for {secs} s"),
                advice: "replication goes on; if the vault is lost, promote this site".to_owned(),
            });
        }
        let silent = self.hosts.iter().filter(|(_, host)| host.hearing.is_silent());
        problems.extend(silent.map(|(id, host)| Problem {
            code: "host-silent".to_owned(),
            what: format!(
                "host {id} has not spoken for {} s",
                now.saturating_sub(host.hearing.since()).as_secs()
            ),
            advice: "look whether its agent runs, and reaches this site server".to_owned(),
        }));
        problems
    }
}

fn millis_since(since: Duration, now: Duration) -> u64 {
    u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX)
}
