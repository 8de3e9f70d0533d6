//! Stock `qemu-img` as the judge: published points read by it equal the model, and its
//! `check` finds nothing.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use farshore_env::{Files, OpenMode, RealFiles};
use farshore_sim::{
    ManualClock, MemoryFiles, ModelDisk,
    driver::{self, Driver, check_point},
};
use farshore_types::Epoch;

use crate::{
    points::{DIR, eager, last},
    tool,
};

fn qemu_img(args: &[&str]) -> String {
    let out = Command::new("qemu-img").args(args).output().expect("qemu-img is installed");
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "qemu-img {args:?}: {text}");
    text
}

fn image(dir: &Path, disk: &str) -> String {
    dir.join(format!("{disk}.qcow2")).display().to_string()
}

/// Compares every published point, as stock tools read it, with the model.
fn judge(dir: &Path, driver: &Driver) -> usize {
    let mut judged = 0;
    for point in driver.replica.points().into_iter().filter(|p| p.published) {
        for (disk, size, model) in &driver.acknowledged[&point.id] {
            let path = image(dir, disk.as_str());
            let out = dir.join("judged.raw").display().to_string();
            qemu_img(&["convert", "-U", "-l", &point.id.to_string(), "-O", "raw", &path, &out]);
            assert_same(Path::new(&out), model, *size);
            judged += 1;
        }
        check_point(&driver.replica, point.id, &driver.acknowledged[&point.id]).unwrap();
    }
    for (disk, _) in &driver.disks {
        let said = qemu_img(&["check", "-U", &image(dir, disk.as_str())]);
        assert!(said.contains("No errors were found"), "{said}");
    }
    judged
}

/// Compares a raw file with the model, cluster by cluster.
fn assert_same(raw: &Path, model: &ModelDisk, size: u64) {
    let file = RealFiles.open(raw, OpenMode::Read).unwrap();
    for cluster in 0..size.div_ceil(65536) {
        let mut got = vec![0; 65536];
        let read = file.read_at(&mut got, cluster * 65536).unwrap();
        assert!(read > 0, "{} ends before cluster {cluster}", raw.display());
        assert!(got == model.cluster(cluster), "{}: cluster {cluster} differs", raw.display());
    }
}

/// A stock reader that is ended with the test.
struct Reader(Child);

impl Reader {
    fn of(point: &str, image: &str, socket: &Path) -> Reader {
        let args = ["-r", "-l", point, "-k", &socket.display().to_string(), image];
        let child =
            Command::new("qemu-nbd").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Reader(child)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn workload(dir: &Path, seed: u64, cycles: u64) -> (Driver, usize) {
    let clock = ManualClock::at(1_700_000_000_000);
    let replica = driver::open(Arc::new(RealFiles), clock.clone(), dir, eager()).unwrap();
    // More than one L2 table: 512 MiB each.
    let mut driver = Driver::start(replica, &[560 << 20, 3 << 20]).unwrap();
    let (mut noise, mut judged) = (Noise(seed), 0);
    for cycle in 0..cycles {
        clock.advance(2000);
        for _ in 0..noise.next(12) {
            let disk = usize::try_from(noise.next(2)).unwrap();
            let at = noise.next(140) * (4 << 20) + noise.next(99_999);
            let len = usize::try_from(noise.next(200_000)).unwrap();
            driver.write(&[(disk, at, len, noise.next(1000))]);
        }
        driver.point().unwrap();
        driver.replica.publish_if_due().unwrap();
        if noise.next(5) == 0 {
            driver.replica.prune_all(&last(6)).unwrap();
        }
        if cycle % 10 == 9 {
            judged += judge(dir, &driver);
        }
    }
    (driver, judged)
}

#[test]
fn published_points_equal_the_model_by_stock_tools() {
    for seed in 1..3 {
        let dir = tempfile::tempdir().unwrap();
        let (_, judged) = workload(dir.path(), seed, 40);
        assert!(judged >= 8, "only {judged} points were judged");
    }
}

#[test]
fn any_point_published_on_demand_is_right_by_stock_tools() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _) = workload(dir.path(), 9, 25);
    for point in driver.replica.points() {
        driver.replica.publish(point.id).unwrap();
    }
    assert!(driver.replica.points().iter().all(|p| p.published));
    judge(dir.path(), &driver);
}

