//! A machine that leaves: what it wrote here becomes the newest point, of overlays or of disks
//! of its own, whole by our reader and by stock tools, wherever that is cut.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use farshore_env::RealFiles;
use farshore_replica::{Aside, Known, Own, Phase, Replica};
use farshore_sim::{
    Fate, ManualClock, MemoryFiles, ModelDisk, Replay,
    driver::{self, Driver, check_point},
};
use farshore_types::{Digest, DiskKey, Epoch, PointId, PointRef, RootDigest};

use crate::{
    history::{CLUSTER, open},
    points::{DIR, eager, last},
    tool,
};

const SIZE: u64 = 30 * CLUSTER;

fn vda() -> DiskKey {
    "vda".parse().unwrap()
}

fn own(id: PointId, root: Option<RootDigest>) -> Own {
    Own { id, root, captured_ms: None, definition: b"<domain/>".to_vec(), plain: false, disks: Vec::new() }
}

/// A replica with two points, the machine brought up at the one `back` from the newest, and
/// what stock tools let it write: data, zeros, and a cluster as it was.
fn brought_up(dir: &Path, back: usize) -> (Driver, ModelDisk) {
    brought_up_by(&ManualClock::at(1_700_000_000_000), dir, back)
}

fn brought_up_by(clock: &Arc<ManualClock>, dir: &Path, back: usize) -> (Driver, ModelDisk) {
    let clock = Arc::clone(clock);
    let mut driver =
        Driver::start(driver::open(Arc::new(RealFiles), clock, dir, eager()).unwrap(), &[SIZE]).unwrap();
    driver.write(&[(0, 0, 300_000, 1), (0, 10 * CLUSTER, 65536, 2)]);
    driver.point().unwrap();
    driver.write(&[(0, 3 * CLUSTER, 70_000, 3), (0, 20 * CLUSTER, 65536, 4)]);
    driver.point().unwrap();
    let points = driver.replica.points();
    let at = points[points.len() - 1 - back].id;
    let overlays = driver.replica.bring_up(at, Epoch { number: 7, token: 7 }).unwrap();
    let mut now = driver.acknowledged[&at][0].2.clone();
    let path = overlays[0].path.display().to_string();
    let write = |command: &str| {
        let (fine, said) = tool::run(dir, "qemu-io", &["-c", command, &path]);
        assert!(fine, "{command}: {said}");
    };
    write("write -P 0xab 131072 100000");
    now.write(131_072, &[0xab; 100_000]);
    write("write -z 655360 65536");
    now.write(10 * CLUSTER, &[0; 65536]);
    write("write -P 0 1900000 10");
    now.write(1_900_000, &[0; 10]);
    (driver, now)
}

fn check(replica: &mut Replica, store: &Path, sealed: PointRef, now: &ModelDisk) {
    assert_eq!((replica.phase(), replica.last()), (Phase::Receiving, Some(sealed)));
    check_point(replica, sealed.id, &[(vda(), SIZE, now.clone())]).unwrap();
    replica.reader(sealed.id).unwrap().verify(&mut |_, _| ()).unwrap();
    replica.publish(sealed.id).unwrap();
    if store.exists() {
        tool::compare(store, "vda", &sealed.id.to_string(), now, SIZE);
    }
}

#[test]
fn what_a_machine_wrote_on_its_overlays_becomes_the_newest_point() {
    for back in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let (mut driver, now) = brought_up(&store, back);
        let before = driver.replica.usage().unwrap().images;
        let id = PointId { epoch: 7, number: 9 };
        let agreed = RootDigest([9; 32]);
        let sealed = driver.replica.fold(&own(id, Some(agreed)), BTreeMap::new()).unwrap();
        assert_eq!(sealed, PointRef { id, root: agreed });
        assert!(!store.join("vda.active.qcow2").exists());
        check(&mut driver.replica, &store, sealed, &now);
        let grown = driver.replica.usage().unwrap().images - before;
        assert!(grown <= 6 * CLUSTER, "only what differs is stored, not {grown} bytes");
        // The same once more is nothing, and the points of before are what they were.
        assert_eq!(driver.replica.fold(&own(id, Some(agreed)), BTreeMap::new()).unwrap(), sealed);
        for (id, want) in &driver.acknowledged {
            check_point(&driver.replica, *id, want).unwrap();
        }
        assert_eq!(driver.replica.check_tables().unwrap(), []);
        // The other host goes on from it, and pruning takes nothing that is still needed.
        driver.replica.begin_session(&Epoch { number: 8, token: 8 }, "m").unwrap();
        let mut driver = Driver::resume(driver.replica, vec![(vda(), SIZE, now)]).unwrap();
        driver.own(Epoch { number: 8, token: 8 }).unwrap();
        driver.write(&[(0, 5 * CLUSTER, 1000, 6)]);
        let next = driver.point().unwrap().id;
        driver.replica.prune_all(&last(1)).unwrap();
        check_point(&driver.replica, next, &driver.acknowledged[&next]).unwrap();
        assert_eq!(driver.replica.check_tables().unwrap(), []);
    }
}

