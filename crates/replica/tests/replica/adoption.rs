//! Adopted disks: whatever program wrote the copy, the points of its replica read right by
//! our reader and by stock tools, and a crash loses neither the copy nor a point.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use farshore_env::{Files, OpenMode, RealFiles};
use farshore_replica::{AdoptedDisk, Replica, ReplicaError};
use farshore_sim::{
    Fate, ManualClock, MemoryFiles, ModelDisk, Replay,
    driver::{self, Driver, check_point},
};
use farshore_types::{CLUSTER_SIZE, Digest, DiskKey, PointRef, clusters_in};

use crate::{
    history::{CLUSTER, open},
    points::{DIR, eager, last},
    tool,
};

/// Not a whole number of clusters.
const SIZE: u64 = 40 * CLUSTER - 4096;
const OLD: &str = "/media/vda.raw";

fn vda() -> DiskKey {
    "vda".parse().unwrap()
}

/// The old copy: text, noise, and zeros in between.
fn model() -> ModelDisk {
    let mut model = ModelDisk::default();
    model.write(0, &driver::content(1, 9 * CLUSTER_SIZE));
    model.write(20 * CLUSTER, &driver::content(2, 700_000));
    model.write(SIZE - 5000, &driver::content(3, 5000));
    model
}

fn digests(files: &dyn Files, path: &Path) -> Vec<io::Result<Digest>> {
    let disk = AdoptedDisk::open(files, path).unwrap();
    let mut buf = vec![0; CLUSTER_SIZE];
    let read = |cluster| {
        disk.read_at(&mut buf, cluster * CLUSTER).unwrap();
        Ok(Digest::of(&buf))
    };
    (0..clusters_in(disk.size())).map(read).collect()
}

fn adopt(replica: &mut Replica, files: &dyn Files, from: &Path) -> Result<PointRef, ReplicaError> {
    replica.adopt(&vda(), from, digests(files, from).into_iter())
}

/// A source whose disk differs from the copy in a few places only.
fn drive(replica: Replica, model: ModelDisk) -> Driver {
    let mut driver = Driver::start(replica, &[SIZE]).unwrap();
    driver.now[0] = model;
    driver.write(&[(0, 65536, 65536, 0), (0, 1_700_000, 10_000, 1)]);
    driver
}

fn check(driver: &Driver, id: farshore_types::PointId) {
    check_point(&driver.replica, id, &driver.acknowledged[&id]).unwrap();
    driver.replica.reader(id).unwrap().verify(&mut |_, _| ()).unwrap();
}

