//! A scratch file that cannot grow stops the guest. Whatever becomes of the agent, the
//! guest is set going again, and the next recovery point is whole.

use std::{
    fs,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_capture::{
    Activity, CaptureError, Compression, Parts, Places, Replicator, Settings, Status,
    bug::{Bug, plant},
};
use farshore_env::{RealFiles, SystemClock};
use farshore_guest::Load;
use farshore_hypervisor::{Change, Event, Hypervisor, PowerState, libvirt::Libvirt};
use farshore_link::{Endpoint, Identity, TlsDial};
use farshore_types::{Epoch, MachineId};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Judge,
    site::{MACHINE, PATIENCE, Site, signal, wait},
    small_disk::SmallDisk,
};

/// Much slower than the guest writes, so that a cycle stays open. Bytes per second.
const SLOW: u64 = 16 * 1024;
/// Longest standstill of a guest that is looked after. (It is about half a second; the
/// machine that runs this test does other things, too, and may be a slow one.)
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// A guest that stands still for so long is not being looked after.
const GIVEN_UP: Duration = Duration::from_secs(8);

/// More than a slow cycle can send.
fn busy() -> Load {
    Load { write_kib_per_second: 2048, write_area_mib: 64, ..Load::default() }
}

#[test]
fn a_guest_stopped_by_its_scratch_file_runs_again_although_the_agent_was_killed() {
    let mut site = Site::new(busy());
    // More than an agent keeps in reserve.
    let disk = SmallDisk::mount(&site.dir.path().join("disk"), &site.home.dir.join("run"), 320);
    let mut judge = Judge::default();
    site.start_guest();
    site.start_target();
    site.replicate("1s", "");
    site.next_point();

    // The test is tested: nobody helps where the watchdog looks on ...
    kill_agent_of_a_stopped_guest(&mut site, &disk, "IdleWatchdog");
    assert!(!goes_on_within(&site, GIVEN_UP), "a watchdog that looks on is caught");
    // ... until the next agent starts, which ends the backup that was left to it.
    disk.clear();
    site.home.set_environment(&[]);
    site.replicate("1s", "");
    assert!(goes_on_within(&site, HEALED_WITHIN), "the next agent sets the guest going: {}", site.home.log());
    assert!(site.home.log().contains("ending a backup that was left behind"), "{}", site.home.log());
    site.next_point();
    judge.check(&site, true).unwrap();

    kill_agent_of_a_stopped_guest(&mut site, &disk, "");
    let died = Instant::now();
    assert!(goes_on_within(&site, HEALED_WITHIN), "the watchdog sets the guest going: {}", site.home.log());
    println!("the guest wrote {:?} after its agent was killed", died.elapsed());
    assert!(site.home.log().contains("ending the backup that the agent left"), "{}", site.home.log());
    disk.clear();
    site.replicate("1s", "");
    site.next_point();
    judge.check(&site, true).unwrap();
    assert_eq!(site.verdicts().len(), 1, "the guest was never started anew");
}

#[test]
fn a_machine_that_is_off_is_off_again_after_its_agent_was_killed_in_a_cycle() {
    let mut site = Site::new(busy());
    site.start_guest();
    site.start_target();
    site.replicate("1s", "");
    site.next_point();
    site.home.kill_agent();
    // So that there is more to send than a slow cycle can at once.
    sleep(Duration::from_secs(3));
    assert_eq!(site.home.kill_machines(), 1);
    wait("QEMU to be gone", || site.home.machine_pids().is_empty().then_some(()));

    site.replicate("1s", &format!("bandwidth = {SLOW}\n"));
    wait("the machine to be started for a cycle", || site.is_cycle_open().then_some(()));
    assert_eq!(site.home.machine_pids().len(), 1);
    site.home.kill_agent();
    wait("the watchdog to stop it again", || site.home.machine_pids().is_empty().then_some(()));
    let told = || site.home.log().contains("it had been started for a cycle only").then_some(());
    wait("the watchdog to say so", told);
    assert_eq!(site.verdicts().len(), 1, "the guest never ran");
}

