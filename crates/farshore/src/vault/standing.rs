//! How the vault itself stands, and its sites' servers as they say: certificates, backups.
//! Kept in memory; this module must never act on any of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farshore_channel::Upkeep;
use farshore_control::{hello::SiteHello, report::Problem};
use farshore_types::SiteId;

/// A handle; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    upkeep: Option<Arc<Upkeep>>,
    /// By their codes.
    troubles: BTreeMap<&'static str, Problem>,
    sites: BTreeMap<SiteId, SiteHello>,
}

impl Standing {
    /// What keeps the vault's own certificate.
    pub(crate) fn watch(&self, upkeep: Arc<Upkeep>) {
        self.state().upkeep = Some(upkeep);
    }

    /// Something is wrong, or is not any more.
    pub(crate) fn set(&self, code: &'static str, problem: Option<(String, String)>) {
        match problem {
            Some((what, advice)) => {
                self.state().troubles.insert(code, Problem { code: code.to_owned(), what, advice });
            }
            None => drop(self.state().troubles.remove(code)),
        }
    }

    /// A site server spoke of itself.
    pub(crate) fn heard(&self, hello: SiteHello) {
        self.state().sites.insert(hello.site, SiteHello { trust: None, ..hello });
    }

    /// What is wrong with the vault itself, now.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let state = self.state();
        let own = state.upkeep.iter().flat_map(|upkeep| upkeep.problems());
        own.chain(state.troubles.values().cloned()).collect()
    }

    /// When each site server's certificate ends, in milliseconds since the Unix epoch, as far
    /// as they have said.
    pub(crate) fn certificate_ends(&self) -> BTreeMap<SiteId, u64> {
        let ends = |(id, hello): (&SiteId, &SiteHello)| (*id, hello.certificate_until_ms);
        self.state().sites.iter().map(ends).filter(|(_, until)| *until > 0).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
