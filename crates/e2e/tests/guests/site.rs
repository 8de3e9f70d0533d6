//! Two hosts, and a real guest on the first.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use farshore_agent::control::{PointLine, ReplicaPoints, SourceLine};
use farshore_e2e::host::{Replicates, TestHost, make_authority, run};
use farshore_guest::{Accelerator, Guest, GuestImage, Load, Verdict, debian_xml, domain_xml, read_console};
use farshore_ledger::ConsoleEvent;

use crate::{
    ledger::{Whole, whole, whole_debian},
    tries,
};

/// Name of the guest.
pub(crate) const MACHINE: &str = "guest";

/// Longest wait for anything that must happen, on a machine that does other things, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Points that the target keeps: few, so that pruning goes on beneath all that happens, and
/// judging every one of them takes seconds.
pub(crate) const POINTS_MAX: usize = 4;

/// Two hosts; everything ends with it.
pub(crate) struct Site {
    pub(crate) home: TestHost,
    pub(crate) away: TestHost,
    pub(crate) console: PathBuf,
    pub(crate) uuid: String,
    /// Judges a point of this guest.
    pub(crate) whole: Whole,
    /// Dropped last.
    pub(crate) dir: tempfile::TempDir,
}

/// The agent's program, with deliberate bugs to be switched on.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_test-agent"))
}

impl Site {
    /// Two hosts, and the guest's disks and definition on the first. Nothing runs yet.
    pub(crate) fn new(load: Load) -> Site {
        let image = farshore_guest::build(&farshore_guest::default_out_dir()).unwrap();
        Site::with(&image, load, whole, domain_xml)
    }

    /// As [`Site::new`], with a network card that is connected to nothing.
    pub(crate) fn with_card(load: Load) -> Site {
        let image = farshore_guest::build(&farshore_guest::default_out_dir()).unwrap();
        let card = "<interface type='user'><model type='virtio'/><rom enabled='no'/></interface>";
        Site::with(&image, load, whole, |guest| {
            domain_xml(guest).replace("    <memballoon", &format!("    {card}\n    <memballoon"))
        })
    }

    /// As [`Site::new`], with the full guest, which writes its transactions only; `ordered`: with a
    /// socket `orders` beside its console, by which it is told what to do.
    pub(crate) fn debian(ordered: bool) -> Site {
        let quiet = Load { write_kib_per_second: 0, ..Load::default() };
        Site::debian_under(quiet, ordered)
    }

    /// The same, with a load beside that.
    pub(crate) fn debian_under(load: Load, ordered: bool) -> Site {
        let image = farshore_guest::build_debian(&farshore_guest::default_out_dir()).unwrap();
        Site::with(&image, load, whole_debian, |guest| {
            let orders = guest.console.with_file_name("orders");
            debian_xml(guest, ordered.then_some(&*orders))
        })
    }

    fn with(image: &GuestImage, load: Load, whole: Whole, definition: impl FnOnce(&Guest) -> String) -> Site {
        tries::watch();
        let dir = tempfile::Builder::new().prefix("farshore-e2e-").tempdir().unwrap();
        let ca = make_authority(program(), dir.path()).unwrap();
        let home = TestHost::new(program(), dir.path(), "home", &ca).unwrap();
        let away = TestHost::new(program(), dir.path(), "away", &ca).unwrap();
        let disks = image.copy_to(&home.dir.join("images")).unwrap();
        let (console, uuid) = (dir.path().join("console.log"), uuid::Uuid::new_v4().to_string());
        let guest = Guest {
            name: MACHINE.to_owned(),
            uuid: uuid.clone(),
            disk1: disks.disk1,
            disk2: disks.disk2,
            console: console.clone(),
            accelerator: Accelerator::from_environment(),
            load,
        };
        fs::write(home.dir.join("guest.xml"), definition(&guest)).unwrap();
        Site { home, away, console, uuid, whole, dir }
    }

    /// Defines and starts the guest, in a process of its own; waits until it writes.
    pub(crate) fn start_guest(&self) {
        let xml = self.home.dir.join("guest.xml");
        run(Command::new(program()).arg("place").args([self.home.config(), xml])).unwrap();
        self.until_guest_goes_on();
    }

    /// Starts the agent of the host that keeps the replica, and [`POINTS_MAX`] points.
    pub(crate) fn start_target(&mut self) {
        self.away.configure_more(&format!("[retention]\npoints_max = {POINTS_MAX}\n")).unwrap();
        self.away.start_agent().unwrap();
    }

    /// Starts the guest again while the agent runs.
    pub(crate) fn order_start(&self) {
        order(&self.home, MACHINE);
    }

    /// Begins to replicate; waits for the first point.
    pub(crate) fn replicate(&mut self, frequency: &str, more: &str) {
        let entry =
            Replicates { machine: MACHINE, to: &self.away, frequency, compression: "on", small_writes: "on" };
        self.home.configure(&[entry]).unwrap();
        self.home.configure_more(more).unwrap();
        self.home.start_agent().unwrap();
        wait("the first recovery point", || self.source()?.rpo_ms);
    }

    fn points_now(&self) -> Option<Vec<ReplicaPoints>> {
        self.away.command(&["points", MACHINE]).ok()
    }

    /// The points that a host keeps, oldest first.
    pub(crate) fn points_at(&self, host: &TestHost) -> Vec<PointLine> {
        let all: Vec<ReplicaPoints> = wait("the list of points", || host.command(&["points", MACHINE]).ok());
        all.into_iter().flat_map(|replica| replica.points).collect()
    }

