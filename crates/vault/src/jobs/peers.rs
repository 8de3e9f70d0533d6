//! Whether hosts are configured, and reach each other. This module must never change a row.

use farshore_control::{Key, request::Answer};
use farshore_job::Outcome;
use farshore_types::HostId;
use serde_json::{Value, json};

use super::{
    act::peer_requests,
    check::ADVICE_FAULT,
    look::{Asked, Look, SILENT_MS},
};
use crate::{Core, Moment, preflight::SKEW_MS_MAX};

impl Core {
    pub(super) fn is_configured(&self, host: HostId, for_ms: u64, at: &Moment) -> Look {
        match self.holds(&Key::Host(host), host) {
            true => Look::reached(),
            false => self.patience(host, "takes its configuration", for_ms, at),
        }
    }

    pub(super) fn reaches(&self, asked: &Asked<'_>, host: HostId, peers: &[HostId], at: &Moment) -> Look {
        let (mut met, mut failed, mut open) = (Vec::new(), Vec::new(), 0);
        for (request, peer) in peer_requests(asked.id, peers) {
            let name = self.host_name(peer);
            match self.ending_of(request) {
                Some(Ok(Answer::Peer { setup_ms, skew_ms, .. })) => {
                    met.push(json!({ "host": name, "setup_ms": setup_ms, "skew_ms": skew_ms }));
                    if skew_ms.abs() > SKEW_MS_MAX {
                        let what = format!("its clock and that of host '{name}' are {skew_ms} ms apart");
                        failed.push((what, "set up time synchronisation".to_owned()));
                    }
                }
                Some(Ok(_)) => failed.push((format!("host '{name}': no measure"), ADVICE_FAULT.to_owned())),
                Some(Err(Outcome::Failed { what, advice, .. })) => {
                    failed.push((format!("host '{name}': {what}"), advice));
                }
                Some(Err(_)) => failed.push((format!("host '{name}' was not asked in time"), String::new())),
                None if self.is_removed(peer) => {}
                None => open += 1,
            }
        }
        if open > 0 {
            // Peers that are away are waited for by whoever tries to reach them.
            return match self.silence(host, at).filter(|_| asked.for_ms >= SILENT_MS) {
                Some(_) => self.patience(host, "reaches them", asked.for_ms, at),
                None => Look::wait(self.why_waiting(host, &format!("has tried {open} more hosts"), at)),
            };
        }
        match failed.first() {
            None => Look::done(json!({ "reached": met })),
            Some((_, advice)) => {
                let all: Vec<&str> = failed.iter().map(|(what, _)| what.as_str()).collect();
                let (what, advice) = (all.join("; "), advice.clone());
                Look::End(Outcome::Failed { what, advice, again: true })
            }
        }
    }
}
