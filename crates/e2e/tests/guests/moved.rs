//! A machine that is migrated live from one host of its cloud to another, in the middle of a
//! cycle: the protection follows it, only what differs is sent, and every point is whole.

use std::{path::Path, time::Instant};

use farshore_e2e::{
    host::{TestHost, make_authority},
    plane::Plane,
};
use farshore_guest::Load;

use crate::{
    daemon::Daemon,
    ledger::Judge,
    site::{MACHINE, Site, program, wait},
    vault::newest,
};

#[test]
fn a_protection_follows_its_machine_that_is_migrated_in_the_middle_of_a_cycle() {
    let mut site = Site::new(Load { write_kib_per_second: 64, ..Load::default() });
    let ca = make_authority(program(), &site.dir.path().join("second-ca")).unwrap();
    let mut second = TestHost::new(program(), site.dir.path(), "second", &ca).unwrap();
    let (one, two) = (Daemon::start(&site.home.dir, 1), Daemon::start(&second.dir, 2));
    site.home.configure_more(&format!("hypervisor = '{}'\n", one.uri())).unwrap();
    second.configure_more(&format!("hypervisor = '{}'\n", two.uri())).unwrap();

    let farshore = Path::new(env!("CARGO_BIN_EXE_test-farshore"));
    let mut above = Plane::new(farshore, program(), site.dir.path(), |_, _| {}).unwrap();
    above.add_site("east").unwrap();
    above.add_site("west").unwrap();
    for (host, name) in [(&site.home, "east"), (&second, "east"), (&site.away, "west")] {
        above.enrol(host, name).unwrap();
    }
    site.start_guest();
    site.home.start_agent().unwrap();
    second.start_agent().unwrap();
    site.start_target();
    wait("the vault to know the guest", || {
        let machines = above.json(&["machines"]).unwrap();
        machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
    });
    above.operate(&["cloud", "pair", "east", "west"]).unwrap();
    above.operate(&["policy", "add", "gold", "copy-frequency=1s"]).unwrap();
    above.operate(&["cloud", "associate", "east", "--policy", "gold"]).unwrap();
    above.operate(&["protect", MACHINE]).unwrap();
    let before = site.next_point();

    wait("a cycle to be open", || site.is_cycle_open().then_some(()));
    one.migrate(MACHINE, &two).unwrap();
    let migrated = Instant::now();
    site.until_guest_goes_on();
    assert_eq!(site.verdicts().len(), 1, "the guest was never started anew");
    let source = wait("the other host to replicate the machine", || {
        second.source().ok().filter(|source| source.rpo_ms.is_some())
    });
    println!("replicated again after {:?}", migrated.elapsed());
    let point = site.next_point();
    assert!(point.id.number > before.id.number, "{} after {}", point.id, before.id);
    let total = |field: &str| source.details["totals"][field].as_u64().unwrap();
    let (read, sent) = (total("read"), total("sent"));
    println!("{read} bytes read, {sent} sent");
    assert!(sent < read / 3, "{sent} of {read} bytes were sent");
    let told = wait("the vault to know where the machine is", || {
        above.protection(MACHINE).filter(|p| p["source"] == "second" && newest(p) >= Some(point.id))
    });
    assert_eq!(told["state"], "replicating", "{told}");
    Judge::default().check(&site, true).unwrap();
    wait("the host that it left to end its part", || site.home.source().is_err().then_some(()));
    // And back, where a digest map from before is.
    two.migrate(MACHINE, &one).unwrap();
    wait("the first host to replicate it again", || {
        site.home.source().ok().filter(|source| source.rpo_ms.is_some())
    });
    site.next_point();
    Judge::default().check(&site, true).unwrap();
    assert_eq!(site.verdicts().len(), 1, "the guest was never started anew");
}
