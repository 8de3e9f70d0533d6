//! A member's certificate kept fresh while it runs: looked at every hour, renewed long before
//! its end, tried again with growing pauses, and replaced under open connections. What is
//! wrong with it, people are told. This module must never know who signs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use farshore_control::{enrolment::Reach, report::Problem};
use farshore_env::Clock;
use farshore_pki::{Bundle, Renewal, show_time};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    Backoff, Client, Keyring,
    limits::{AGE_LOOK, RENEW_PAUSE_MAX},
    renew,
};

/// Who gets a new certificate for the keyring's member.
#[async_trait]
pub trait Renewer: Send + Sync {
    /// A new certificate for a new key, with whom to trust.
    ///
    /// # Errors
    /// Why there is none now; it is tried again.
    async fn renewed(&self) -> Result<Bundle, Problem>;
}

/// Renews at the server that the client speaks to.
#[async_trait]
impl Renewer for (Client, Reach) {
    async fn renewed(&self) -> Result<Bundle, Problem> {
        renew(&self.0, self.1.clone()).await.map_err(|error| Problem {
            code: error.code().unwrap_or("unreachable").to_owned(),
            what: error.to_string(),
            advice: error.advice(),
        })
    }
}

/// The upkeep of one member's certificate.
pub struct Upkeep {
    keyring: Keyring,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    /// Why the last attempt failed.
    failed: Mutex<Option<Problem>>,
}

impl Upkeep {
    /// For the keyring of `dir`'s `identity.pem`.
    #[must_use]
    pub fn new(keyring: Keyring, dir: &Path, clock: Arc<dyn Clock>) -> Upkeep {
        Upkeep { keyring, dir: dir.to_owned(), clock, failed: Mutex::new(None) }
    }

    /// Looks and renews until stopped.
    pub async fn keep_renewed(&self, renewer: &dyn Renewer, stop: &CancellationToken) {
        let mut backoff = Backoff::up_to(RENEW_PAUSE_MAX);
        loop {
            let Some(looked) = stop.run_until_cancelled(self.look(renewer)).await else { return };
            let pause = if looked {
                backoff.reset();
                AGE_LOOK
            } else {
                backoff.pause()
            };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Renews where the time has come; false where that failed.
    async fn look(&self, renewer: &dyn Renewer) -> bool {
        if self.keyring.facts().renewal(self.now()) == Renewal::Fresh {
            *self.failed() = None;
            return true;
        }
        let stored = match renewer.renewed().await {
            Ok(bundle) => self.store(bundle).await,
            Err(problem) => Err(problem),
        };
        let failed = stored.err();
        match &failed {
            None => {
                let until = show_time(self.keyring.facts().not_after);
                tracing::info!(until, "the certificate was renewed");
            }
            // Once for each reason: it is tried again and again.
            Some(problem) if self.failed().as_ref() != failed.as_ref() => {
                let Problem { what, advice, .. } = problem;
                tracing::warn!(what, advice, "the certificate is not renewed yet");
            }
            Some(_) => {}
        }
        let renewed = failed.is_none();
        *self.failed() = failed;
        renewed
    }

    async fn store(&self, bundle: Bundle) -> Result<(), Problem> {
        let (keyring, dir) = (self.keyring.clone(), self.dir.clone());
        let stored = tokio::task::spawn_blocking(move || keyring.store(&dir, bundle)).await;
        let problem = |what: String, advice: String| Problem { code: "unstored".to_owned(), what, advice };
        match stored {
            Ok(stored) => stored.map_err(|error| problem(error.to_string(), error.advice())),
            Err(error) => Err(problem(error.to_string(), "look into the log".to_owned())),
        }
    }

    /// What people have to see to: a certificate that is not renewed though its end is near,
    /// an authority whose own end is.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let (now, facts) = (self.now(), self.keyring.facts());
        let mut problems = Vec::new();
        if facts.renewal(now) == Renewal::Late {
            let until = show_time(facts.not_after);
            let (why, advice) = match self.failed().clone() {
                Some(problem) => (problem.what, problem.advice),
                None => ("it was not tried yet".to_owned(), "look again in a minute".to_owned()),
            };
            problems.push(Problem {
                code: "certificate-late".to_owned(),
                what: format!("the certificate of {} ends on {until}, and is not renewed: {why}", facts.name),
                advice,
            });
        }
        let authority = self.keyring.authority_facts();
        if let Ok(authority) = authority
            && authority.authority_is_late(now)
        {
            problems.push(Problem {
                code: "authority-ending".to_owned(),
                what: format!(
                    "the certificate of the vault's authority ends on {}, and every other one with it",
                    show_time(authority.not_after)
                ),
                advice: "plan a new authority before then: see 'The authority's end' in docs/vault.md"
                    .to_owned(),
            });
        }
        problems
    }

    /// When the certificate ends, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn until_ms(&self) -> u64 {
        u64::try_from(self.keyring.facts().not_after).unwrap_or_default().saturating_mul(1000)
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.clock.wall_ms())
    }

    fn failed(&self) -> MutexGuard<'_, Option<Problem>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