#[test]
fn an_overlay_that_stands_alone_is_folded_like_any_other_and_leaves_no_second_copy() {
    for (back, told) in [(0, false), (1, false), (0, true)] {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let (mut driver, now) = brought_up(&store, back);
        let disks = [vda()];
        let left = driver.replica.left_to_flatten(&disks).unwrap();
        assert!((3 * CLUSTER..SIZE).contains(&left), "{left}");
        assert!(driver.replica.has_room_for(left).unwrap() && !driver.replica.has_room_for(1 << 60).unwrap());
        let overlay = store.join("vda.active.qcow2");
        let (fine, said) = tool::run(
            dir.path(),
            "qemu-img",
            &["rebase", "-f", "qcow2", "-b", "", overlay.to_str().unwrap()],
        );
        assert!(fine, "{said}");
        assert_eq!(driver.replica.left_to_flatten(&disks).unwrap(), 0);
        // It still says on which point it was begun.
        let Phase::BroughtUp { point } = driver.replica.phase() else { panic!("it was brought up") };
        driver.replica.check_overlays(point).unwrap();
        let before = driver.replica.usage().unwrap().images;
        let id = PointId { epoch: 7, number: 9 };
        let digests: Vec<_> = (0..30).map(|cluster| Ok(Digest::of(&now.cluster(cluster)))).collect();
        let known: Known = Box::new(digests.into_iter());
        let known = told.then_some((vda(), known)).into_iter().collect();
        let sealed = driver.replica.fold(&own(id, None), known).unwrap();
        check(&mut driver.replica, &store, sealed, &now);
        assert!(!overlay.exists());
        let grown = driver.replica.usage().unwrap().images - before;
        assert!(grown <= 6 * CLUSTER, "only what differs is stored, not {grown} bytes");
        for (id, want) in &driver.acknowledged {
            check_point(&driver.replica, *id, want).unwrap();
        }
    }
}

/// A machine that got a disk and lost one while it ran on overlays: what it was, and its replica.
struct Changed {
    driver: Driver,
    at: PointId,
    sealed: PointRef,
    now: Vec<(DiskKey, u64, ModelDisk)>,
}

/// `device`: the disk that came is a block device, where this system has one for us.
fn came_and_went(dir: &Path, format: &str, device: bool) -> Changed {
    let store = dir.join("store");
    let clock = ManualClock::at(1_700_000_000_000);
    let replica = driver::open(Arc::new(RealFiles), clock, &store, eager()).unwrap();
    let mut driver = Driver::start(replica, &[SIZE, 6 * CLUSTER]).unwrap();
    driver.write(&[(0, 0, 300_000, 1), (1, 0, 100_000, 2)]);
    let at = driver.point().unwrap().id;
    driver.replica.bring_up(at, Epoch { number: 7, token: 7 }).unwrap();
    // Another size than a whole number of clusters, and other clusters than ours.
    let size = 5 * CLUSTER + 4096;
    let mut added = ModelDisk::default();
    added.write(CLUSTER + 100, &driver::content(3, 200_000));
    let (raw, path) = (dir.join("added.raw"), dir.join("added.disk"));
    fs::write(&raw, added.bytes(size)).unwrap();
    let (from, to) = (raw.to_str().unwrap(), path.to_str().unwrap());
    let small: &[&str] = if format == "raw" { &[] } else { &["-o", "cluster_size=4096"] };
    let args = [&["convert", "-f", "raw", "-O", format][..], small, &[from, to]].concat();
    let (fine, said) = tool::run(dir, "qemu-img", &args);
    assert!(fine, "{said}");
    let vdc: DiskKey = "vdc".parse().unwrap();
    let device = device.then(|| tool::LoopDevice::of(&path)).flatten();
    let image = device.as_ref().map_or(path.clone(), |device| device.0.clone());
    let disks = vec![(vda(), store.join("vda.active.qcow2")), (vdc.clone(), image)];
    let own = Own { disks, ..own(PointId { epoch: 7, number: 9 }, None) };
    let sealed = driver.replica.fold(&own, BTreeMap::new()).unwrap();
    assert!(path.exists(), "a file that is not ours stays");
    let now = vec![(vda(), SIZE, driver.now[0].clone()), (vdc, size, added)];
    Changed { driver, at, sealed, now }
}