/// The copy in every form in which an operator may have it.
#[test]
fn a_copy_in_any_form_is_read_right_and_only_differences_are_stored() {
    for (format, options) in [
        ("raw", ""),
        ("qcow2", ""),
        ("qcow2", "compat=0.10,cluster_size=4k"),
        ("qcow2", "cluster_size=2M"),
        ("qcow2", "compressed"),
        ("qcow2", "compressed,compression_type=zstd,cluster_size=1M"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (raw, copy) = (dir.path().join("raw"), dir.path().join("copy"));
        std::fs::write(&raw, model().bytes(SIZE)).unwrap();
        let mut args = vec!["convert", "-f", "raw", "-O", format];
        if options.starts_with("compressed") {
            args.push("-c");
        }
        let options = options.trim_start_matches("compressed").trim_start_matches(',');
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        let (from, to) = (raw.display().to_string(), copy.display().to_string());
        args.extend([from.as_str(), &to]);
        let (fine, said) = tool::run(dir.path(), "qemu-img", &args);
        assert!(fine, "{args:?}: {said}");

        let store = dir.path().join("store");
        let clock = ManualClock::at(1_700_000_000_000);
        let mut replica = driver::open(Arc::new(RealFiles), clock.clone(), &store, eager()).unwrap();
        adopt(&mut replica, &RealFiles, &copy).unwrap();
        assert!(!copy.exists() && store.join("vda.adopted").exists());
        let mut driver = drive(replica, model());
        let first = driver.point().unwrap().id;
        check(&driver, first);
        driver.write(&[(0, 30 * CLUSTER, 70_000, 5)]);
        let second = driver.point().unwrap().id;
        driver.replica.publish(first).unwrap();
        driver.replica.publish(second).unwrap();
        for id in [first, second] {
            check(&driver, id);
            let (disk, size, now) = &driver.acknowledged[&id][0];
            tool::compare(&store, disk.as_str(), &id.to_string(), now, *size);
        }
        let received: u64 = driver.replica.points().iter().map(|p| p.received).sum();
        assert!(received <= 4 * CLUSTER, "only what differs is stored, not {received} bytes");
        assert_eq!(driver.replica.check_tables().unwrap(), []);
        let overlays = driver.replica.bring_up(first, farshore_types::Epoch { number: 9, token: 1 }).unwrap();
        let out = dir.path().join("up.raw");
        let args = ["convert", "-O", "raw", overlays[0].path.to_str().unwrap(), out.to_str().unwrap()];
        let (fine, said) = tool::run(dir.path(), "qemu-img", &args);
        assert!(fine, "{said}");
        assert!(std::fs::read(&out).unwrap() == driver.acknowledged[&first][0].2.bytes(SIZE), "{format}");
    }
}

fn in_memory() -> (MemoryFiles, Arc<ManualClock>) {
    let files = MemoryFiles::new();
    files.put(Path::new(OLD), &model().bytes(SIZE));
    (files, ManualClock::at(1_700_000_000_000))
}

/// A disk that was smaller for a while: what its old copy holds there must not come back.
///
/// # Errors
/// What a stock tool was shown.
pub(crate) fn shrink_and_grow() -> Result<(), String> {
    let (files, clock) = in_memory();
    let mut replica = open(&files, &clock).unwrap();
    adopt(&mut replica, &files, Path::new(OLD)).unwrap();
    let mut driver = drive(replica, model());
    for size in [25 * CLUSTER, SIZE] {
        if size < driver.disks[0].1 {
            driver.write(&[(0, size, 20 * CLUSTER_SIZE, 0)]);
        }
        driver.disks[0].1 = size;
        driver.point().unwrap();
        driver.replica.prune_all(&last(1)).unwrap();
    }
    let id = driver.replica.newest().unwrap().id;
    check(&driver, id);
    driver.replica.publish(id).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tool::write_out(&files, Path::new(DIR), &dir.path().join("store"));
    let out = dir.path().join("out.raw");
    let image = dir.path().join("store/vda.qcow2");
    let args = ["convert", "-O", "raw", image.to_str().unwrap(), out.to_str().unwrap()];
    let (fine, said) = tool::run(dir.path(), "qemu-img", &args);
    assert!(fine, "{said}");
    match std::fs::read(out).unwrap() == driver.now[0].bytes(SIZE) {
        true => Ok(()),
        false => Err("stock tools are shown what the disk no longer has".to_owned()),
    }
}

#[test]
fn a_disk_that_was_smaller_for_a_while_does_not_show_its_old_copy_again() {
    shrink_and_grow().unwrap();
}

/// The copy is never lost, and the adoption is done, or can be repeated, or the disk is sent
/// whole: in each case the next point is right, by stock tools, too.
#[test]
fn an_adoption_cut_anywhere_loses_nothing() {
    let (files, clock) = in_memory();
    let before = Replay::over(&files);
    let begun = files.log().len();
    let mut replica = open(&files, &clock).unwrap();
    adopt(&mut replica, &files, Path::new(OLD)).unwrap();
    let content = model().bytes(SIZE);
    let mut replay = before;
    for op in &files.log()[begun..] {
        replay.step(op);
        for fate in [Fate::Keep, Fate::Drop] {
            for repeats in [true, false] {
                let left = replay.crash(|_| fate);
                let inside = PathBuf::from(DIR).join("vda.adopted");
                let found: Vec<PathBuf> =
                    [PathBuf::from(OLD), inside].into_iter().filter(|p| left.content(p).is_ok()).collect();
                let [at] = found.as_slice() else { panic!("after {op:?}: the copy is at {found:?}") };
                assert!(left.content(at).unwrap() == content);
                go_on(&left, at, repeats);
            }
        }
    }
}

fn go_on(left: &MemoryFiles, copy: &Path, repeats: bool) {
    let mut replica = open(left, &ManualClock::at(1_700_000_100_000)).unwrap();
    if repeats && replica.check_adoptable(&vda()).is_ok() {
        adopt(&mut replica, left, copy).unwrap();
    }
    let whole = replica.last().is_none();
    let mut driver = drive(replica, model());
    if whole {
        let now = driver.state();
        driver = Driver::resume(driver.replica, now).unwrap();
    }
    driver.write(&[(0, 3 * CLUSTER, 100_000, 0)]);
    let id = driver.point().unwrap().id;
    check(&driver, id);
    driver.replica.publish(id).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tool::write_out(left, Path::new("/"), dir.path());
    tool::compare(&dir.path().join("store"), "vda", &id.to_string(), &driver.now[0], SIZE);
}

#[test]
fn what_cannot_be_adopted_is_refused_and_stays_where_it_is() {
    let (files, clock) = in_memory();
    let mut replica = open(&files, &clock).unwrap();
    let short = digests(&files, Path::new(OLD)).into_iter().skip(1).collect::<Vec<_>>();
    let error = replica.adopt(&vda(), Path::new(OLD), short.into_iter()).unwrap_err().to_string();
    assert!(error.contains("40 clusters, not 39"), "{error}");
    let mut driver = drive(replica, ModelDisk::default());
    driver.point().unwrap();
    let error = adopt(&mut driver.replica, &files, Path::new(OLD)).unwrap_err().to_string();
    assert!(error.contains("recovery points already"), "{error}");
    assert!(files.content(Path::new(OLD)).is_ok());
}

#[test]
fn a_missing_copy_is_named_and_what_does_not_lie_in_it_is_read() {
    let (files, clock) = in_memory();
    let mut replica = open(&files, &clock).unwrap();
    adopt(&mut replica, &files, Path::new(OLD)).unwrap();
    let mut driver = drive(replica, model());
    let id = driver.point().unwrap().id;
    files.remove(&Path::new(DIR).join("vda.adopted")).unwrap();
    let reader = driver.replica.reader(id).unwrap();
    let error = reader.verify(&mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("vda.adopted"), "{error}");
    let entries: Vec<_> = reader.map(&vda()).unwrap().map(Result::unwrap).collect();
    let own = entries.iter().find(|e| e.place.range().is_some()).unwrap();
    reader.read(&vda(), own, &mut Vec::new()).unwrap();
}

#[test]
fn a_damaged_copy_is_an_error_and_never_wrong_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, copy) = (dir.path().join("raw"), dir.path().join("copy"));
    std::fs::write(&raw, model().bytes(SIZE)).unwrap();
    let args = ["convert", "-c", "-f", "raw", "-O", "qcow2", raw.to_str().unwrap(), copy.to_str().unwrap()];
    let (fine, said) = tool::run(dir.path(), "qemu-img", &args);
    assert!(fine, "{said}");
    let whole = std::fs::read(&copy).unwrap();
    let want = model().bytes(SIZE);
    let files = MemoryFiles::new();
    let read = |bytes: &[u8]| -> Result<Vec<u8>, ReplicaError> {
        files.put(Path::new("/copy"), bytes);
        let disk = AdoptedDisk::open(&files, Path::new("/copy"))?;
        let mut out = vec![0; usize::try_from(disk.size().min(SIZE)).unwrap()];
        disk.read_at(&mut out, 0).map(|()| out)
    };
    assert!(read(&whole).unwrap() == want);
    let mut refused = 0;
    for at in (0..112).step_by(3).chain((112..whole.len()).step_by(9001)) {
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        // Not every flipped bit of a deflate stream can be seen: the digests see it.
        refused += usize::from(read(&bad).is_err());
    }
    assert!(refused > 0);
    for cut in [0, 3, 4, 71, 103, whole.len() / 2] {
        assert!(read(&whole[..cut]).map_or(true, |bytes| bytes != want), "{cut}");
    }
    drop(files.open(Path::new("/copy"), OpenMode::Read));
}
