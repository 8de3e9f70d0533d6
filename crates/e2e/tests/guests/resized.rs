//! A real guest whose disks grow, shrink, come and go while it is protected, running and off: every
//! point has them as they were at its instant, judged by stock tools, and comes up with them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use farshore_agent::control::{BroughtUp, Exported, PointLine};
use farshore_e2e::host::{TestHost, run};
use farshore_guest::Load;
use farshore_protection::{Operation, State};

use crate::{
    handed::{Above, IDS},
    ledger::whole,
    site::{MACHINE, Site, order, order_alone, wait},
};

const MIB: u64 = 1 << 20;

/// An image of so many MiB with data here and there.
pub(crate) fn filled(path: &Path, format: &str, mib: u64) {
    run(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(path).arg(format!("{mib}M")))
        .unwrap();
    let write = format!("write -P 0x5a 1M {}M", mib / 4);
    let last = format!("write -P 0xa5 {} 65536", mib * MIB - 65536);
    run(Command::new("qemu-io").args(["-f", format, "-c", &write, "-c", &last]).arg(path)).unwrap();
}

pub(crate) fn device(path: &Path, format: &str, target: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='{format}' discard='unmap'/>\
         <source file='{}'/><target dev='{target}' bus='virtio'/></disk>",
        path.display()
    )
}

/// Stock tools find the same in both. The guest's own host may have one open.
pub(crate) fn same(image: &Path, format: &str, raw: &Path) {
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-U", "-f", format, "-F", "raw"]).args([image, raw]);
    run(&mut compare).unwrap_or_else(|why| panic!("{}: {why}", image.display()));
}

fn sizes(point: &PointLine) -> Vec<(&str, u64)> {
    point.disks.iter().map(|(disk, size)| (disk.as_str(), size / MIB)).collect()
}

/// A point's disks, written out.
fn export(host: &TestHost, point: &PointLine, to: &Path) -> Vec<PathBuf> {
    std::fs::create_dir_all(to).unwrap();
    let (id, to) = (point.id.to_string(), to.display().to_string());
    let exported: Exported = host.command(&["export", MACHINE, "--point", &id, "--to", &to]).unwrap();
    exported.disks.into_iter().map(|disk| disk.path).collect()
}

/// Waits for a point of now that has exactly these disks, judges the guest's two by its ledger,
/// and gives all of them.
fn point_with(site: &Site, what: &[(&str, u64)]) -> (PointLine, Vec<PathBuf>) {
    let point = wait(&format!("a point with {what:?}"), || {
        let point = site.points().pop()?;
        (sizes(&point) == what).then_some(point)
    });
    let disks = export(&site.away, &point, &site.dir.path().join(point.id.to_string()));
    whole(&disks[0], &disks[1]).unwrap_or_else(|why| panic!("point {}: {why}", point.id));
    (point, disks)
}

fn resyncs(site: &Site) -> u64 {
    site.home.source().unwrap().details["totals"]["resyncs"].as_u64().unwrap()
}