#[test]
fn a_disk_that_came_meanwhile_is_kept_whole_and_one_that_went_is_in_no_later_point() {
    for (format, device) in [("raw", false), ("qcow2", false), ("raw", true), ("qcow2", true)] {
        let dir = tempfile::tempdir().unwrap();
        let Changed { mut driver, at, sealed, now } = came_and_went(dir.path(), format, device);
        assert_eq!(driver.replica.reader(sealed.id).unwrap().disks().len(), 2);
        check_point(&driver.replica, sealed.id, &now).unwrap();
        check_point(&driver.replica, at, &driver.acknowledged[&at]).unwrap();
        driver.replica.publish(sealed.id).unwrap();
        let (store, (_, size, added)) = (dir.path().join("store"), &now[1]);
        tool::compare(&store, "vdc", &sealed.id.to_string(), added, *size);
        // The other host goes on from it with all of the disks.
        let epoch = Epoch { number: 8, token: 8 };
        driver.replica.begin_session(&epoch, "m").unwrap();
        let mut driver = Driver::resume(driver.replica, now).unwrap();
        driver.own(epoch).unwrap();
        driver.write(&[(0, 5 * CLUSTER, 1000, 6), (1, 0, 1000, 7)]);
        let next = driver.point().unwrap().id;
        check_point(&driver.replica, next, &driver.acknowledged[&next]).unwrap();
        assert_eq!(driver.replica.check_tables().unwrap(), []);
    }
}

/// Whether the disk that came is in the point.
///
/// # Errors
/// Where it is not.
pub(crate) fn a_disk_came() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let Changed { driver, sealed, now, .. } = came_and_went(dir.path(), "raw", false);
    check_point(&driver.replica, sealed.id, &now)
}

/// What the newest point is after a machine ran at an older one.
///
/// # Errors
/// Where it is not what the machine saw.
pub(crate) fn fold_at_older_point() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, now) = brought_up(&dir.path().join("store"), 1);
    let sealed = driver.replica.fold(&own(PointId { epoch: 7, number: 9 }, None), BTreeMap::new()).unwrap();
    check_point(&driver.replica, sealed.id, &[(vda(), SIZE, now)])
}

#[test]
fn circles_lengthen_no_chain_and_take_no_more_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let clock = ManualClock::at(1_700_000_000_000);
    let mut driver =
        Driver::start(driver::open(Arc::new(RealFiles), clock.clone(), &store, eager()).unwrap(), &[SIZE])
            .unwrap();
    driver.write(&[(0, 0, 300_000, 1)]);
    driver.point().unwrap();
    let mut sizes = Vec::new();
    for circle in 1..=10 {
        // Failed over to here, run, handed back; then it is replicated to here again.
        let epoch = Epoch { number: 2 * circle, token: 7 };
        let newest = driver.replica.newest().unwrap().id;
        let overlays = driver.replica.bring_up(newest, epoch).unwrap();
        let path = overlays[0].path.display().to_string();
        let (fine, said) =
            tool::run(dir.path(), "qemu-io", &["-c", &format!("write -P {circle} 131072 400000"), &path]);
        assert!(fine, "{said}");
        let mut now = driver.now[0].clone();
        now.write(131_072, &[u8::try_from(circle).unwrap(); 400_000]);
        let id = PointId { epoch: epoch.number, number: newest.number + 1 };
        let sealed = driver.replica.fold(&own(id, Some(RootDigest([7; 32]))), BTreeMap::new()).unwrap();
        check_point(&driver.replica, sealed.id, &[(vda(), SIZE, now.clone())]).unwrap();
        driver.replica.begin_session(&Epoch { number: epoch.number + 1, token: 8 }, "m").unwrap();
        driver = Driver::resume(driver.replica, vec![(vda(), SIZE, now)]).unwrap();
        driver.write(&[(0, 200_000, 300_000, circle)]);
        driver.point().unwrap();
        clock.advance(5000);
        // As the upkeep does.
        driver.replica.publish_if_due().unwrap();
        driver.replica.prune_all(&last(3)).unwrap();
        driver.replica.release_unread().unwrap();
        let images = fs::metadata(store.join("vda.qcow2")).unwrap();
        sizes.push(std::os::unix::fs::MetadataExt::blocks(&images) * 512);
        assert!(driver.replica.points().len() <= 4, "{:?}", driver.replica.points());
        assert_eq!(driver.replica.check_tables().unwrap(), []);
    }
    let (first, last) = (sizes[2], sizes[9]);
    assert!(last <= first + first / 10, "the same room after ten circles as after three: {sizes:?}");
}

