//! Commands: what each does, and what stands against it.

use farshore_control::{Body, Intent, Key};
use farshore_policy::{Change, PolicyPatch};
use farshore_types::{CloudId, HostId, SiteId};
use uuid::Uuid;

use super::{
    agent::Agent,
    world::{World, id},
};
use crate::{Command, MapTo, ProblemKind};

#[test]
fn a_machine_is_protected_with_one_command_and_both_hosts_learn_it() {
    let mut world = World::new();
    let answer = world.enable(1);
    assert!(answer.warnings.iter().all(|w| w.machine == Some(id(1))), "{answer:?}");
    world.deliver_all();
    let at_source = world.protection(0, 1).clone();
    assert_eq!(at_source.source.host, world.hosts[0]);
    assert_eq!(at_source.intent, Intent::Replicate);
    assert_eq!((at_source.epoch.number, at_source.settings.copy_frequency_secs), (1, 30));
    let target = world.hosts.iter().position(|host| *host == at_source.target.host).unwrap();
    assert_eq!(world.protection(target, 1), &at_source, "the same document for both");
    assert!(world.held(1, 1).is_none(), "and for nobody else");
}

#[test]
fn a_policy_change_reaches_running_protections_by_a_higher_generation_only() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let before = world.core.document(Key::Protection(id(1))).unwrap().document.clone();
    let settings = PolicyPatch { copy_frequency_secs: Change::Set(60), ..PolicyPatch::default() };
    let policy = world.policy;
    assert!(world.run(&Command::ChangePolicy { policy, settings: settings.clone() }).changed);
    let after = world.core.document(Key::Protection(id(1))).unwrap().document.clone();
    assert_eq!(after.version.generation, before.version.generation + 1);
    assert_eq!(after.epoch(), before.epoch());
    world.deliver_all();
    assert_eq!(world.protection(0, 1).settings.copy_frequency_secs, 60);
    let (sequence, again) = (world.core.sequence(), world.run(&Command::ChangePolicy { policy, settings }));
    assert!(!again.changed);
    assert_eq!(world.core.sequence(), sequence, "the same again writes no document");
}

#[test]
fn a_policy_that_is_not_allowed_names_every_setting() {
    let mut world = World::new();
    let settings = PolicyPatch {
        copy_frequency_secs: Change::Set(0),
        points_max: Change::Set(0),
        ..PolicyPatch::default()
    };
    let problem = world.try_run(&Command::AddPolicy { name: "bad".to_owned(), settings }).unwrap_err();
    let codes: Vec<_> = problem.details.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["setting-copy-frequency-secs", "setting-points-max"]);
}

#[test]
fn pausing_resuming_and_comparing_change_the_document_and_nothing_twice() {
    let mut world = World::new();
    world.live();
    world.enable(1);
    assert_eq!(world.try_run(&Command::Resync { machine: id(1) }).unwrap_err().code, "seeding");
    (0..10).for_each(|_| world.round());
    let pause = |paused| Command::SetPaused { machine: id(1), paused };
    assert!(world.run(&pause(true)).changed);
    assert!(!world.run(&pause(true)).changed);
    let refused = world.try_run(&Command::Resync { machine: id(1) }).unwrap_err();
    assert_eq!(refused.code, "paused");
    assert!(world.run(&pause(false)).changed);
    assert!(world.run(&Command::Resync { machine: id(1) }).changed);
    world.deliver_all();
    let held = world.protection(0, 1);
    assert_eq!((held.intent, held.resync), (Intent::Replicate, 1));
}

#[test]
fn disabling_says_removed_to_both_and_the_row_stays() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let disable = Command::Disable { machine: id(1), replica: None, force: false };
    assert!(world.run(&disable).changed);
    assert!(!world.run(&disable).changed, "again it is done already");
    world.deliver_all();
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
    assert!(!world.core.protection(id(1)).unwrap().is_live());
    world.enable(1);
    world.deliver_all();
    assert_eq!(world.protection(0, 1).epoch.number, 2, "an epoch is never given twice");
}

#[test]
fn names_are_unique_and_plain() {
    let mut world = World::new();
    let site = |name: &str| Command::AddSite { name: name.to_owned(), ahead_minutes: 0 };
    let taken = world.try_run(&site("NEAR")).unwrap_err();
    assert_eq!((taken.kind, taken.code.as_str()), (ProblemKind::Conflict, "name-taken"));
    for bad in ["", " x", "a/b", "x\n", &"x".repeat(129)] {
        assert_eq!(world.try_run(&site(bad)).unwrap_err().kind, ProblemKind::Invalid, "{bad:?}");
    }
    assert_eq!(
        world.try_run(&Command::RenameHost { host: world.hosts[0], name: "f1".to_owned() }).unwrap_err().code,
        "name-taken"
    );
    assert!(!world.run(&Command::RenameHost { host: world.hosts[0], name: "n1".to_owned() }).changed);
}

