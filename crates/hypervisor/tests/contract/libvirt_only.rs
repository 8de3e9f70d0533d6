//! What only a real hypervisor can show.

use std::{io::Write, path::Path, process::Command};

use farshore_hypervisor::{Hypervisor, Kind, PowerState, Start, Tracking};

use crate::{
    Report,
    real::{RealRig, create_image},
    rig::{CLUSTER, DISK, Rig, key, spec, unique},
    run_all,
};

pub(crate) async fn all(report: &mut Report<'_>, rig: &RealRig) {
    run_all!(report, "libvirt", rig, libvirt_only:
        another_process_cannot_take_the_embedded_host,
        a_block_job_in_the_way_is_named,
        a_machine_that_is_looked_at_while_its_pulls_end_lives,
        a_block_device_tells_whether_it_was_written_while_its_machine_is_off,
        what_this_host_cannot_start_is_said_before,
        disks_that_cannot_be_tracked_say_why,
        a_place_that_qemu_cannot_write_is_said_to_be_one,
        an_agent_that_does_not_run_is_told_as_such,
    );
}

use crate::libvirt_only;

async fn another_process_cannot_take_the_embedded_host(rig: &RealRig) {
    let other = Command::new("virsh").args(["-c", &rig.uri, "list"]).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && said.contains("Failed to acquire pid file"), "{said}");
}

/// The path of an image with 8 MiB in it, for others to stand on.
fn filled_base(rig: &RealRig, name: &str) -> String {
    let base = rig.image(name, "base");
    create_image(&base, "qcow2", &[]);
    let filled = Command::new("qemu-io").args(["-c", "write -P 5 0 8M"]).arg(&base).output().unwrap();
    assert!(filled.status.success());
    base.to_string_lossy().into_owned()
}

/// A block device over a file, until dropped.
struct LoopDevice(String);

impl LoopDevice {
    /// None where this system gives us none.
    fn of(file: &Path) -> Option<LoopDevice> {
        std::fs::File::create(file).unwrap().set_len(DISK).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        made.status.success().then_some(LoopDevice(name))
    }
}

impl LoopDevice {
    /// A machine's definition with it as a disk `vdi`.
    fn added_to(&self, xml: &str) -> String {
        let disk = format!(
            "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='{}'/>\
             <target dev='vdi' bus='virtio'/></disk></devices>",
            self.0
        );
        xml.replace("</devices>", &disk)
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(Command::new("losetup").args(["--detach", &self.0]).status());
    }
}

async fn a_block_job_in_the_way_is_named(rig: &RealRig) {
    let name = format!("m{}", unique());
    let backing = filled_base(rig, &name);
    create_image(&rig.image(&name, "vda"), "qcow2", &["-b", &backing, "-F", "qcow2"]);
    let id = rig.libvirt.define(&rig.xml(&name, &[("vda", "qcow2")])).await.unwrap();
    rig.libvirt.start(id, Start::Running).await.unwrap();
    pull_slowly(&rig.domain(id));
    let jobs = rig.libvirt.block_jobs(id).await.unwrap();
    assert_eq!(jobs.iter().map(|j| (&j.disk, j.what.as_str())).collect::<Vec<_>>(), [(&key("vda"), "pull")]);
    let busy = rig.libvirt.begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap_err();
    assert_eq!(busy.kind, Kind::Busy, "{busy}");
    assert!(busy.to_string().contains("pull"), "{busy}");
    rig.libvirt.destroy(id).await.unwrap();
}