#[test]
fn keeping_what_a_machine_wrote_may_be_cut_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (driver, now) = brought_up(&store, 0);
    drop(driver.replica);
    let files = MemoryFiles::new();
    for entry in walk(&store) {
        files.put(&Path::new(DIR).join(entry.strip_prefix(&store).unwrap()), &fs::read(&entry).unwrap());
    }
    let clock = ManualClock::at(1_700_000_000_000);
    let (before, begun) = (Replay::over(&files), files.log().len());
    let id = PointId { epoch: 7, number: 9 };
    let mut replica = open(&files, &clock).unwrap();
    let sealed = replica.fold(&own(id, None), BTreeMap::new()).unwrap();
    let mut replay = before;
    for op in &files.log()[begun..] {
        replay.step(op);
        for fate in [Fate::Keep, Fate::Drop] {
            let left = replay.crash(|_| fate);
            let mut replica = open(&left, &clock).unwrap();
            assert_eq!(replica.fold(&own(id, None), BTreeMap::new()).unwrap(), sealed, "after {op:?}");
            check(&mut replica, Path::new("/nowhere"), sealed, &now);
        }
    }
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn disks_of_its_own_become_the_point_that_the_other_host_already_has() {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let (old, root) = (Path::new("/images/vda.raw"), RootDigest([3; 32]));
    let mut disk = ModelDisk::default();
    disk.write(CLUSTER, &driver::content(1, 300_000));
    files.put(old, &disk.bytes(SIZE));
    files.put(Path::new("/images/vdb.raw"), &[0; 65536]);
    let mut replica = open(&files, &clock).unwrap();
    // The next owner's epoch is known before the disk is adopted.
    replica.begin_session(&Epoch { number: 5, token: 1 }, "m").unwrap();
    let digests = (0..30).map(|cluster| Ok(Digest::of(&disk.cluster(cluster))));
    replica.adopt(&vda(), old, digests.collect::<Vec<_>>().into_iter()).unwrap();
    let vdb = "vdb".parse().unwrap();
    replica.adopt(&vdb, Path::new("/images/vdb.raw"), [Ok(Digest::ZERO)].into_iter()).unwrap();
    // However early: the disks that were adopted come before every point.
    let id = PointId { epoch: 4, number: 1 };
    let sealed = replica.seal_own(&own(id, Some(root))).unwrap();
    assert_eq!((sealed, replica.last()), (PointRef { id, root }, Some(sealed)));
    assert_eq!(replica.seal_own(&own(id, Some(root))).unwrap(), sealed, "the same once more");
    drop(replica);
    let mut replica = open(&files, &clock).unwrap();
    assert_eq!((replica.phase(), replica.last()), (Phase::Receiving, Some(sealed)));
    let both = vec![(vda(), SIZE, disk), (vdb, 65536, ModelDisk::default())];
    check_point(&replica, id, &both).unwrap();
    assert_eq!(replica.reader(id).unwrap().definition().unwrap(), b"<domain/>");
    let error = replica.seal_own(&own(PointId { epoch: 3, number: 39 }, None)).unwrap_err().to_string();
    assert!(error.contains("not before"), "{error}");
    let mut driver = Driver::resume(replica, both).unwrap();
    driver.own(Epoch { number: 5, token: 1 }).unwrap();
    driver.write(&[(0, 5 * CLUSTER, 1000, 6)]);
    let next = driver.point().unwrap().id;
    assert_eq!(next, PointId { epoch: 5, number: 2 });
    check_point(&driver.replica, next, &driver.acknowledged[&next]).unwrap();
}

