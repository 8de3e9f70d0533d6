//! Owners that changed without the vault, machines that moved, and machines that are gone.

use farshore_control::{Intent, Verdict};
use farshore_policy::{Change, PolicyPatch};
use farshore_protection::{Operation, State};

use super::{
    failover::protected,
    world::{World, id, machine},
};
use crate::{Bug, Command, Maintenance, MapTo};

/// Where the replica of machine 1 is, as a place among the hosts.
fn target(world: &World) -> usize {
    let target = world.core.protection(id(1)).unwrap().target();
    world.hosts.iter().position(|host| *host == target).unwrap()
}

fn broken_glass() -> (World, usize) {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let at = target(&world);
    world.agent(at).break_glass(id(1), 77);
    (world, at)
}

#[test]
fn an_owner_that_took_over_without_the_vault_turns_the_protection_round_and_pauses_it() {
    let (mut world, at) = broken_glass();
    let host = world.hosts[at];
    world.report(host);
    let row = world.core.protection(id(1)).unwrap();
    assert_eq!((row.source(), row.target(), row.intent()), (host, world.hosts[0], Intent::Pause));
    assert!(row.note.as_ref().unwrap().contains("epoch 2"));
    world.deliver_all();
    let held = world.protection(0, 1);
    assert_eq!((held.epoch.number, held.epoch.token, held.source.host), (2, 77, host));
}

#[test]
fn a_place_that_was_chosen_on_one_host_is_not_wanted_on_another() {
    let mut world = World::new();
    let mut stored = machine(1);
    stored.disks[0].storage = Some("ssd".to_owned());
    world.agent(0).machines = vec![stored];
    world.all_report();
    let (from_site, to_site) = (world.sites[0], world.sites[1]);
    let (from, to) = ("ssd".to_owned(), Some("ssd".to_owned()));
    world.run(&Command::MapStorage(MapTo { from_site, to_site, from, to }));
    world.enable(1);
    world.deliver_all();
    assert_eq!(world.protection(0, 1).place.as_deref(), Some("/srv/ssd"));
    let at = target(&world);
    world.agent(at).break_glass(id(1), 77);
    world.report(world.hosts[at]);
    world.deliver_all();
    assert_eq!(world.protection(0, 1).place, None);
}

#[test]
fn no_document_carries_an_epoch_below_one_that_was_reported() {
    let (mut world, at) = broken_glass();
    world.report(world.hosts[at]);
    world.run(&Command::RenameHost { host: world.hosts[0], name: "other".to_owned() });
    let verdicts: Vec<Verdict> = (0..2).flat_map(|site| world.deliver(site)).map(|(.., v)| v).collect();
    assert!(verdicts.iter().all(|v| *v == Verdict::Taken), "{verdicts:?}");
}

#[test]
fn a_vault_that_forgets_epochs_is_caught() {
    let (mut world, at) = broken_glass();
    world.core = world.core.clone().with_bug(Bug::ForgetsEpochs);
    world.report(world.hosts[at]);
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    let site = at / 2;
    let low = world.deliver(site).into_iter().any(|(.., v)| matches!(v, Verdict::LowerEpoch { .. }));
    assert!(low);
}

#[test]
fn two_owners_of_one_epoch_stop_resuming_and_enabling_until_somebody_decides() {
    let (mut world, at) = broken_glass();
    world.agent(0).break_glass(id(1), 78);
    world.report(world.hosts[at]);
    world.report(world.hosts[0]);
    assert_eq!(world.core.epoch(id(1)).unwrap().conflict.map(|epoch| epoch.token), Some(78));
    let resume = Command::SetPaused { machine: id(1), paused: false };
    assert_eq!(world.try_run(&resume).unwrap_err().code, "epoch-conflict");
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    let problem = world
        .try_run(&Command::Enable(crate::Enable { machines: vec![id(1)], ..Default::default() }))
        .unwrap_err();
    assert!(problem.details.iter().any(|finding| finding.code == "epoch-conflict"));
    // What has ended can still be settled, and then protected anew.
    let stranger = Some(world.hosts[1]);
    let refused = world.order_with(|order| order.winner = stranger, Operation::DeclareWinner).unwrap_err();
    assert_eq!(refused.code, "no-winner");
    let winner = Some(world.hosts[0]);
    let answer = world.order_with(|order| order.winner = winner, Operation::DeclareWinner).unwrap();
    assert!(answer.jobs.is_empty(), "nothing is brought up: the machine is not protected");
    let settled = *world.core.epoch(id(1)).unwrap();
    assert_eq!((settled.epoch.number, settled.owner, settled.conflict), (3, world.hosts[0], None));
    assert_eq!(world.state(), State::Disabled);
    let again = world.order_with(|order| order.winner = winner, Operation::DeclareWinner).unwrap_err();
    assert_eq!(again.code, "disabled", "nobody contests it any more");
    world.run(&Command::Enable(crate::Enable { machines: vec![id(1)], ..Default::default() }));
    assert_eq!(world.core.epoch(id(1)).unwrap().epoch.number, 4);
}

