//! What is told when something cannot be done: what and where, and what to do instead.

use std::fmt;

use farshore_types::MachineId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why something was not done. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{what}; {advice}")]
pub struct Problem {
    /// Of which kind.
    pub kind: ProblemKind,
    /// A short fixed word for programs.
    pub code: String,
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// Everything that was found, where there is more than one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Finding>,
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// What was asked for makes no sense.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Something else stands against it: a name that is taken, something in use.
    Conflict,
    /// It is not allowed as things are.
    Refused,
    /// It cannot be done now; later it can.
    Unavailable,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A short fixed word for programs.
    pub code: String,
    /// The machine it is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is as good as done, but not as somebody may expect.
    Warning,
    /// It stands against it.
    Error,
}

/// That so many findings stand against something: a sentence without its end.
pub(crate) fn stand_against(errors: usize) -> String {
    if errors == 1 { "one thing stands against".to_owned() } else { format!("{errors} things stand against") }
}

/// So many machines.
pub(crate) fn machines(count: usize) -> String {
    if count == 1 { "one machine".to_owned() } else { format!("{count} machines") }
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, code: &str, what: impl fmt::Display, advice: &str) -> Problem {
        let (code, what, advice) = (code.to_owned(), what.to_string(), advice.to_owned());
        Problem { kind, code, what, advice, details: Vec::new() }
    }

    pub(crate) fn invalid(code: &str, what: impl fmt::Display, advice: &str) -> Problem {
        Problem::new(ProblemKind::Invalid, code, what, advice)
    }

    pub(crate) fn conflict(code: &str, what: impl fmt::Display, advice: &str) -> Problem {
        Problem::new(ProblemKind::Conflict, code, what, advice)
    }

    pub(crate) fn refused(code: &str, what: impl fmt::Display, advice: &str) -> Problem {
        Problem::new(ProblemKind::Refused, code, what, advice)
    }

    pub(crate) fn unavailable(code: &str, what: impl fmt::Display, advice: &str) -> Problem {
        Problem::new(ProblemKind::Unavailable, code, what, advice)
    }

    /// There is no such thing.
    pub(crate) fn unknown(what: &str, id: impl fmt::Display) -> Problem {
        let code = format!("{what}-unknown");
        Problem::new(
            ProblemKind::NotFound,
            &code,
            format!("there is no {what} {id}"),
            "list them, and name one",
        )
    }

    /// Something is used by others, which are named.
    pub(crate) fn in_use(what: impl fmt::Display, users: &[String]) -> Problem {
        const SHOWN: usize = 5;
        let more = users.len().saturating_sub(SHOWN);
        let mut names = users[..users.len() - more].join(", ");
        if more > 0 {
            names.push_str(&format!(" and {more} more"));
        }
        let what = format!("{what} is in use by {names}");
        Problem::conflict("in-use", what, "take it away from there first")
    }

    pub(crate) fn with_details(mut self, details: Vec<Finding>) -> Problem {
        self.details = details;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        let said = |errors, count| format!("{} protecting {}", stand_against(errors), machines(count));
        assert_eq!(said(1, 1), "one thing stands against protecting one machine");
        assert_eq!(said(2, 3), "2 things stand against protecting 3 machines");
    }
}