/// The instant at which libvirt, inside the agent, knows of a backup and its note does not.
#[test]
fn an_agent_killed_while_it_begins_a_backup_keeps_nobody_from_the_next() {
    let mut site = Site::new(busy());
    let mut judge = Judge::default();
    site.start_guest();
    site.start_target();
    for _ in 0..2 {
        site.replicate("1s", "");
        site.next_point();
        let begun = Instant::now();
        while !site.is_cycle_open() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for a cycle");
        }
        site.home.kill_agent();
        site.until_guest_goes_on();
    }
    site.replicate("1s", "");
    site.next_point();
    judge.check(&site, true).unwrap();
}

/// An agent in the middle of a cycle, which cannot act; a guest that its scratch file
/// stopped; then the agent is killed.
fn kill_agent_of_a_stopped_guest(site: &mut Site, disk: &SmallDisk, bug: &str) {
    site.home.kill_agent();
    site.home.set_environment(&[("FARSHORE_BUG", bug)]);
    site.replicate("1s", &format!("bandwidth = {SLOW}\n"));
    // One for which the guest has written little is over soon; the next one has more to send.
    wait("a cycle to stay open", || {
        let mut looks = (0..20).map(|_| {
            sleep(Duration::from_millis(50));
            site.is_cycle_open()
        });
        looks.all(|open| open).then_some(())
    });
    signal(site.home.agent_pid().unwrap(), "STOP");
    disk.fill_but(0);
    wait("the guest to stand still", || stands_still(site).then_some(()));
    site.home.kill_agent();
}

/// Whether the guest says nothing and its QEMU does nothing for three seconds.
fn stands_still(site: &Site) -> bool {
    let pid = site.home.machine_pids()[0];
    (0..3).all(|_| {
        let before = (site.last_known(), cpu_ticks(pid));
        sleep(Duration::from_secs(1));
        site.last_known() == before.0 && cpu_ticks(pid) - before.1 <= 3
    })
}

/// Processor time of a process so far, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|n| n.parse::<u64>().unwrap()).sum()
}

fn goes_on_within(site: &Site, time: Duration) -> bool {
    let (begun, before) = (Instant::now(), site.last_known());
    while begun.elapsed() < time {
        if site.last_known() > before {
            return true;
        }
        sleep(Duration::from_millis(20));
    }
    false
}

/// The source's part in this process, so that what the hypervisor tells can be heard.
struct Source {
    host: Arc<Libvirt>,
    machine: MachineId,
    settings: Settings,
    running: Option<(CancellationToken, JoinHandle<Result<(), CaptureError>>)>,
    status: watch::Receiver<Status>,
    events: broadcast::Receiver<Event>,
}

impl Source {
    async fn start(site: &Site) -> Source {
        let host = Arc::new(Libvirt::open(&site.home.hypervisor_uri()).await.unwrap());
        let machine = host.find(MACHINE).await.unwrap().id;
        let settings = Settings {
            frequency: Duration::from_secs(1),
            compression: Compression::On,
            scratch_reserve: 0,
            ..Settings::default()
        };
        let events = host.events();
        let status = watch::Sender::new(Status::default()).subscribe();
        let mut source = Source { host, machine, settings, running: None, status, events };
        source.run(site);
        source
    }