#[test]
fn what_a_third_host_owns_by_itself_is_contested_and_a_person_settles_it() {
    for number in [1, 2] {
        let mut world = protected();
        let third = 5 - world.target();
        (1..=number).for_each(|token| world.agent(third).break_glass(id(1), 70 + token));
        world.report(world.hosts[third]);
        assert_eq!(world.state(), State::Contested, "by epoch {number}");
        assert_eq!(world.row().source(), world.hosts[0], "nobody is believed silently");
        let winner = Some(world.hosts[0]);
        world.order_with(|order| order.winner = winner, Operation::DeclareWinner).unwrap();
        world.rounds(4);
        let row = world.row();
        assert_eq!((row.life.rival, row.source()), (None, world.hosts[0]));
        assert!(row.life.epoch.number > number.try_into().unwrap());
    }
}

#[test]
fn a_protection_follows_its_machine_to_another_host_of_the_cloud() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let (first, second) = (world.hosts[0], world.hosts[1]);
    world.agent(1).machines.push(machine(1));
    world.report(second);
    assert_eq!(world.core.protection(id(1)).unwrap().source(), first, "on both for a moment");
    world.agent(0).machines.retain(|facts| facts.id != id(1));
    world.report(first);
    assert_eq!(world.core.protection(id(1)).unwrap().source(), second);
    world.deliver_all();
    assert_eq!(world.protection(1, 1).source.host, second);
    assert_eq!(world.protection(0, 1).source.host, second, "the host that it left is told");
    assert_eq!(world.protection(1, 1).epoch.number, 1, "that is no change of owner of the lineage");
}

#[test]
fn a_machine_that_is_gone_stays_protected() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let sequence = world.core.sequence();
    world.agent(0).machines.clear();
    world.all_report();
    assert!(world.core.protection(id(1)).unwrap().is_live());
    assert_eq!(world.core.sequence(), sequence, "and nobody is told anything");
    assert!(world.core.machine_on((world.hosts[0], id(1))).is_none());
}

#[test]
fn a_vault_that_takes_absence_for_an_order_is_caught() {
    let mut world = World::new();
    world.core = world.core.clone().with_bug(Bug::AbsenceIsRemoval);
    world.enable(1);
    world.agent(0).machines.clear();
    world.all_report();
    assert!(!world.core.protection(id(1)).unwrap().is_live());
}

#[test]
fn new_machines_are_protected_by_themselves_where_the_policy_says_so() {
    let mut world = World::new();
    let settings = PolicyPatch { auto_protect: Change::Set(true), ..PolicyPatch::default() };
    world.run(&Command::ChangePolicy { policy: world.policy, settings });
    world.all_report();
    assert_eq!(world.core.protections().count(), 0, "those that were there are left alone");
    world.agent(0).machines.push(machine(7));
    let mut up = machine(8);
    up.brought_up_at = Some("1-1".parse().unwrap());
    world.agent(0).machines.push(up);
    world.agent(2).machines.push(machine(9));
    world.all_report();
    assert!(world.core.protection(id(7)).unwrap().is_live());
    assert!(world.core.protection(id(8)).is_none(), "brought up by us");
    assert!(world.core.protection(id(9)).is_none(), "on the target's side");
}

#[test]
fn a_new_machine_that_cannot_be_protected_yet_is_tried_again_and_one_disabled_is_left_alone() {
    let mut world = World::new();
    let settings = PolicyPatch { auto_protect: Change::Set(true), ..PolicyPatch::default() };
    world.run(&Command::ChangePolicy { policy: world.policy, settings });
    for host in [2, 3] {
        world.run(&Command::SetMaintenance {
            host: world.hosts[host],
            on: true,
            how: Maintenance::default(),
        });
    }
    world.agent(0).machines.push(machine(7));
    world.all_report();
    assert!(world.core.protection(id(7)).is_none());
    world.run(&Command::SetMaintenance { host: world.hosts[2], on: false, how: Maintenance::default() });
    world.tick();
    assert!(world.core.protection(id(7)).unwrap().is_live());
    world.run(&Command::Disable { machine: id(7), replica: None, force: false });
    world.agent(0).machines.retain(|facts| facts.id != id(7));
    world.all_report();
    world.agent(0).machines.push(machine(7));
    world.all_report();
    world.tick();
    assert!(!world.core.protection(id(7)).unwrap().is_live());
}
