//! Registration and revocation under an idempotency key: sent again, they are done once. A
//! registration key is shown once and kept nowhere, so one that is asked for again is another
//! one, and that of before holds no more: there is never more than one for a request.

use farshore_pki::Registration;
use farshore_vault::{Problem, ProblemKind};

use super::{Books, problem};
use crate::vault::papers::{Done, OperationPaper};

/// Longest idempotency key, in bytes.
const KEY_MAX: usize = 128;

/// A request that may have been sent before.
pub(super) struct Once {
    key: Option<String>,
    /// What it asks for.
    asked: String,
}

impl Once {
    pub(super) fn new(key: Option<String>, asked: String) -> Once {
        Once { key, asked }
    }

    /// What the same request came to before.
    ///
    /// # Errors
    /// The key is none, or was another request's.
    pub(super) fn before(&self, books: &Books<'_>) -> Result<Option<Done>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        if key.is_empty() || key.len() > KEY_MAX {
            let what = format!("the idempotency key has {} bytes", key.len());
            let advice = "use 1 to 128 bytes, such as a UUID";
            return Err(problem(ProblemKind::Invalid, "idempotency-key", what, advice));
        }
        let known = books.papers.operation(key, books.at.wall_ms);
        let other = known.as_ref().is_some_and(|known| known.asked != self.asked);
        if other || books.core.operation(key.clone()).is_some() {
            let what = format!("the idempotency key '{key}' was used for another request");
            return Err(problem(ProblemKind::Conflict, "idempotency-key", what, "use another key"));
        }
        Ok(known.map(|known| known.done))
    }

    /// Makes room for a registration: that of before holds no more.
    ///
    /// # Errors
    /// That was used meanwhile; a key that is none.
    pub(super) fn withdraw(&self, books: &mut Books<'_>) -> Result<(), Problem> {
        let Some(Done::Registered(id)) = self.before(books)? else { return Ok(()) };
        let Some((before, holder)) = books.papers.registration(id) else { return Ok(()) };
        if let Some(used) = &before.used {
            let what =
                format!("the registration key that was made for this request was used by '{}'", used.name);
            let advice = "ask under another idempotency key for one more";
            return Err(problem(ProblemKind::Conflict, "registration-used", what, advice));
        }
        books.papers.put_registration(&Registration { withdrawn: true, ..before }, holder);
        Ok(())
    }

    /// Notes what it came to.
    pub(super) fn note(self, books: &mut Books<'_>, done: Done) {
        if let Some(key) = self.key {
            let at_ms = books.at.wall_ms;
            books.papers.put_operation(&OperationPaper { key, asked: self.asked, at_ms, done });
        }
    }
}