    /// Whether a backup runs at home: its scratch files are there.
    pub(crate) fn is_cycle_open(&self) -> bool {
        let names = fs::read_dir(self.home.dir.join("run").join(&self.uuid)).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("scratch-"))
    }

    /// What home says of the guest's replication.
    pub(crate) fn source(&self) -> Option<SourceLine> {
        self.home.source().ok()
    }

    /// The points that away keeps, oldest first.
    pub(crate) fn points(&self) -> Vec<PointLine> {
        self.points_at(&self.away)
    }

    /// Waits for a point of an instant from now on.
    pub(crate) fn next_point(&self) -> PointLine {
        let now = now_ms();
        wait("a point of an instant from now on", || {
            self.points().into_iter().next_back().filter(|point| point.captured_ms >= now)
        })
    }

    /// The newest record that the guest has told of.
    pub(crate) fn last_known(&self) -> u64 {
        read_console(&self.console).unwrap().last_known().unwrap_or(0)
    }

    /// What the guest found at each of its boots.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        read_console(&self.console).unwrap().verdicts()
    }

    /// The verdict of the boot after `boots` others: it is good, and nothing was lost before it. A
    /// guest that does not come up may have lost what it needs for that, and is not tried again.
    pub(crate) fn verdict_after(&self, boots: usize) -> Verdict {
        verdict_on(&self.console, boots)
    }

    /// Leaves the console's file to who starts next, so that two that run at once do not write over
    /// each other's words; gives that file. What runs now goes on in another one.
    pub(crate) fn set_console_aside(&mut self) -> PathBuf {
        let (free, aside) = (self.console.clone(), self.console.with_extension("aside"));
        fs::rename(&free, &aside).unwrap();
        self.console = aside;
        free
    }

    /// Ends that: the file is of what still runs.
    pub(crate) fn take_console_back(&mut self) {
        let own = self.console.with_extension("log");
        fs::rename(&self.console, &own).unwrap();
        self.console = own;
    }

    /// Names of all files of the host that keeps the replica but what replication itself and logs
    /// leave, and its processes that serve disks or run machines.
    pub(crate) fn traces(&self) -> BTreeSet<String> {
        fn under(dir: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let (path, is_dir) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
                if is_dir {
                    under(&path, found);
                }
                let path = path.display().to_string();
                // Libvirt keeps its own empty directories for ever.
                if !is_dir || !path.contains("/libvirt") {
                    found.insert(path);
                }
            }
        }
        let mut found = BTreeSet::new();
        under(&self.away.dir, &mut found);
        let own = format!("replicas/{}/", self.uuid);
        found.retain(|path| !path.contains(&own) && !path.ends_with(".log"));
        let programs = ["qemu-nbd", "/usr/bin/qemu-system"].map(|program| self.away.pids(program));
        found.extend(programs.iter().flatten().map(|pid| format!("process {pid}")));
        found
    }

    /// Waits until no trace is there that was not there before.
    pub(crate) fn until_no_trace_but(&self, before: &BTreeSet<String>) {
        let begun = Instant::now();
        loop {
            let now = self.traces();
            let left: Vec<_> = now.difference(before).collect();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "this is left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the guest has written more; returns how long that took.
    pub(crate) fn until_guest_goes_on(&self) -> Duration {
        let (begun, before) = (Instant::now(), self.last_known());
        wait("the guest to write on", || (self.last_known() > before).then_some(()));
        begun.elapsed()
    }
}

/// What a failed test leaves to read.
impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let console = read_console(&self.console).unwrap_or_default();
            let bad = |event: &&ConsoleEvent| match event {
                ConsoleEvent::Verdict(verdict) => !verdict.is_good(),
                event => matches!(event, ConsoleEvent::Fault(_)),
            };
            if let Some(event) = console.events.iter().find(bad) {
                tries::failed(&format!("{event:?}"));
            }
            for host in [&self.home, &self.away] {
                let log = host.log();
                let last = log.lines().rev().take(40).collect::<Vec<_>>();
                println!("--- {}", host.name);
                last.iter().rev().for_each(|line| println!("{line}"));
            }
            println!("--- points: {:?}", self.points_now());
        }
    }
}

/// Has something done on a host while its agent runs, by whoever works there.
pub(crate) fn order(host: &TestHost, what: &str) {
    let at = |name: &str| host.dir.join(name);
    let _ = fs::remove_file(at("order.done"));
    fs::write(at("order.new"), what).unwrap();
    fs::rename(at("order.new"), at("order")).unwrap();
    let answer = wait("an answer to the order", || fs::read_to_string(at("order.done")).ok());
    assert_eq!(answer, "", "{what}");
}

/// The same while no agent runs there, in a process of its own.
pub(crate) fn order_alone(host: &TestHost, what: &str) {
    // A killed agent's watchdog ends the backup that this left open, in which libvirt takes no change.
    wait("the watchdog to be done", || host.watchdog_pids().is_empty().then_some(()));
    let mut change = Command::new(program());
    run(change.arg("change").arg(host.config()).arg(what)).unwrap_or_else(|why| panic!("{what}: {why}"));
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// Waits until `look` finds something.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if begun.elapsed() > PATIENCE {
            gave_up(what);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The verdict in a console's file after `boots` others, as [`Site::verdict_after`] gives it.
pub(crate) fn verdict_on(console: &Path, boots: usize) -> Verdict {
    let begun = Instant::now();
    loop {
        if let Some(verdict) = read_console(console).unwrap().verdicts().get(boots) {
            assert!(verdict.is_good() && verdict.last > 0, "{verdict}");
            return *verdict;
        }
        // Twice as long as for anything else: that it is in vain is not said, and so not tried again.
        assert!(begun.elapsed() < PATIENCE * 2, "the guest does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fails a test that has waited long enough; it may be tried again.
pub(crate) fn gave_up(what: &str) -> ! {
    panic!("waited {} s in vain for {what}", PATIENCE.as_secs())
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
