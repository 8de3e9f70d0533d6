//! What is wrong with a configuration, each fault with its place. This module must never
//! know any program's keys.

use std::fmt;

use thiserror::Error;

use crate::{KeyPath, TEXT_BYTES_MAX, place};

/// One value that is not allowed, before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    key: KeyPath,
    what: String,
    allowed: String,
}

/// Collects what a [`Check`](crate::Check) finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Found>);

impl Faults {
    /// A value is not allowed: `what` is wrong with it, such as "is 100ms", and what is
    /// `allowed`, such as "1s to 1h".
    pub fn add(&mut self, key: impl Into<KeyPath>, what: impl fmt::Display, allowed: impl fmt::Display) {
        self.0.push(Found { key: key.into(), what: what.to_string(), allowed: allowed.to_string() });
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The key; empty where the text as a whole is at fault.
    pub key: KeyPath,
    /// What is wrong.
    pub what: String,
    /// What is allowed, where that is known apart from `what`.
    pub allowed: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.0.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        f.write_str(&self.what)?;
        self.allowed.iter().try_for_each(|allowed| write!(f, "; allowed: {allowed}"))
    }
}

/// A configuration cannot be used. Nothing of it was taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", joined(.faults))]
pub struct ConfigError {
    /// All that is wrong, in the order of the file; never empty.
    pub faults: Vec<Fault>,
}

fn joined(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    pub(crate) fn of_text(file: &str, text: &str, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let fault = Fault {
            file: file.to_owned(),
            line: place::line_of(text, span.start),
            key: place::key_at(text, &span),
            // The reader's own words name what is expected, and each variant of an enum.
            what: format!("is wrong: {}", error.message().replace('\n', ", ")),
            allowed: None,
        };
        ConfigError { faults: vec![fault] }
    }

    pub(crate) fn of_values(file: &str, text: &str, faults: Faults) -> ConfigError {
        let placed = faults.0.into_iter().map(|found| Fault {
            file: file.to_owned(),
            line: place::line_of_key(text, &found.key),
            key: found.key,
            what: found.what,
            allowed: Some(found.allowed),
        });
        let mut faults: Vec<Fault> = placed.collect();
        faults.sort_by_key(|fault| fault.line);
        ConfigError { faults }
    }

    pub(crate) fn too_large(file: &str, bytes: usize) -> ConfigError {
        let fault = Fault {
            file: file.to_owned(),
            line: 1,
            key: KeyPath::default(),
            what: format!("the file has {bytes} bytes"),
            allowed: Some(format!("up to {TEXT_BYTES_MAX} bytes")),
        };
        ConfigError { faults: vec![fault] }
    }
}