/// QEMU 10.0 dies where it is asked for its block nodes at the moment at which a pull ends.
async fn a_machine_that_is_looked_at_while_its_pulls_end_lives(rig: &RealRig) {
    let name = format!("m{}", unique());
    let backing = filled_base(rig, &name);
    let disks = ["vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg", "vdh"];
    for disk in disks {
        create_image(&rig.image(&name, disk), "qcow2", &["-b", &backing, "-F", "qcow2"]);
    }
    let mut xml = rig.xml(&name, &disks.map(|disk| (disk, "qcow2")));
    // And a disk whose size no image's header tells.
    let device = LoopDevice::of(&rig.image(&name, "device"));
    if let Some(device) = &device {
        xml = device.added_to(&xml);
    }
    let id = rig.libvirt.define(&xml).await.unwrap();
    rig.libvirt.start(id, Start::Running).await.unwrap();
    for disk in disks {
        rig.libvirt.begin_pull(id, &key(disk), 0).await.unwrap();
        loop {
            let now = rig.libvirt.machine(id).await.unwrap();
            assert_eq!(now.power, PowerState::Running, "{disk}");
            assert!(now.disks.iter().all(|disk| disk.size == DISK), "{:?}", now.disks);
            let over = !now.disk(&key(disk)).unwrap().layered;
            if over && rig.libvirt.block_jobs(id).await.unwrap().is_empty() {
                break;
            }
        }
    }
    assert_eq!(rig.libvirt.machine(id).await.unwrap().power, PowerState::Running);
    rig.libvirt.destroy(id).await.unwrap();
}

/// Begins a block pull at 1 MiB/s: slow enough to be met.
#[allow(unsafe_code, reason = "`virt` has no block pull")]
fn pull_slowly(domain: &virt::domain::Domain) {
    // SAFETY: a live domain and a text that outlives the call.
    let begun = unsafe { virt_sys::virDomainBlockPull(domain.as_ptr(), c"vda".as_ptr(), 1, 0) };
    assert_eq!(begun, 0);
}

async fn a_block_device_tells_whether_it_was_written_while_its_machine_is_off(rig: &RealRig) {
    let name = format!("m{}", unique());
    let Some(device) = LoopDevice::of(&rig.image(&name, "device")) else {
        println!("there is no loop device here: nothing was looked at");
        return;
    };
    let id = rig.libvirt.define(&device.added_to(&rig.xml(&name, &[]))).await.unwrap();
    let stamp = async || {
        let disk = rig.libvirt.machine(id).await.unwrap().disk(&key("vdi")).unwrap().clone();
        assert_eq!(disk.size, DISK);
        disk.stamp
    };
    let before = stamp().await;
    assert!(before.is_some() && stamp().await == before);
    // As for a cycle: it is read, and not written.
    rig.libvirt.start(id, Start::Paused).await.unwrap();
    rig.libvirt.begin_backup(id, &spec(rig, &["vdi"], None, None)).await.unwrap();
    rig.libvirt.end_backup(id).await.unwrap();
    assert_eq!(stamp().await, None, "while it is in use");
    rig.libvirt.destroy(id).await.unwrap();
    assert_eq!(stamp().await, before);
    // The same bytes again, still in the host's memory.
    std::fs::OpenOptions::new().write(true).open(&device.0).unwrap().write_all(&[0; 4096]).unwrap();
    let written = stamp().await;
    assert!(written.is_some() && written != before, "{written:?}");
    rig.libvirt.start(id, Start::Running).await.unwrap();
    rig.write(id, "vdi", 0, CLUSTER, 3).await;
    rig.libvirt.destroy(id).await.unwrap();
    assert_ne!(stamp().await, written, "the guest wrote");
}

async fn what_this_host_cannot_start_is_said_before(rig: &RealRig) {
    let good = rig.xml("fine", &[("vda", "qcow2")]);
    assert_eq!(rig.libvirt.check_startable(&good).await.unwrap(), []);
    let changed = [
        ("type='qemu'", "type='xen'"),
        ("arch='x86_64'", "arch='vax'"),
        ("machine='pc'", "machine='pc-i440fx-99.0'"),
        ("<devices>", "<devices><emulator>/nowhere/qemu</emulator>"),
        ("<devices>", "<cpu mode='custom'><model>Z80</model></cpu><devices>"),
        ("<devices>", "<devices><interface type='network'><source network='lost'/></interface>"),
        ("<devices>", "<devices><interface type='bridge'><source bridge='br-lost'/></interface>"),
    ];
    for (from, to) in changed {
        let problems = rig.libvirt.check_startable(&good.replace(from, to)).await.unwrap();
        assert_eq!(problems.len(), 1, "{to}: {problems:?}");
    }
}

