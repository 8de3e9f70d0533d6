//! Networks of a real libvirt daemon: one that leads nowhere for a test failover, and addresses that
//! a network keeps for a card.

use std::process::Command;

use farshore_e2e::host::run;
use farshore_hypervisor::{GuestState, Hypervisor, Kind, Start, libvirt::Libvirt};

use crate::daemon::Daemon;

const CARD: &str = "52:54:00:00:00:01";
const OTHER: &str = "52:54:00:00:00:02";
const PRINTER: &str = "52:54:00:00:00:09";

/// What makes a network give addresses, one of them to a card that somebody else has named.
const GIVING: &str = "<ip address='192.168.251.1' netmask='255.255.255.0'><dhcp>\
    <range start='192.168.251.100' end='192.168.251.200'/>\
    <host mac='52:54:00:00:00:09' name='printer' ip='192.168.251.9'/></dhcp></ip>";

struct Host {
    daemon: Daemon,
    libvirt: Libvirt,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), 3);
        let libvirt = Libvirt::open(&daemon.uri()).await.unwrap();
        Host { daemon, libvirt, _dir: dir }
    }

    fn virsh(&self, args: &[&str]) -> String {
        self.daemon.virsh(args).unwrap()
    }

    fn kept(&self) -> String {
        let kept = self.virsh(&["net-dumpxml", "lan"]);
        let hosts = kept.lines().map(str::trim).filter(|line| line.starts_with("<host "));
        hosts.collect::<Vec<_>>().join(" ")
    }
}

#[tokio::test]
async fn a_network_for_a_test_failover_leads_nowhere_and_is_gone_afterwards() {
    let host = Host::new().await;
    for _ in 0..2 {
        host.libvirt.create_network("farshore-drill").await.unwrap();
    }
    let made = host.virsh(&["net-dumpxml", "farshore-drill"]);
    assert!(!made.contains("<forward") && !made.contains("<ip "), "{made}");
    let known = host.libvirt.host_facts().await.unwrap().networks;
    assert!(known.contains(&"farshore-drill".to_owned()), "{known:?}");
    let bridge = made.split("bridge name='").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let xml = format!(
        "<domain type='qemu'><name>copy</name><memory unit='MiB'>32</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
         <interface type='network'><mac address='{CARD}'/><source network='farshore-drill'/>\
         </interface></devices></domain>"
    );
    let id = host.libvirt.define(&xml).await.unwrap();
    host.libvirt.start(id, Start::Paused).await.unwrap();
    let ports = run(Command::new("ip").args(["-o", "link", "show", "master", &bridge])).unwrap();
    assert_eq!(ports.lines().count(), 1, "only the copy is in it: {ports}");
    // Nothing of the host has an address there, and nothing is forwarded to it.
    let addresses = run(Command::new("ip").args(["-o", "-4", "address", "show", "dev", &bridge])).unwrap();
    assert_eq!(addresses.trim(), "");
    host.libvirt.destroy(id).await.unwrap();
    host.libvirt.undefine(id, GuestState::Remove).await.unwrap();
    for _ in 0..2 {
        host.libvirt.remove_network("farshore-drill").await.unwrap();
    }
    assert!(!host.virsh(&["net-list", "--all"]).contains("farshore-drill"));
    assert!(run(Command::new("ip").args(["link", "show", &bridge])).is_err(), "the bridge is gone, too");
}

#[tokio::test]
async fn a_network_keeps_addresses_for_cards_at_once_and_over_its_restart_and_touches_nobody_elses() {
    let host = Host::new().await;
    host.daemon.start_network("lan", "fstest0", GIVING);
    let (libvirt, address) = (&host.libvirt, "192.168.251.5".parse().unwrap());
    for _ in 0..2 {
        libvirt.reserve_address("lan", CARD, address).await.unwrap();
    }
    assert!(host.kept().contains(&format!("mac='{CARD}' ip='192.168.251.5'")), "{}", host.kept());
    let inactive = host.virsh(&["net-dumpxml", "--inactive", "lan"]);
    assert!(inactive.contains("192.168.251.5"), "it is there after a restart: {inactive}");
    libvirt.reserve_address("lan", CARD, "192.168.251.6".parse().unwrap()).await.unwrap();
    let kept = host.kept();
    assert!(kept.contains("192.168.251.6") && !kept.contains("192.168.251.5'"), "{kept}");

    let refused = |network, card, address: &str| {
        let address = address.parse().unwrap();
        async move { libvirt.reserve_address(network, card, address).await.unwrap_err() }
    };
    assert_eq!(refused("lan", OTHER, "192.168.251.6").await.kind, Kind::AlreadyExists);
    assert_eq!(refused("lan", OTHER, "192.168.251.9").await.kind, Kind::AlreadyExists);
    assert_eq!(refused("nowhere", OTHER, "192.168.251.7").await.kind, Kind::NoSuchNetwork);
    assert_eq!(refused("lan", OTHER, "fd00::7").await.kind, Kind::Unsupported);
    // DHCP would never give these, though libvirt takes them.
    for never in ["192.168.250.7", "192.168.251.1", "192.168.251.255"] {
        assert_eq!(refused("lan", OTHER, never).await.kind, Kind::Invalid);
    }
    assert_eq!(refused("lan", PRINTER, "192.168.251.10").await.kind, Kind::AlreadyExists);
    assert_eq!(libvirt.reserved_address("lan", PRINTER).await.unwrap(), "192.168.251.9".parse().ok());
    assert_eq!(libvirt.reserved_address("lan", OTHER).await.unwrap(), None);
    assert_eq!(libvirt.reserved_address("nowhere", OTHER).await.unwrap_err().kind, Kind::NoSuchNetwork);
    host.libvirt.create_network("bare").await.unwrap();
    assert_eq!(refused("bare", OTHER, "192.168.251.7").await.kind, Kind::Unsupported);
    host.libvirt.remove_network("bare").await.unwrap();

    for card in [CARD, CARD, PRINTER] {
        libvirt.release_address("lan", card).await.unwrap();
    }
    libvirt.release_address("nowhere", CARD).await.unwrap();
    let kept = host.kept();
    assert!(kept.contains("printer") && !kept.contains(CARD), "{kept}");
    host.virsh(&["net-destroy", "lan"]);
}
