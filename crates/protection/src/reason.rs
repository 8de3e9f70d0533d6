//! What is answered about an operation. This module must never know any operation.

use serde::{Deserialize, Serialize};

use crate::{
    bug::{self, Bug},
    operation::Confirm,
};

/// Why something is not so, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// A short fixed word for programs.
    pub code: String,
    /// What and why.
    pub what: String,
    /// What to do instead.
    pub advice: String,
}

/// Whether an operation is allowed now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// It is, when these are confirmed.
    Allowed {
        /// What the person who orders it must say to know.
        confirm: Vec<Confirm>,
    },
    /// What it asks for is so already, or is being done.
    Already(Reason),
    /// It is not.
    Refused(Reason),
}

impl Reason {
    pub(crate) fn new(code: &str, what: impl Into<String>, advice: &str) -> Reason {
        let advice = if bug::is(Bug::SaysNothing) { "" } else { advice };
        Reason { code: code.to_owned(), what: what.into(), advice: advice.to_owned() }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.what, self.advice)
    }
}

impl std::error::Error for Reason {}

impl Answer {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Answer::Allowed { .. })
    }

    /// Why it is not, if it is not.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Answer::Allowed { .. } => None,
            Answer::Already(reason) | Answer::Refused(reason) => Some(reason),
        }
    }

    pub(crate) const fn yes() -> Answer {
        Answer::Allowed { confirm: Vec::new() }
    }

    pub(crate) fn no(code: &str, what: impl Into<String>, advice: &str) -> Answer {
        Answer::Refused(Reason::new(code, what, advice))
    }

    pub(crate) fn already(code: &str, what: impl Into<String>, advice: &str) -> Answer {
        Answer::Already(Reason::new(code, what, advice))
    }
}