#[test]
fn overlays_that_were_put_aside_come_back_as_they_were_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (mut driver, now) = brought_up(&store, 1);
    let replica = &mut driver.replica;
    let Phase::BroughtUp { point } = replica.phase() else { panic!("it was brought up") };
    let newest = replica.newest().unwrap().id;
    replica.shelve().unwrap();
    replica.shelve().unwrap();
    assert!(replica.is_shelved(point).unwrap() && replica.phase() == Phase::Receiving);
    replica.prune_all(&last(1)).unwrap();
    replica.bring_up(newest, Epoch { number: 8, token: 8 }).unwrap();
    assert!(replica.unshelve(point).is_err(), "the machine is at another point");
    replica.shelve().unwrap();
    replica.bring_up(point, Epoch { number: 9, token: 9 }).unwrap();
    replica.unshelve(point).unwrap();
    replica.check_overlays(point).unwrap();
    assert!(!replica.is_shelved(point).unwrap() && replica.is_shelved(newest).unwrap());
    let (overlay, out) = (store.join("vda.active.qcow2"), dir.path().join("up.raw"));
    let args = ["convert", "-O", "raw", overlay.to_str().unwrap(), out.to_str().unwrap()];
    let (fine, said) = tool::run(dir.path(), "qemu-img", &args);
    assert!(fine, "{said}");
    assert!(fs::read(&out).unwrap() == now.bytes(SIZE), "as it was left");
    replica.clear_shelf().unwrap();
    assert!(!replica.is_shelved(newest).unwrap());
}

#[test]
fn a_point_gone_to_a_second_time_keeps_what_was_left_there_first_and_its_variables() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (mut driver, _) = brought_up(&store, 1);
    let replica = &mut driver.replica;
    let Phase::BroughtUp { point } = replica.phase() else { panic!("it was brought up") };
    let newest = replica.newest().unwrap().id;
    let (overlay, nvram) = (store.join("vda.active.qcow2"), store.join("nvram.active"));
    let mut epoch = 8;
    let mut go = |replica: &mut Replica, to: PointId, as_left: bool| {
        replica.shelve().unwrap();
        assert!(!nvram.exists(), "what the firmware wrote at one point is not for another");
        epoch += 1;
        replica.bring_up(to, Epoch { number: epoch, token: 9 }).unwrap();
        if as_left {
            replica.unshelve(to).unwrap();
            // Cut behind it, it is done once more.
            replica.unshelve(to).unwrap();
        }
    };
    let first = fs::read(&overlay).unwrap();
    fs::write(&nvram, "first").unwrap();
    go(replica, newest, false);
    fs::write(&nvram, "newest").unwrap();
    go(replica, point, false);
    let second = fs::read(&overlay).unwrap();
    assert!(second != first, "it is fresh");
    fs::write(&nvram, "second").unwrap();
    go(replica, newest, true);
    assert_eq!(fs::read(&nvram).unwrap(), b"newest");
    let kept = |name: &str| fs::read(store.join(format!("{name}.kept-{point}"))).unwrap();
    let before = |name: &str| fs::read(store.join(format!("{name}.kept-{point}~1"))).unwrap();
    assert!(kept("vda") == second && before("vda") == first, "nothing that was written is lost");
    assert_eq!((kept("nvram.active"), before("nvram.active")), (b"second".to_vec(), b"first".to_vec()));
    go(replica, point, true);
    assert_eq!(fs::read(&nvram).unwrap(), b"second", "the last time counts");
    assert!(fs::read(&overlay).unwrap() == second && before("vda") == first);
    assert!(!replica.is_shelved(point).unwrap(), "what was left before is never taken for the last");
    let pinned = replica.points().into_iter().find(|at| at.id == point).unwrap().pinned_by;
    assert!(!pinned.is_empty(), "what was left there first still stands on it");
    replica.clear_shelf().unwrap();
    assert!(!store.join(format!("vda.kept-{point}~1")).exists());
}

