//! A bounded, seeded run of the fuzz targets over damaged definitions and over nonsense.

use farshore_hypervisor::fuzz;
use farshore_sim::mutate;

const LIVE: &str = "\
<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>c7a5fdbd-cdaf-9455-926a-d65c16db1809</uuid>
  <metadata><!-- kept --><app:tag xmlns:app='urn:x'  a = \"1\" >&lt;&#x41;</app:tag></metadata>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <nvram template='/usr/share/OVMF/VARS.fd'>/var/lib/libvirt/qemu/nvram/web1.fd</nvram>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard=\"unmap\"/>
      <source dev='/dev/vg/web1' index='2'/>
      <backingStore type='file'>
        <format type='qcow2'/>
        <source file='/base'/>
      </backingStore>
      <target dev='vda' bus='virtio'/>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/tmp/swap' index='1'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <source file='/data' index='3'/>
      <target dev='vdc' bus='virtio'/>
      <alias name='ua-mine'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/iso/install.iso'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='br0'/>
      <target dev='vnet3'/>
      <model type='virtio'/>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:00:00:02'/>
      <source network='backup' portid='x'/>
      <model type='virtio'/>
    </interface>
    <interface type='user'/>
  </devices>
  <seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+64055</label></seclabel>
  <seclabel type='static' model='selinux'><label>kept</label></seclabel>
  <qemu:commandline><qemu:arg value='-kept'/></qemu:commandline>
</domain>
";

const SMALL: &str = "<domain type='kvm'><name>a</name><os><type>hvm</type></os><devices/></domain>";

#[test]
fn no_definition_harms_its_reader_and_what_is_changed_can_be_read() {
    let deep = format!("{SMALL}<!--{}-->", "<a>".repeat(2000));
    let deeper = SMALL.replace("<devices/>", &"<a>".repeat(100_000));
    let samples = [LIVE, SMALL, &deep].map(|text| text.as_bytes().to_vec());
    assert!(samples[..2].iter().all(|text| fuzz::definition(text)), "the samples are definitions");
    assert!(!fuzz::definition(deeper.as_bytes()));
    let read = mutate::fuzz(&samples, 10_000, fuzz::definition);
    assert!(read > 500, "{read}");
}
