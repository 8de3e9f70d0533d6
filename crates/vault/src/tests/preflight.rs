//! Pre-flight tells everything at once and changes nothing.

use farshore_control::Wire;
use farshore_policy::{Change, PolicyPatch};
use farshore_types::MachineId;
use uuid::Uuid;

use super::world::{GIB, World, id, machine};
use crate::{Command, Enable, Maintenance, MapTo, Severity};

fn codes(world: &mut World, enable: &Enable) -> Vec<(String, Severity)> {
    let at = world.moment();
    let before = world.core.clone();
    let findings = world.core.preflight(enable, &at);
    assert_eq!(world.core, before, "a look changes nothing");
    assert!(findings.iter().all(|f| !f.what.is_empty() && !f.advice.is_empty()));
    findings.into_iter().map(|finding| (finding.code, finding.severity)).collect()
}

fn one(n: u128) -> Enable {
    Enable { machines: vec![id(n)], ..Enable::default() }
}

fn has(found: &[(String, Severity)], code: &str, severity: Severity) -> bool {
    found.contains(&(code.to_owned(), severity))
}

#[test]
fn a_plain_machine_has_only_its_unmapped_network_against_it() {
    let mut world = World::new();
    assert_eq!(codes(&mut world, &one(1)), [("network-unmapped".to_owned(), Severity::Warning)]);
    let (from_site, to_site) = (world.sites[0], world.sites[1]);
    let map = |to: &str| MapTo { from_site, to_site, from: "lan".to_owned(), to: Some(to.to_owned()) };
    world.run(&Command::MapNetwork(map("far")));
    assert_eq!(codes(&mut world, &one(1)), []);
    world.run(&Command::MapNetwork(map("nowhere")));
    assert_eq!(codes(&mut world, &one(1)), [("network-missing".to_owned(), Severity::Error)]);
}

#[test]
fn everything_is_told_at_once_and_nothing_is_enabled() {
    let mut world = World::new();
    let mut odd = machine(1);
    odd.disks[0].tracking = "left-out".to_owned();
    odd.disks[0].storage = Some("nvme".to_owned());
    world.agent(0).machines = vec![odd, machine(3)];
    for host in [2, 3] {
        world.agent(host).free = GIB;
    }
    world.all_report();
    world.enable_quietly(3);
    let settings = PolicyPatch { wire: Change::Set(Wire::Kerberos), ..PolicyPatch::default() };
    world.run(&Command::ChangePolicy { policy: world.policy, settings });
    let machines = vec![id(1), id(2), id(3), id(9), id(9)];
    let excluded = ["vdz".parse().unwrap()].into();
    let startable = vec![(id(1), "no such machine type".to_owned(), "update QEMU".to_owned())];
    let enable = Enable { machines, excluded, startable, ..Enable::default() };
    let found = codes(&mut world, &enable);
    for code in [
        "machine-twice",
        "machine-unknown",
        "protected-already",
        "disk-unknown",
        "no-disks",
        "no-principal",
        "no-room",
        "not-startable",
    ] {
        assert!(has(&found, code, Severity::Error), "{code} in {found:?}");
    }
    for code in ["disk-left-out", "network-unmapped", "storage-unmapped"] {
        assert!(has(&found, code, Severity::Warning), "{code} in {found:?}");
    }
    let refused = world.try_run(&Command::Enable(enable)).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.details.len()), ("preflight", found.len()));
    assert!(world.core.protection(id(2)).is_none(), "all or none");
}

impl World {
    /// Enables a machine although there is little room, by making some for a moment.
    fn enable_quietly(&mut self, n: u128) {
        for host in [2, 3] {
            self.agent(host).free = 500 * GIB;
        }
        self.all_report();
        self.enable(n);
        for host in [2, 3] {
            self.agent(host).free = GIB;
        }
        self.all_report();
    }
}

#[test]
fn a_disk_needs_the_room_that_it_takes_not_the_room_that_it_could() {
    let mut world = World::new();
    let large = |world: &mut World, allocated| {
        let disk = &mut world.agent(0).machines[0].disks[0];
        (disk.size, disk.allocated) = (100_000 * GIB, allocated);
        world.all_report();
        codes(world, &one(1))
    };
    let found = large(&mut world, None);
    assert!(has(&found, "no-room", Severity::Error), "{found:?}");
    let found = large(&mut world, Some(GIB));
    assert!(found.iter().all(|finding| !finding.0.contains("room")), "{found:?}");
}