#[test]
fn a_brought_up_point_reads_right_through_its_overlay_and_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _) = workload(dir.path(), 5, 20);
    for (n, back) in [(2, 0), (3, 4), (4, 1)] {
        let point = driver.replica.points().into_iter().rev().nth(back).unwrap();
        let disks = driver.replica.bring_up(point.id, Epoch { number: n, token: 1 }).unwrap();
        for (overlay, (_, size, model)) in disks.iter().zip(&driver.acknowledged[&point.id]) {
            let (path, out) = (overlay.path.display().to_string(), dir.path().join("out.raw"));
            qemu_img(&["convert", "-O", "raw", &path, &out.display().to_string()]);
            assert_same(&out, model, *size);
            let wrote = Command::new("qemu-io").args(["-c", "write 0 1M", &path]).output().unwrap();
            assert!(wrote.status.success());
            qemu_img(&["check", &path]);
            driver.replica.check_overlays(point.id).unwrap();
        }
        driver.replica.discard().unwrap();
        driver.replica.begin_session(&Epoch { number: n, token: 1 }, "web1").unwrap();
    }
    judge(dir.path(), &driver);
}

#[test]
fn an_overlay_over_other_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _) = workload(dir.path(), 6, 12);
    let points = driver.replica.points();
    driver.replica.bring_up(points[3].id, Epoch { number: 2, token: 1 }).unwrap();
    let overlay = dir.path().join("vda.active.qcow2");
    let kept = std::fs::read(&overlay).unwrap();
    driver.replica.discard().unwrap();
    driver.replica.bring_up(points[5].id, Epoch { number: 3, token: 1 }).unwrap();
    std::fs::write(&overlay, kept).unwrap();
    let error = driver.replica.check_overlays(points[5].id).unwrap_err().to_string();
    assert!(error.contains(&points[3].id.to_string()), "{error}");
}

#[test]
fn stock_writers_are_refused_while_the_agent_holds_the_replica() {
    let dir = tempfile::tempdir().unwrap();
    let (driver, _) = workload(dir.path(), 7, 12);
    let path = image(dir.path(), "vda");
    let name = driver.replica.points().into_iter().find(|p| p.published).unwrap().id.to_string();
    for args in [
        vec!["snapshot", "-d", &name, &path],
        vec!["check", "-r", "all", &path],
        vec!["resize", &path, "+1G"],
    ] {
        let out = Command::new("qemu-img").args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains("lock"), "{args:?}: {said}");
    }
    judge(dir.path(), &driver);
}

#[test]
fn freed_places_wait_while_another_program_reads_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _) = workload(dir.path(), 8, 20);
    let name = driver.replica.points().into_iter().rfind(|p| p.published).unwrap().id.to_string();
    let readers: Vec<Reader> = ["vda", "vdb"]
        .map(|disk| Reader::of(&name, &image(dir.path(), disk), &dir.path().join(format!("{disk}.sock"))))
        .into();
    driver.replica.prune_all(&last(1)).unwrap();
    assert_eq!(driver.replica.release_unread().unwrap(), 0, "readers are at the images");
    drop(readers);
    assert!(driver.replica.release_unread().unwrap() > 0);
    judge(dir.path(), &driver);
}

/// Clusters of an image's refcount table, by its header.
fn table_clusters(image: &[u8]) -> u32 {
    u32::from_be_bytes(image[56..60].try_into().unwrap())
}

#[test]
fn the_refcount_table_of_a_small_disk_stays_small_over_hundreds_of_publications() {
    let (files, clock) = (MemoryFiles::new(), ManualClock::at(1_700_000_000_000));
    let replica = driver::open(Arc::new(files.clone()), clock.clone(), Path::new(DIR), eager()).unwrap();
    let mut driver = Driver::start(replica, &[8 << 20, 1 << 20]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut published = 0;
    for cycle in 0..300_u64 {
        clock.advance(4000);
        driver.write(&[(0, cycle * 70_000, 90_000, cycle), (1, 0, 5000, cycle)]);
        driver.point().unwrap();
        published += u32::from(driver.replica.publish_if_due().unwrap());
        if cycle % 3 == 2 {
            driver.replica.prune_all(&last(4)).unwrap();
        }
        for disk in ["vda", "vdb"] {
            let image = files.content(&Path::new(DIR).join(format!("{disk}.qcow2"))).unwrap();
            assert_eq!(table_clusters(&image), 1, "{disk} after {published} publications");
        }
        if cycle % 100 == 50 {
            tool::write_out(&files, Path::new(DIR), dir.path());
            qemu_img(&["info", &image(dir.path(), "vda")]);
        }
    }
    assert_eq!(published, 300);
    tool::write_out(&files, Path::new(DIR), dir.path());
    tool::check_images(dir.path());
}