async fn disks_that_cannot_be_tracked_say_why(rig: &RealRig) {
    let name = format!("m{}", unique());
    create_image(&rig.image(&name, "vda"), "qcow2", &["-o", "compat=0.10"]);
    create_image(&rig.image(&name, "vdb"), "raw", &[]);
    let xml = rig.xml(&name, &[("vda", "qcow2"), ("vdb", "raw"), ("vdc", "qcow2")]);
    let xml = xml.replace("<target dev='vdb'", "<shareable/><target dev='vdb'");
    let drive = "</devices>".to_owned();
    let xml = xml
        .replace(&drive, "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk></devices>");
    let id = rig.libvirt.define(&xml).await.unwrap();
    let disks = rig.libvirt.machine(id).await.unwrap().disks;
    let why = |name: &str| match disks.iter().find(|d| d.key == key(name)).unwrap().tracking.clone() {
        Tracking::Compare { why } => format!("compare: {why}"),
        Tracking::LeftOut { why } => format!("left out: {why}"),
        Tracking::Unknown { why } => format!("unknown: {why}"),
        Tracking::Bitmap => "bitmap".to_owned(),
    };
    assert!(why("vda").starts_with("compare: qcow2 version 2"), "{}", why("vda"));
    assert!(why("vdb").contains("NOT protected"), "{}", why("vdb"));
    assert!(why("vdc").starts_with("unknown: its image cannot be opened"), "{}", why("vdc"));
    assert_eq!(why("hda"), "left out: a CD drive");
}

async fn a_place_that_qemu_cannot_write_is_said_to_be_one(rig: &RealRig) {
    let id = rig.machine(&[("vda", "qcow2")]).await;
    rig.libvirt.start(id, Start::Running).await.unwrap();
    rig.write(id, "vda", 0, CLUSTER, 1).await;
    let mut nowhere = spec(rig, &["vda"], Some("c"), None);
    nowhere.socket = "/proc/none/s.sock".into();
    let error = rig.libvirt.begin_backup(id, &nowhere).await.unwrap_err();
    assert!(error.to_string().contains("socket"), "{error}");
    nowhere.socket = format!("/{}", "x".repeat(120)).into();
    assert_eq!(rig.libvirt.begin_backup(id, &nowhere).await.unwrap_err().kind, Kind::Invalid);
    // Nothing of a failed begin stays.
    assert!(rig.libvirt.checkpoints(id).await.unwrap().is_empty());
    rig.libvirt.begin_backup(id, &spec(rig, &["vda"], Some("c"), None)).await.unwrap();
    rig.libvirt.end_backup(id).await.unwrap();
    rig.libvirt.destroy(id).await.unwrap();
}

async fn an_agent_that_does_not_run_is_told_as_such(rig: &RealRig) {
    let name = format!("m{}", unique());
    create_image(&rig.image(&name, "vda"), "qcow2", &[]);
    let channel =
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices>";
    let xml = rig.xml(&name, &[("vda", "qcow2")]).replace("</devices>", channel);
    let id = rig.libvirt.define(&xml).await.unwrap();
    rig.libvirt.start(id, Start::Running).await.unwrap();
    let (begun, second) = (std::time::Instant::now(), std::time::Duration::from_secs(1));
    for error in
        [rig.libvirt.freeze(id, second).await.unwrap_err(), rig.libvirt.thaw(id, second).await.unwrap_err()]
    {
        assert_eq!(error.kind, Kind::NoAgent, "{error}");
        assert!(error.to_string().contains("not connected"), "{error}");
    }
    // Neither by libvirt nor past it is it waited for longer than an agent takes.
    assert!(begun.elapsed() < 10 * second, "{:?}", begun.elapsed());
    rig.libvirt.destroy(id).await.unwrap();
}
