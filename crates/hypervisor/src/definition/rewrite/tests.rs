//! Whole definitions before and after.

use super::*;

const LIVE: &str = include_str!("../../../tests/fixtures/live.xml");

const ELSEWHERE: &str = "\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>drill &amp; web1</name>
  <uuid>00000000-0000-0000-0000-000000000007</uuid>
  <metadata><!-- kept --><app:tag xmlns:app='urn:x'  a = \"1\" >&lt;&#x41;</app:tag></metadata>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <nvram template='/usr/share/OVMF/VARS.fd'>/r/nvram.fd</nvram>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard=\"unmap\"/>
      <source file='/r/it&apos;s/active.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/data'/>
      <target dev='vdc' bus='virtio'/>
      <alias name='ua-mine'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:00:00:01'/>
      <source network='isolated'/>
      <model type='virtio'/>
    </interface>
    <interface type='user'><link state='down'/>
      <mac address='52:54:00:00:00:02'/>
      <model type='virtio'/>
    </interface>
    <interface type='user'/>
  </devices>
  <seclabel type='static' model='selinux'><label>kept</label></seclabel>
  <qemu:commandline><qemu:arg value='-kept'/></qemu:commandline>
</domain>
";

fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

fn overlay(path: &str) -> Overlay {
    Overlay { path: path.into(), format: "qcow2".to_owned() }
}

#[test]
fn a_machine_comes_up_elsewhere_with_all_else_as_it_was() {
    let to = Rewrite {
        name: Some("drill & web1".to_owned()),
        id: Some(MachineId(uuid::Uuid::from_u128(7))),
        disks: [(key("vda"), overlay("/r/it's/active.qcow2"))].into(),
        drop_disks: [key("vdb")].into(),
        networks: [("br0".to_owned(), Some("isolated".to_owned())), ("backup".to_owned(), None)].into(),
        nvram: Some("/r/nvram.fd".into()),
        virtualization: Some("qemu".to_owned()),
        emulator: Some(PathBuf::new()),
        ..Rewrite::default()
    };
    assert_eq!(rewrite(LIVE, &to).unwrap(), ELSEWHERE);
}

#[test]
fn a_second_rewrite_to_the_same_changes_nothing() {
    let once = rewrite(LIVE, &Rewrite::default()).unwrap();
    assert_eq!(rewrite(&once, &Rewrite::default()).unwrap(), once);
    assert!(!once.contains("backingStore") && !once.contains("index=") && !once.contains("vnet"));
    assert!(once.contains("app:tag xmlns:app='urn:x'  a = \"1\" >&lt;&#x41;<"));
}

#[test]
fn networks_that_nobody_mapped_are_unplugged_on_request() {
    let to = Rewrite { unplug_others: true, ..Rewrite::default() };
    let out = rewrite(LIVE, &to).unwrap();
    assert!(!out.contains("br0") && !out.contains("network='backup'"));
    assert_eq!(out.matches("<link state='down'/>").count(), 3, "{out}");
}

#[test]
fn a_disk_that_is_not_there_is_named() {
    let to = Rewrite { disks: [(key("vdx"), overlay("/x"))].into(), ..Rewrite::default() };
    assert_eq!(rewrite(LIVE, &to), Err(DefinitionError::NoSuchDisk(key("vdx"))));
}

#[test]
fn a_disk_that_was_plugged_in_until_the_machine_stops_is_added_behind_the_others() {
    let disk = "<disk type='file' device='disk'><source file='/a'/><target dev='sda' bus='scsi'/></disk>";
    let text = format!("<domain type='qemu'><name>a</name><devices>{disk}</devices></domain>");
    let disks = [(key("sdb"), overlay("/o's")), (key("vda"), overlay("/v"))].into();
    let to = Rewrite { disks, add_disks: true, ..Rewrite::default() };
    let out = rewrite(&text, &to).unwrap();
    assert!(
        out.contains("<target dev='sdb' bus='scsi'/>") && out.contains("<target dev='vda' bus='virtio'/>")
    );
    let found = super::super::machine(&out).unwrap().disks;
    let found: Vec<_> = found.iter().map(|disk| (disk.key.as_str(), disk.source.path().unwrap())).collect();
    assert_eq!(found, [("sda", &"/a".into()), ("sdb", &"/o's".into()), ("vda", &"/v".into())]);
    assert_eq!(rewrite(&out, &Rewrite { disks: to.disks.clone(), ..Rewrite::default() }).unwrap(), out);
}

#[test]
fn a_disk_without_driver_or_source_gets_both() {
    let text = "<domain type='qemu'><name>a</name><devices><disk type='file' device='disk'>\
                <target dev='vda'/></disk></devices></domain>";
    let to = Rewrite { disks: [(key("vda"), overlay("/o"))].into(), ..Rewrite::default() };
    let out = super::super::machine(&rewrite(text, &to).unwrap()).unwrap();
    assert_eq!((out.disks[0].format.as_str(), out.disks[0].source.path()), ("qcow2", Some(&"/o".into())));
}

#[test]
fn a_definition_is_told_without_its_secrets() {
    let text = "<domain type='qemu'><name>a</name><devices><graphics type='vnc' passwd='open sesame' \
                port='5900'><listen type='none'/></graphics></devices></domain>";
    let out = super::without_secrets(text).unwrap();
    assert!(!out.contains("sesame") && out.contains("port='5900'"), "{out}");
    assert_eq!(super::without_secrets(&out).unwrap(), out);
}

#[test]
fn a_card_whose_cable_is_pulled_is_the_same_card_else() {
    let nic = |link: &str| {
        format!(
            "<interface type='network'>{link}<mac address='52:54:00:00:00:01'/><source network='prod'/></interface>"
        )
    };
    let text = format!("<domain><devices>{}<disk/>{}</devices></domain>", nic(""), nic("<link state='up'/>"));
    assert_eq!(unplugged_nics(&text).unwrap(), vec![nic("<link state='down'/>"); 2]);
    let pulled = format!("<domain><devices>{}</devices></domain>", nic("<link state='down'/>"));
    assert_eq!(unplugged_nics(&pulled).unwrap(), Vec::<String>::new(), "it is so already");
    assert_eq!(unplugged_nics("<domain><devices/></domain>").unwrap(), Vec::<String>::new());
}

#[test]
fn a_copy_has_cards_of_its_own_and_only_the_network_that_it_is_given() {
    let text = "<domain><name>a</name><devices><interface type='bridge'><mac address='52:54:00:00:00:01'/>\
        <source bridge='br0'/></interface><interface type='network'><source network='prod'/></interface></devices></domain>";
    let copy = |all_networks: Option<&str>| {
        let all_networks = all_networks.map(str::to_owned);
        rewrite(text, &Rewrite { new_cards: true, unplug_others: true, all_networks, ..Rewrite::default() })
            .unwrap()
    };
    let alone = copy(None);
    assert!(!alone.contains("52:54") && !alone.contains("br0") && !alone.contains("prod"), "{alone}");
    let given = copy(Some("lab"));
    assert_eq!(given.matches("<source network='lab'/>").count(), 2, "{given}");
    assert!(!given.contains("52:54") && !given.contains("br0") && !given.contains("prod"), "{given}");
}
