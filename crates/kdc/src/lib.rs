//! A real MIT key distribution centre on loopback, for tests: a realm with a few hosts, in a
//! directory of its own, on a port of its own, gone with its value. Nothing of the machine's
//! own Kerberos is read or written.
//!
//! The Kerberos library takes its files from the environment of the process. So a test that
//! uses it runs twice: first outside, where it starts the realm and then itself once more, as
//! a process with the realm's variables; there it does its work. [`Realm::again`] is that
//! second run, [`part`] tells which run this is.

#![expect(clippy::unwrap_used, reason = "a test's tool: what fails here fails the test")]

mod realm;

use std::{env, ffi::OsString, path::PathBuf};

pub use realm::Realm;

/// Names the realm's directory to a test's second run.
const PLACE: &str = "FARSHORE_KDC_PLACE";
/// Names the part that it plays there.
const PART: &str = "FARSHORE_KDC_PART";

/// The realm.
pub const REALM: &str = "FARSHORE.TEST";
/// Hosts whose keys are in the keytab.
pub const HOSTS: [&str; 3] = ["source.example", "target.example", "stranger.example"];
/// A host that the realm knows, and whose key is not in the keytab.
pub const KEYLESS: &str = "keyless.example";

/// A host's principal.
#[must_use]
pub fn principal_of(host: &str) -> String {
    format!("farshore/{host}@{REALM}")
}

/// Which part of a test this process plays; none: it is the first run.
///
/// # Panics
/// Where the realm's directory is gone.
#[must_use]
pub fn part() -> Option<String> {
    let part = env::var(PART).ok()?;
    // A second run that found no such test would end well, too.
    std::fs::write(place().join(realm::mark_of(&part)), "").unwrap();
    Some(part)
}

/// The realm's directory, in a test's second run.
#[must_use]
pub fn place() -> PathBuf {
    env::var_os(PLACE).expect("this is not a second run").into()
}

/// What the library is started with for a realm in `place`.
#[must_use]
pub fn environment(place: &std::path::Path) -> farshore_kerberos::Environment {
    farshore_kerberos::Environment::new(&place.join(realm::KEYTAB), &place.join(realm::REPLAYS))
}

/// Variables that make a process's clock wrong by so many seconds.
#[must_use]
pub fn clock_ahead(seconds: i64) -> Vec<(&'static str, OsString)> {
    let library = ["x86_64", "aarch64"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1")));
    let library = library.into_iter().find(|path| path.exists()).expect("faketime is not installed");
    vec![
        ("LD_PRELOAD", library.into()),
        ("FAKETIME", format!("{seconds:+}s").into()),
        // Only the wall's clock is wrong: nobody's timers are.
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ]
}
