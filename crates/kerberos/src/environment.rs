//! The library is told of its files by variables of the process, and by nothing else. They
//! have to be there when the process begins: to change them later would be a race with every
//! thread that reads them. This module must never change anything.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Tickets are kept in memory: they are had anew from the keytab, and lie on no disk.
const TICKETS: &str = "MEMORY:farshore";
/// Names the directory of what was seen.
const REPLAYS: &str = "KRB5RCACHEDIR";

/// What the process of a host has to be started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    keytab: PathBuf,
    replays: PathBuf,
}

impl Environment {
    /// For a keytab; `replays` is a directory of the agent's own, in which the library keeps
    /// what it has seen.
    #[must_use]
    pub fn new(keytab: &Path, replays: &Path) -> Environment {
        Environment { keytab: keytab.to_owned(), replays: replays.to_owned() }
    }

    /// Names and values.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, OsString); 4] {
        let mut keytab = OsString::from("FILE:");
        keytab.push(&self.keytab);
        [
            ("KRB5_KTNAME", keytab.clone()),
            ("KRB5_CLIENT_KTNAME", keytab),
            ("KRB5CCNAME", TICKETS.into()),
            (REPLAYS, self.replays.clone().into()),
        ]
    }

    /// Whether this process was started for the keytab. Where it keeps what it has seen may
    /// be another place.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let needed = self.variables();
        let mut needed = needed.iter().filter(|(name, _)| *name != REPLAYS);
        needed.all(|(name, value)| env::var_os(name).as_ref() == Some(value))
    }
}
