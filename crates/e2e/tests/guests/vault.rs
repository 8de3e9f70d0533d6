//! A real guest, protected from the vault: two sites with their servers, two hosts that are
//! enrolled, a policy, one command. Then everything above the agents is killed, and
//! replication goes on.

use std::{path::Path, time::Duration};

use farshore_e2e::plane::Plane;
use farshore_guest::Load;
use farshore_types::PointId;
use serde_json::Value;

use crate::site::{MACHINE, Site, program, wait};

/// A vault with two sites, their servers running, and a host enrolled at each.
fn above(site: &Site) -> Plane {
    let farshore = Path::new(env!("CARGO_BIN_EXE_test-farshore"));
    let mut plane = Plane::new(farshore, program(), site.dir.path(), |_, _| {}).unwrap();
    for (name, host) in [("east", &site.home), ("west", &site.away)] {
        plane.add_site(name).unwrap();
        plane.enrol(host, name).unwrap();
    }
    plane
}

/// The newest point of a protection; as texts, the tenth would come before the ninth.
pub(crate) fn newest(protection: &Value) -> Option<PointId> {
    protection["newest"].as_str()?.parse().ok()
}

#[test]
fn a_guest_is_protected_by_one_command_and_stays_so_when_all_above_the_agents_is_gone() {
    let mut site = Site::new(Load::default());
    let mut above = above(&site);
    site.start_guest();
    site.home.start_agent().unwrap();
    site.away.start_agent().unwrap();
    wait("the vault to know the guest", || {
        let machines = above.json(&["machines"]).unwrap();
        machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
    });
    let refused = above.operate(&["protect", MACHINE]).unwrap_err();
    assert!(refused.contains("nothing was changed"), "no pair and no policy yet: {refused}");
    above.operate(&["cloud", "pair", "east", "west"]).unwrap();
    above.operate(&["policy", "add", "gold", "copy-frequency=1s"]).unwrap();
    above.operate(&["cloud", "associate", "east", "--policy", "gold"]).unwrap();
    // It waits for the first copy.
    above.operate(&["protect", MACHINE]).unwrap();
    let jobs = above.json(&["job", "list", "--machine", MACHINE]).unwrap();
    assert_eq!((&jobs[0]["kind"], &jobs[0]["state"]), (&"enable".into(), &"succeeded".into()), "{jobs}");
    let protected = wait("points that the vault knows", || {
        above.protection(MACHINE).filter(|p| p["points"].as_u64() >= Some(3) && p["state"] == "replicating")
    });
    assert!(protected["rpo_ms"].as_u64().unwrap() < 30_000, "{protected}");

    above.kill_all();
    let alone = site.next_point();
    std::thread::sleep(Duration::from_secs(3));
    let later = site.next_point();
    assert!(later.id.number > alone.id.number, "replication goes on without anybody above");
    above.start("vault", &["vault", "serve"]).unwrap();
    above.start("east", &["site", "serve"]).unwrap();
    above.start("west", &["site", "serve"]).unwrap();
    wait("the vault to know what happened meanwhile", || {
        above
            .protection(MACHINE)
            .filter(|p| newest(p) >= Some(later.id) && p["points"].as_u64() > protected["points"].as_u64())
    });

    // A change of policy needs no new first copy, and a pause makes no points.
    above.operate(&["pause", MACHINE]).unwrap();
    wait("the pause", || above.protection(MACHINE).filter(|p| p["state"] == "paused"));
    above.operate(&["resume", MACHINE]).unwrap();
    site.next_point();
    above.operate(&["unprotect", MACHINE, "--keep-replica"]).unwrap();
    wait("the end of replication", || site.home.source().is_err().then_some(()));
    assert!(!site.points().is_empty(), "the replica stays");

    // The day on which nothing above is left, and home neither: the agent's own command.
    above.kill_all();
    let _ = site.home.kill_machines();
    site.home.kill_agent();
    let boots = site.verdicts().len();
    let _: farshore_agent::control::BroughtUp = site.away.command(&["bring-up", MACHINE, "--force"]).unwrap();
    let verdict = wait("the guest's verdict", || site.verdicts().get(boots).copied());
    assert!(verdict.is_good() && verdict.last > 0, "{verdict}");
}