/// A machine that went from one point to another and back, fresh each time, is taken back: each
/// time's writes are points. Cut anywhere, it goes on.
#[test]
fn what_was_put_aside_is_kept_as_points_one_for_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (mut driver, first) = brought_up(&store, 1);
    let replica = &mut driver.replica;
    let Phase::BroughtUp { point } = replica.phase() else { panic!("it was brought up") };
    let overlay = store.join("vda.active.qcow2").display().to_string();
    let again = |replica: &mut Replica, epoch, byte: u8| {
        replica.shelve().unwrap();
        replica.bring_up(point, Epoch { number: epoch, token: 9 }).unwrap();
        let command = format!("write -P {byte} 65536 65536");
        let (fine, said) = tool::run(&store, "qemu-io", &["-c", &command, &overlay]);
        assert!(fine, "{said}");
    };
    again(replica, 8, 1);
    again(replica, 9, 2);
    let written = |byte: u8| {
        let mut disk = driver.acknowledged[&point][0].2.clone();
        disk.write(CLUSTER, &[byte; 65536]);
        disk
    };
    assert_eq!(replica.shelved().unwrap().len(), 2);
    let (end, aside) = (PointId { epoch: 7, number: 9 }, Aside { epoch: 7, first: 7, end: 9 });
    let template = own(end, None);
    fs::write(store.join(format!("nvram.active.kept-{point}~1")), "first").unwrap();
    let definition = |nvram: &Path| fs::read(nvram).unwrap_or_default();
    let few = replica.fold_shelf(Aside { first: 8, ..aside }, &template, &definition, "own");
    assert!(few.is_err(), "the number of what was there before is nobody's");
    let sealed = replica.fold_shelf(aside, &template, &definition, "own").unwrap();
    let ids: Vec<u64> = sealed.iter().map(|point| point.id.number).collect();
    assert_eq!((ids, replica.shelved().unwrap().len()), (vec![7, 8], 0));
    assert_eq!(replica.fold_shelf(aside, &template, &definition, "own").unwrap(), []);
    let last = replica.fold(&template, BTreeMap::new()).unwrap();
    replica.clear_shelf().unwrap();
    for (id, now) in [(sealed[0].id, &first), (sealed[1].id, &written(1)), (last.id, &written(2))] {
        check_point(replica, id, &[(vda(), SIZE, now.clone())]).unwrap();
    }
    let pinned = |id| replica.points().into_iter().find(|at| at.id == id).unwrap().pinned_by;
    assert_eq!(pinned(sealed[0].id), ["own"]);
    let variables = sealed.iter().map(|point| replica.reader(point.id).unwrap().definition().unwrap());
    assert_eq!(variables.collect::<Vec<_>>(), [b"first".to_vec(), Vec::new()], "each time's own");
    assert_eq!(replica.check_tables().unwrap(), []);
}

/// Cut between the point and its overlays' end, and between one overlay put aside and the next.
#[test]
fn what_was_put_aside_is_kept_once_wherever_that_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let (mut driver, first) = brought_up(&store, 0);
    let replica = &mut driver.replica;
    let Phase::BroughtUp { point } = replica.phase() else { panic!("it was brought up") };
    let (active, kept) = (store.join("vda.active.qcow2"), store.join(format!("vda.kept-{point}")));
    // Put aside, which nobody has noted yet; before that, the firmware's variables alone.
    let nvram = store.join(format!("nvram.active.kept-{point}"));
    fs::write(&nvram, "variables").unwrap();
    assert!(replica.shelved().unwrap().is_empty());
    fs::rename(&active, &kept).unwrap();
    let overlay = fs::read(&kept).unwrap();
    let (end, aside) = (PointId { epoch: 7, number: 9 }, Aside { epoch: 7, first: 8, end: 9 });
    let definition = |_: &Path| Vec::new();
    let sealed = replica.fold_shelf(aside, &own(end, None), &definition, "own").unwrap();
    assert_eq!((sealed.len(), sealed[0].id.number, replica.phase()), (1, 8, Phase::Receiving));
    fs::write(&kept, overlay).unwrap();
    assert_eq!(
        replica.fold_shelf(aside, &own(end, None), &definition, "own").unwrap(),
        sealed,
        "the same once more"
    );
    assert!(!kept.exists());
    check(replica, &store, sealed[0], &first);
}

/// Hours later the machine's own writes become a point, of which what goes on elsewhere has nothing.
pub(crate) fn sealed_late() -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let clock = ManualClock::at(1_700_000_000_000);
    let (mut driver, _) = brought_up_by(&clock, &store, 0);
    let known = driver.replica.newest().unwrap().captured_ms;
    clock.advance(36_000_000);
    driver.replica.fold(&own(PointId { epoch: 7, number: 9 }, None), BTreeMap::new()).unwrap();
    match driver.replica.newest().unwrap().captured_ms.saturating_sub(known) {
        0 => Ok(()),
        ms => Err(format!("it counts for {ms} ms younger than the last point that both hosts have")),
    }
}

#[test]
fn what_a_machine_wrote_itself_is_no_younger_than_what_both_hosts_have() {
    sealed_late().unwrap();
}