#[test]
fn of_a_tpm_it_is_told_before_that_its_state_does_not_travel() {
    let mut world = World::new();
    assert!(!has(&codes(&mut world, &one(1)), "tpm-left-out", Severity::Warning));
    world.agent(0).machines[0].tpm = true;
    world.all_report();
    assert!(has(&codes(&mut world, &one(1)), "tpm-left-out", Severity::Warning));
    world.run(&Command::Enable(one(1)));
    assert!(world.core.protection(id(1)).is_some(), "it is told, and stands against nothing");
}

#[test]
fn the_same_machine_on_two_hosts_is_protected_by_neither() {
    let mut world = World::new();
    world.agent(1).machines.push(machine(1));
    world.all_report();
    assert!(has(&codes(&mut world, &one(1)), "machine-on-two-hosts", Severity::Error));
}

#[test]
fn the_target_with_the_most_room_is_chosen_and_machines_are_spread() {
    let mut world = World::new();
    world.agent(2).free = 100 * GIB;
    world.agent(3).free = 115 * GIB;
    world.all_report();
    let machines = vec![id(1), id(2), id(3)];
    world.run(&Command::Enable(Enable { machines, ..Enable::default() }));
    let targets: Vec<_> = [1, 2, 3].map(|n| world.core.protection(id(n)).unwrap().target()).into();
    assert_eq!(targets, [world.hosts[3], world.hosts[2], world.hosts[3]]);
}

#[test]
fn a_named_target_has_to_be_in_the_paired_cloud_and_usable() {
    let mut world = World::new();
    let to = |world: &World, host: usize| Enable { target: Some(world.hosts[host]), ..one(1) };
    let wrong = to(&world, 1);
    assert!(has(&codes(&mut world, &wrong), "target-not-in-cloud", Severity::Error));
    world.run(&Command::SetMaintenance { host: world.hosts[2], on: true, how: Maintenance::default() });
    let resting = to(&world, 2);
    assert!(has(&codes(&mut world, &resting), "target-maintenance", Severity::Error));
    world.run(&Command::SetMaintenance { host: world.hosts[3], on: true, how: Maintenance::default() });
    assert!(has(&codes(&mut world, &one(1)), "no-target", Severity::Error));
}

#[test]
fn a_place_is_chosen_by_the_storage_mapping_and_stays() {
    let mut world = World::new();
    let mut stored = machine(1);
    stored.disks[0].storage = Some("ssd".to_owned());
    world.agent(0).machines = vec![stored];
    world.all_report();
    let (from_site, to_site) = (world.sites[0], world.sites[1]);
    let map = |to: Option<&str>| {
        Command::MapStorage(MapTo { from_site, to_site, from: "ssd".to_owned(), to: to.map(str::to_owned) })
    };
    world.run(&map(Some("tape")));
    assert!(has(&codes(&mut world, &one(1)), "storage-missing", Severity::Error));
    world.run(&map(Some("ssd")));
    world.enable(1);
    world.run(&map(None));
    world.deliver_all();
    assert_eq!(world.protection(0, 1).place.as_deref(), Some("/srv/ssd"));
}

#[test]
fn without_pair_or_policy_nothing_is_protected_and_the_reason_is_told() {
    let mut world = World::new();
    world.run(&Command::Associate { cloud: world.clouds[0], policy: None });
    assert!(has(&codes(&mut world, &one(1)), "no-policy", Severity::Error));
    world.run(&Command::UnpairCloud { cloud: world.clouds[0] });
    assert!(has(&codes(&mut world, &one(1)), "cloud-not-paired", Severity::Error));
    let none = Enable::default();
    assert!(has(&codes(&mut world, &none), "no-machines", Severity::Error));
    let many = Enable { machines: (0..1001).map(|n| MachineId(Uuid::from_u128(n))).collect(), ..none };
    assert!(has(&codes(&mut world, &many), "too-many-machines", Severity::Error));
}