#[test]
fn disks_that_grow_come_and_go_are_in_every_point_as_they_were_and_come_up_like_that() {
    let mut site = Site::new(Load { write_kib_per_second: 128, ..Load::default() });
    site.away.start_agent().unwrap();
    site.start_guest();
    site.replicate("1s", "");
    let images = site.home.dir.join("images");
    let (first, _) = point_with(&site, &[("vda", 192), ("vdb", 64)]);

    order(&site.home, &format!("{MACHINE}\nresize vda {}", 256 * MIB));
    point_with(&site, &[("vda", 256), ("vdb", 64)]);
    let (vdc, vdd) = (images.join("added.qcow2"), images.join("added.raw"));
    filled(&vdc, "qcow2", 80);
    filled(&vdd, "raw", 8);
    order(&site.home, &format!("{MACHINE}\nattach both\n{}", device(&vdc, "qcow2", "vdc")));
    let (_, disks) = point_with(&site, &[("vda", 256), ("vdb", 64), ("vdc", 80)]);
    same(&vdc, "qcow2", &disks[2]);
    // One that is gone when the machine stops, and has no bitmaps.
    order(&site.home, &format!("{MACHINE}\nattach live\n{}", device(&vdd, "raw", "vdd")));
    let four = [("vda", 256), ("vdb", 64), ("vdc", 80), ("vdd", 8)];
    let (all, disks) = point_with(&site, &four);
    same(&vdd, "raw", &disks[3]);
    // Unplugged while no backup runs: libvirt 11.3 hangs or dies where a disk goes in the middle
    // of one.
    site.home.kill_agent();
    order_alone(&site.home, &format!("{MACHINE}\ndetach both\n{}", device(&vdc, "qcow2", "vdc")));
    site.home.start_agent().unwrap();
    point_with(&site, &[("vda", 256), ("vdb", 64), ("vdd", 8)]);
    assert_eq!(resyncs(&site), 0, "nothing was read anew for that");

    order(&site.home, &format!("{MACHINE}\noff"));
    point_with(&site, &[("vda", 256), ("vdb", 64)]);
    let resize = |args: &[&str], image: &str, to: &str| {
        // The agent may have it open for a cycle.
        wait("the image to be free", || {
            let mut resize = Command::new("qemu-img");
            run(resize.arg("resize").args(args).args(["-f", "qcow2"]).arg(images.join(image)).arg(to)).ok()
        });
    };
    resize(&["--shrink"], "vda.qcow2", "224M");
    resize(&[], "vdb.qcow2", "96M");
    let (_, disks) = point_with(&site, &[("vda", 224), ("vdb", 96)]);
    same(&images.join("vda.qcow2"), "qcow2", &disks[0]);
    same(&images.join("vdb.qcow2"), "qcow2", &disks[1]);
    println!("{} resyncs after sizes changed while it was off", resyncs(&site));

    // Points of before are what they were, and come up with all of their disks.
    let again = export(&site.away, &first, &site.dir.path().join("again"));
    assert_eq!(again.iter().map(|disk| disk.metadata().unwrap().len() / MIB).collect::<Vec<_>>(), [192, 64]);
    site.home.kill_agent();
    for point in [&all, &first] {
        let (boots, id) = (site.verdicts().len(), point.id.to_string());
        let up: BroughtUp =
            site.away.command(&["bring-up", MACHINE, "--point", &id, "--force", "--replace"]).unwrap();
        assert_eq!(up.disks.len(), point.disks.len(), "{up:?}");
        site.verdict_after(boots);
    }
}

#[test]
fn a_disk_that_came_on_the_other_side_comes_home_and_stays_in_the_replica_there() {
    let mut above = Above::new(1);
    above.until("the first point", |life| life.state() == State::Protected);
    above.move_over(Operation::PlannedFailover);
    above.next_point();
    let images = above.site.away.dir.join("images");
    std::fs::create_dir_all(&images).unwrap();
    let vdc = images.join("added.qcow2");
    filled(&vdc, "qcow2", 80);
    order(&above.site.away, &format!("{MACHINE}\nattach both\n{}", device(&vdc, "qcow2", "vdc")));
    order(&above.site.away, &format!("{MACHINE}\nresize vda {}", 224 * MIB));
    let three = [("vda", 224), ("vdb", 64), ("vdc", 80)];
    wait("a point at home with all of it", || {
        above.hear();
        above.points(IDS[0]).last().is_some_and(|point| sizes(point) == three).then_some(())
    });
    above.order(Operation::Commit, |_| {});
    above.move_over(Operation::Failback);
    let point = above.next_point();
    assert_eq!(sizes(&point), three);
    // What was left there is whole, and so is what came after it.
    let points = above.points(IDS[1]);
    let kept: Vec<&PointLine> = points.iter().filter(|point| sizes(point) == three).collect();
    assert_eq!(kept[0].id.epoch, 2, "the point by which it came home: {}", kept[0].id);
    for point in [kept[0], &point] {
        let disks = export(&above.site.away, point, &above.site.dir.path().join(point.id.to_string()));
        same(&vdc, "qcow2", &disks[2]);
    }
    let report = above.desk(IDS[0]).report().unwrap();
    assert!(report.sources.iter().all(|source| source.totals.resyncs == 0), "{:?}", report.sources);
}
