//! A real guest whose memory is saved in a file, as a host does with its machines when it goes down:
//! that is never ended to read its disks, and it goes on from there.

use farshore_guest::Load;

use crate::site::{MACHINE, Site, order, wait};

#[test]
fn a_guest_that_is_saved_is_left_so_and_goes_on_where_it_was_and_is_replicated_again() {
    let mut site = Site::new(Load { write_kib_per_second: 128, ..Load::default() });
    site.away.start_agent().unwrap();
    site.start_guest();
    site.replicate("1s", "");
    site.next_point();
    let boots = site.verdicts().len();
    order(&site.home, &format!("{MACHINE}\nsave"));
    let waits = |site: &Site| {
        let told = || site.source()?.details.to_string().contains("memory is saved").then_some(());
        wait("replication to wait for it", told);
    };
    waits(&site);
    // An agent that comes new finds it so, too.
    site.home.kill_agent();
    site.home.start_agent().unwrap();
    waits(&site);
    assert_eq!(site.home.machine_pids(), Vec::<u32>::new());
    site.order_start();
    site.until_guest_goes_on();
    site.next_point();
    site.next_point();
    assert_eq!(site.verdicts().len(), boots, "it goes on, and has not booted anew");
    assert_eq!(site.source().unwrap().details["totals"]["resyncs"].as_u64(), Some(0), "its record is whole");
}