    fn run(&mut self, site: &Site) {
        let identity = Identity::load(&site.home.dir.join("identity")).unwrap();
        let address = format!("127.0.0.1:{}", site.away.port);
        let endpoint = Endpoint { address, server_name: "away".to_owned() };
        let places = Places {
            state: site.home.dir.join("state/source"),
            runtime: site.home.dir.join("run").join(&site.uuid),
        };
        let parts = Parts {
            hypervisor: self.host.clone(),
            dial: Arc::new(TlsDial::new(endpoint, identity, Duration::from_secs(30))),
            files: Arc::new(RealFiles),
            clock: Arc::new(SystemClock::default()),
            machine: self.machine,
            epoch: Epoch { number: 1, token: 7 },
            agent: "test".to_owned(),
            settings: self.settings.clone(),
            places,
        };
        let replicator = Replicator::new(parts).unwrap();
        self.status = replicator.status();
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(replicator.run(stop))));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.cancel();
        timeout(PATIENCE, task).await.expect("waited in vain for it to stop").unwrap().unwrap();
    }

    async fn until(&mut self, what: &str, is: impl Fn(&Status) -> bool) {
        let found = timeout(PATIENCE, self.status.wait_for(|status| is(status))).await.map(|s| s.is_ok());
        assert_eq!(found, Ok(true), "not reached: {what}; it shows {:?}", *self.status.borrow());
    }

    /// Waits until the guest is halted by an I/O error, or runs again.
    async fn until_guest(&mut self, wanted: Change) -> Instant {
        let heard = async {
            loop {
                match self.events.recv().await {
                    Ok(Event::Machine { change, .. }) if change == wanted => return Instant::now(),
                    Ok(_) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("waited in vain to hear of {wanted:?}"))
    }

    async fn is_halted(&self) -> bool {
        let power = self.host.machine(self.machine).await.unwrap().power;
        matches!(power, PowerState::Paused { io_error: true, .. })
    }
}

const HALTED: Change = Change::Suspended { io_error: true };

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_whose_scratch_file_fills_up_does_not_leave_the_guest_standing() {
    let mut site = Site::new(busy());
    let disk = SmallDisk::mount(&site.dir.path().join("disk"), &site.home.dir.join("run"), 24);
    let mut judge = Judge::default();
    site.start_guest();
    site.start_target();
    let mut source = Source::start(&site).await;
    source.until("the first point", |s| s.last_point.is_some()).await;

    // The test is tested: a cycle that does not look is caught.
    let blind = plant(Bug::BlindWatch);
    source.settings.rate.set(Some(SLOW));
    source.until_guest(HALTED).await;
    tokio::time::sleep(GIVEN_UP).await;
    assert!(source.is_halted().await, "nobody looks after the guest");
    drop(blind);
    // What one cycle did not see, the next one does.
    source.settings.rate.set(None);
    source.until_guest(Change::Resumed).await;
    site.next_point();
    judge.check(&site, true).unwrap();

    source.settings.rate.set(Some(SLOW));
    let halted = source.until_guest(HALTED).await;
    let stood = source.until_guest(Change::Resumed).await - halted;
    source.settings.rate.set(None);
    println!("the guest stood still for {stood:?}");
    assert!(stood < HEALED_WITHIN, "the guest stood still for {stood:?}");
    site.until_guest_goes_on();
    site.next_point();
    judge.check(&site, true).unwrap();

    foreseen(&mut source, &site, &disk).await;
    site.next_point();
    judge.check(&site, true).unwrap();
    source.stop().await;
    assert_eq!(site.verdicts().len(), 1, "the guest was never started anew");
}

/// Where the shortage can be seen coming, the cycle ends before the guest is stopped.
async fn foreseen(source: &mut Source, site: &Site, disk: &SmallDisk) {
    source.stop().await;
    source.settings.scratch_reserve = disk.free() / 2;
    source.settings.rate.set(Some(SLOW));
    source.events = source.host.events();
    source.run(site);
    let short = |s: &Status| matches!(&s.activity, Activity::Retrying { why, .. } if why.contains("free for scratch files"));
    source.until("a cycle that was given up in time", short).await;
    source.settings.rate.set(None);
    while let Ok(event) = source.events.try_recv() {
        assert!(!matches!(event, Event::Machine { change: HALTED, .. }), "the guest was stopped");
    }
}
