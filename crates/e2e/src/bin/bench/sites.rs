//! Two sites, each with a server and a host, a vault above them, and a machine that stands still on
//! the first host: every program one of its own, ordered through the API as an operator does.

use std::{path::Path, time::Duration};

use farshore_e2e::{
    host::{Outcome, TestHost},
    plane::{Plane, until},
};
use farshore_hypervisor::Start;

use crate::{
    lab::{Lab, text},
    machine::MACHINE,
};

/// How long a machine may take to shut down.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(1);

/// The sites; everything goes with the directory.
pub(crate) struct Sites {
    pub(crate) plane: Plane,
    /// Runs the machine.
    pub(crate) home: TestHost,
    pub(crate) away: TestHost,
    _dir: tempfile::TempDir,
}

impl Sites {
    /// Sites that are paired, with a policy, of which the vault knows the machine; `definition`
    /// makes that in the directory.
    pub(crate) fn new(
        lab: &Lab,
        settings: &[&str],
        definition: impl FnOnce(&Path) -> Outcome<String>,
    ) -> Outcome<Sites> {
        let dir = tempfile::Builder::new().prefix("sites-").tempdir_in(&lab.dir).map_err(text)?;
        let mut plane = Plane::new(&lab.farshore(), &lab.agent, dir.path(), |_, _| {})?;
        let mut host = |name: &str, site: &str| {
            plane.add_site(site)?;
            let host = TestHost::bare(&lab.agent, dir.path(), name)?;
            plane.enrol(&host, site)?;
            Ok::<_, String>(host)
        };
        let (mut home, mut away) = (host("home", "east")?, host("away", "west")?);
        home.place(&definition(dir.path())?, Start::Paused)?;
        for host in [&mut home, &mut away] {
            host.configure_more(&format!("shutdown_deadline = '{}s'\n", SHUTDOWN.as_secs()))?;
            host.start_agent()?;
            host.settle()?;
        }
        until("the vault to know the machine", || {
            let all = plane.json(&["machine", "list"]).unwrap_or_default();
            all.as_array().is_some_and(|all| all.iter().any(|machine| machine["name"] == MACHINE))
        })?;
        plane.quietly(&["cloud", "pair", "east", "west"])?;
        plane.quietly(&[&["policy", "add", "gold"], settings].concat())?;
        plane.quietly(&["cloud", "associate", "east", "--policy", "gold"])?;
        Ok(Sites { plane, home, away, _dir: dir })
    }
}