#[test]
fn two_clouds_of_one_site_pair_like_any_others_and_no_host_is_its_own_target() {
    let mut world = World::new();
    let (source, site) = (world.clouds[0], world.sites[0]);
    world.run(&Command::UnpairCloud { cloud: source });
    let beside = Command::AddCloud { site, name: "beside".to_owned() };
    let beside = CloudId(world.run(&beside).id.unwrap());
    world.run(&Command::PairClouds { source, target: beside });
    // Also of a site, one host is in one cloud.
    let host = HostId(Uuid::from_u128(0x2000));
    let (name, address) = ("b1".to_owned(), "b1:7411".to_owned());
    world.run(&Command::AddHost { id: Some(host), cloud: beside, name, address, principal: None });
    world.agents.insert(host, Agent::new(host, site));
    world.hosts.push(host);
    world.all_report();
    world.enable(1);
    world.deliver_all();
    let (at_source, target) = (world.protection(0, 1).clone(), world.hosts.len() - 1);
    assert_eq!((at_source.source.host, at_source.target.host), (world.hosts[0], host));
    assert_eq!(world.protection(target, 1), &at_source, "the same document for both");
}

#[test]
fn a_cloud_has_one_pair() {
    let mut world = World::new();
    let (source, target) = (world.clouds[0], world.clouds[1]);
    assert!(!world.run(&Command::PairClouds { source, target }).changed, "the same again");
    let third = Command::AddCloud { site: world.sites[1], name: "third".to_owned() };
    let third = CloudId(world.run(&third).id.unwrap());
    let twice = world.try_run(&Command::PairClouds { source, target: third }).unwrap_err();
    assert!(twice.what.contains("'near cloud' is paired with 'far cloud' already"), "{twice}");
    let itself = world.try_run(&Command::PairClouds { source: third, target: third }).unwrap_err();
    assert_eq!(itself.code, "cloud-pair");
    world.enable(1);
    let used = world.try_run(&Command::UnpairCloud { cloud: target }).unwrap_err();
    assert!(used.what.contains("machine 'm1'"), "{used}");
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    assert!(world.run(&Command::UnpairCloud { cloud: target }).changed);
}

#[test]
fn what_is_in_use_is_not_deleted_and_says_by_what() {
    let mut world = World::new();
    world.enable(1);
    let target = world.core.protection(id(1)).unwrap().target();
    for (command, user) in [
        (Command::RemoveSite { site: world.sites[0] }, "cloud 'near cloud'"),
        (Command::RemoveCloud { cloud: world.clouds[1] }, "host 'f1'"),
        (Command::RemoveHost { host: target }, "machine 'm1'"),
        (Command::RemovePolicy { policy: world.policy }, "cloud 'near cloud'"),
    ] {
        let problem = world.try_run(&command).unwrap_err();
        assert_eq!(problem.code, "in-use");
        assert!(problem.what.contains(user), "{problem}");
    }
}

#[test]
fn unknown_ids_are_named() {
    let mut world = World::new();
    for (command, code) in [
        (Command::RemoveSite { site: SiteId(Uuid::nil()) }, "site-unknown"),
        (Command::RenameCloud { cloud: CloudId(Uuid::nil()), name: "x".to_owned() }, "cloud-unknown"),
        (Command::RemoveHost { host: HostId(Uuid::nil()) }, "host-unknown"),
        (Command::Resync { machine: id(9) }, "protection-unknown"),
        (Command::RemoveToken { token: Uuid::nil() }, "token-unknown"),
    ] {
        let problem = world.try_run(&command).unwrap_err();
        assert_eq!((problem.kind, problem.code.as_str()), (ProblemKind::NotFound, code));
        assert!(!problem.advice.is_empty());
    }
}

#[test]
fn a_removed_host_is_told_and_its_id_is_never_used_again() {
    let mut world = World::new();
    world.deliver_all();
    let host = world.hosts[3];
    world.run(&Command::RemoveHost { host });
    assert!(!world.run(&Command::RemoveHost { host }).changed);
    world.deliver_all();
    let held = world.agents[&host].holder.get(&Key::Host(host)).unwrap();
    assert!(matches!(held.body, Body::Removed { .. }));
    let again = Command::AddHost {
        id: Some(host),
        cloud: world.clouds[1],
        name: "f9".to_owned(),
        address: "f9:1".to_owned(),
        principal: None,
    };
    assert_eq!(world.try_run(&again).unwrap_err().code, "host-known");
    assert!(world.report_once(host, true).acknowledged.is_empty(), "what it says is not heard any more");
    assert!(world.core.observed_of(host).is_none());
}

