//! A real guest, protected from the vault: two sites with their servers, two hosts that are
//! enrolled, a policy, one command. Then everything above the agents is killed, and
//! replication goes on.

use std::{path::Path, time::Duration};

use farshore_e2e::plane::{Places, Plane};
use farshore_guest::Load;
use farshore_types::PointId;
use serde_json::Value;

use crate::site::{MACHINE, Site, program, wait};

/// A vault with two sites, their servers running, and a host enrolled at each.
pub(crate) fn above(site: &Site) -> Plane {
    above_at(site, Places::new())
}

/// The same, in places of their own.
pub(crate) fn above_at(site: &Site, places: Places) -> Plane {
    let farshore = Path::new(env!("CARGO_BIN_EXE_test-farshore"));
    let mut plane = Plane::on(farshore, program(), site.dir.path(), |_, _| {}, places).unwrap();
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

/// A backup of a vault that knows no protection yet.
fn back_up(site: &Site, above: &Plane) -> String {
    let file = site.dir.path().join("before.backup").display().to_string();
    let config = site.dir.path().join("vault.toml").display().to_string();
    above.operate(&["vault", "backup", "--to", &file, "--config", &config]).unwrap();
    file
}

/// The vault is as it was before the protection was enabled, its epoch issued, and the
/// retention raised.
fn restore(site: &Site, above: &Plane, backup: &str) {
    let config = site.dir.path().join("vault.toml").display().to_string();
    above.operate(&["vault", "restore", backup, "--force", "--config", &config]).unwrap();
}

/// What the restored vault's store lacks, it has learned: the protection under its epoch, and
/// that points are kept longer; the hosts hold the same, by the new term's documents.
fn nothing_was_taken_back(site: &Site, above: &Plane, before: &Value) {
    assert_eq!(above.json(&["status"]).unwrap()["vault"]["term"], 2, "it is a new term");
    let learned = above.protection(MACHINE).unwrap();
    for same in ["machine", "epoch", "source", "target"] {
        assert_eq!(learned[same], before[same], "{same}");
    }
    for host in [&site.home, &site.away] {
        let kept = wait("the documents of the new term", || {
            let text = std::fs::read_to_string(host.dir.join("state/managed.json")).ok()?;
            let kept: Value = serde_json::from_str(&text).ok()?;
            let documents = kept["documents"].as_array()?.clone();
            documents.into_iter().find(|document| {
                let told = &document["version"]["term"]["number"];
                document.to_string().contains("every_point_secs") && told.as_u64() == Some(2)
            })
        });
        assert!(kept.to_string().contains("\"every_point_secs\":14400"), "{}: {kept}", host.name);
    }
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
    let backup = back_up(&site, &above);
    // It waits for the first copy.
    above.operate(&["protect", MACHINE]).unwrap();
    let jobs = above.json(&["job", "list", "--machine", MACHINE]).unwrap();
    assert_eq!((&jobs[0]["kind"], &jobs[0]["state"]), (&"enable".into(), &"succeeded".into()), "{jobs}");
    let protected = wait("points that the vault knows", || {
        above.protection(MACHINE).filter(|p| p["points"].as_u64() >= Some(3) && p["state"] == "replicating")
    });
    assert!(protected["rpo_ms"].as_u64().unwrap() < 30_000, "{protected}");
    above.operate(&["policy", "set", "gold", "keep-every-point=4h"]).unwrap();

    above.kill_all();
    let alone = site.next_point();
    std::thread::sleep(Duration::from_secs(3));
    let later = site.next_point();
    assert!(later.id.number > alone.id.number, "replication goes on without anybody above");
    restore(&site, &above, &backup);
    above.start("vault", &["vault", "serve"]).unwrap();
    above.start("east", &["site", "serve"]).unwrap();
    above.start("west", &["site", "serve"]).unwrap();
    wait("the vault to know what happened meanwhile", || {
        above
            .protection(MACHINE)
            .filter(|p| newest(p) >= Some(later.id) && p["points"].as_u64() > protected["points"].as_u64())
    });
    nothing_was_taken_back(&site, &above, &protected);

    // A change of policy needs no new first copy, and a pause makes no points.
    above.operate(&["pause", MACHINE]).unwrap();
    wait("the pause", || above.protection(MACHINE).filter(|p| p["state"] == "paused"));
    above.operate(&["resume", MACHINE]).unwrap();
    site.next_point();
    above.operate(&["unprotect", MACHINE, "--keep-replica"]).unwrap();
    wait("the end of replication", || site.home.source().is_err().then_some(()));
    assert!(!site.points().is_empty(), "the replica stays");
    // A host that was lost to somebody else is refused within a minute.
    let revoked = std::time::Instant::now();
    above.operate(&["host", "revoke", "home"]).unwrap();
    wait("home to be refused", || above.log_of("east").contains("was revoked").then_some(()));
    assert!(revoked.elapsed() < Duration::from_secs(60), "it took {:?}", revoked.elapsed());
    assert!(!above.log_of("west").contains("was revoked"), "and nobody else");

    // The day on which nothing above is left, and home neither: the agent's own command.
    above.kill_all();
    let _ = site.home.kill_machines();
    site.home.kill_agent();
    let boots = site.verdicts().len();
    let _: farshore_agent::control::BroughtUp = site.away.command(&["bring-up", MACHINE, "--force"]).unwrap();
    site.verdict_after(boots);
}