#[test]
fn a_principal_is_one_hosts_and_well_formed_and_stays_until_it_is_taken_away() {
    let mut world = World::new();
    let (one, other) = (world.hosts[0], world.hosts[1]);
    let set = |host, principal: Option<&str>| Command::SetHostAddress {
        host,
        address: "h:7411".to_owned(),
        principal: principal.map(str::to_owned),
    };
    let principal_of = |world: &World, host| world.core.tables.hosts.get(&host).unwrap().principal.clone();
    let problem = world.try_run(&set(one, Some("no principal"))).unwrap_err();
    assert_eq!(problem.code, "principal-invalid");
    assert!(problem.what.contains("service/host@REALM"), "{}", problem.what);
    world.run(&set(one, Some("farshore/one@TEST")));
    // An address alone does not take it away.
    world.run(&set(one, None));
    assert_eq!(principal_of(&world, one).as_deref(), Some("farshore/one@TEST"));
    assert_eq!(world.try_run(&set(other, Some("farshore/one@TEST"))).unwrap_err().code, "principal-taken");
    world.run(&set(one, Some("")));
    assert_eq!(principal_of(&world, one), None);
    world.run(&set(other, Some("farshore/one@TEST")));
}

#[test]
fn the_same_key_does_the_same_command_once() {
    let mut world = World::new();
    let add = Command::AddSite { name: "third".to_owned(), ahead_minutes: 0 };
    let at = world.moment();
    let first = world.core.run(&add, Some("k1"), &at).unwrap();
    world.commit();
    let later = world.moment();
    assert_eq!(world.core.run(&add, Some("k1"), &later).unwrap(), first);
    assert!(world.core.changes().is_empty());
    let other = Command::AddSite { name: "fourth".to_owned(), ahead_minutes: 0 };
    assert_eq!(world.core.run(&other, Some("k1"), &later).unwrap_err().code, "idempotency-key");
    assert_eq!(world.core.run(&add, Some("k2"), &later).unwrap_err().code, "name-taken");
    world.wait(25 * 3_600_000);
    assert!(world.core.run(&other, Some("k1"), &moment_after(&world)).is_ok(), "a day later it is forgotten");
}

fn moment_after(world: &World) -> crate::Moment {
    super::world::moment(world.clock + 1)
}

#[test]
fn a_token_is_told_once_and_only_its_digest_is_kept() {
    let mut world = World::new();
    let add = Command::AddToken { name: "ci".to_owned(), expires_ms: Some(u64::MAX) };
    let at = world.moment();
    let answer = world.core.run(&add, Some("key"), &at).unwrap();
    world.commit();
    let secret = answer.secret.unwrap();
    assert!(secret.starts_with("farshore_") && secret.len() > 64);
    for body in world.stored.values() {
        assert!(!String::from_utf8_lossy(body).contains(&secret[9..]), "a stored row holds the token");
    }
    assert_eq!(world.core.token_of(&secret, 0).unwrap().name, "ci");
    assert!(world.core.token_of(&secret, u64::MAX).is_none(), "expired");
    assert!(world.core.token_of("farshore_other", 0).is_none());
    let at = world.moment();
    assert!(world.core.run(&add, Some("key"), &at).unwrap().secret.is_none(), "not even to who asks again");
    world.run(&Command::RemoveToken { token: answer.id.unwrap() });
    assert!(world.core.token_of(&secret, 0).is_none());
}

#[test]
fn networks_are_mapped_there_and_unless_otherwise_said_back() {
    let mut world = World::new();
    let map = |from: &str, to: Option<&str>, world: &World| {
        let (from, to) = (from.to_owned(), to.map(str::to_owned));
        Command::MapNetwork(MapTo { from_site: world.sites[0], to_site: world.sites[1], from, to })
    };
    world.enable(1);
    world.run(&map("lan", Some("far"), &world));
    world.deliver_all();
    assert_eq!(world.protection(0, 1).networks, [("lan".to_owned(), "far".to_owned())].into());
    let (near, far) = (world.hosts[0], world.hosts[2]);
    assert_eq!(world.core.networks_between(far, near), [("far".to_owned(), "lan".to_owned())].into());
    world.run(&map("dmz", Some("far"), &world));
    assert!(world.core.networks_between(far, near).is_empty(), "two ways back are none");
    world.run(&map("lan", None, &world));
    world.deliver_all();
    assert_eq!(world.protection(0, 1).networks, [("dmz".to_owned(), "far".to_owned())].into());
}

#[test]
fn trust_goes_to_each_site_and_revocations_are_never_taken_back() {
    let mut world = World::new();
    let trust = |list: &str, revoked_number| Command::SetTrust {
        authority_pem: "ca".to_owned(),
        revoked_pem: list.to_owned(),
        revoked_number,
    };
    world.run(&trust("two", 2));
    assert_eq!(world.try_run(&trust("one", 1)).unwrap_err().code, "revoked-number");
    assert_eq!(world.try_run(&trust("other", 2)).unwrap_err().code, "revoked-number");
    assert!(!world.run(&trust("two", 2)).changed);
    world.deliver_all();
    let held = world.agents[&world.hosts[3]].holder.get(&Key::Trust(world.sites[1])).cloned().unwrap();
    assert!(matches!(held.body, Body::Trust(body) if body.revoked_number == 2));
}
