//! `cargo xtask setup`: installs what building, testing and the demo need on Debian 12 or
//! newer. It asks nothing, says what it installs, installs only what is missing, and starts
//! nothing: tests and demo run libvirt inside their own process.

mod apt;
mod release;
mod sources;

use anyhow::{Result, bail};

use release::Release;

/// Set to 1 to leave the machine alone.
const SKIP: &str = "FARSHORE_SKIP_SETUP";

/// QEMU and libvirt. They must all come from one suite: mixed, installing one half removes
/// the other.
const HYPERVISOR: [&str; 6] = [
    "libvirt-clients",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-system",
    "libvirt-dev",
    "qemu-system-x86",
    "qemu-utils",
];

/// For the build: a linker, C headers, how to find libvirt, and Kerberos, whose headers are
/// read by clang.
const BUILD: [&str; 5] = ["gcc", "libc6-dev", "libclang-dev", "libkrb5-dev", "pkg-config"];

/// For the tests: judges of disk images and NBD, what the guests are made with, a database
/// server and a key distribution centre, which the tests start themselves, and clocks that
/// are wrong.
const TESTS: [&str; 13] = [
    "e2fsprogs",
    "faketime",
    "grub-common",
    "iproute2",
    "grub-pc-bin",
    KEY_SERVERS[0],
    KEY_SERVERS[1],
    "krb5-user",
    "libnbd-bin",
    "mmdebstrap",
    "nbdkit",
    DATABASE,
    "xz-utils",
];

/// Their services are of no use to anybody here, and are switched off. Until then they end by
/// themselves, because there is no realm.
const KEY_SERVERS: [&str; 2] = ["krb5-admin-server", "krb5-kdc"];

/// Installed, it would make and start a cluster of its own, which nobody here needs.
const DATABASE: &str = "postgresql";

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    if std::env::var(SKIP).is_ok_and(|value| value == "1") {
        eprintln!("setup: skipped, because {SKIP}=1");
        return Ok(());
    }
    let release = Release::of_this_machine();
    if let Release::Other(name) = &release {
        bail!(
            "setup knows only Debian 12 or newer, and this is {name}; install what corresponds to \
             `{}` yourself, then set {SKIP}=1",
            everything().join(" ")
        );
    }
    let installed = apt::installed(&everything())?;
    let missing = to_install(|package| installed.iter().any(|i| i == package));
    if missing.is_empty() {
        eprintln!("setup: everything is installed");
        return Ok(());
    }
    eprintln!("setup: installing {}", missing.join(" "));
    let suite = release.backports();
    if let Some(suite) = &suite {
        eprintln!("setup: QEMU and libvirt come from the suite {suite}");
        apt::offer_suite(suite)?;
    }
    let fresh_database = missing.contains(&DATABASE);
    if fresh_database {
        apt::forbid_cluster()?;
    }
    let installed = apt::install(&missing, suite.as_deref());
    if fresh_database {
        apt::allow_cluster()?;
    }
    installed?;
    KEY_SERVERS.into_iter().filter(|server| missing.contains(server)).try_for_each(apt::switch_off)
}

fn everything() -> Vec<&'static str> {
    HYPERVISOR.iter().chain(&BUILD).chain(&TESTS).copied().collect()
}

/// What has to be installed; of QEMU and libvirt all or nothing.
fn to_install(is_installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let whole = HYPERVISOR.iter().all(|package| is_installed(package));
    let hypervisor = HYPERVISOR.iter().filter(|_| !whole);
    let others = BUILD.iter().chain(&TESTS).filter(|package| !is_installed(package));
    hypervisor.chain(others).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_installed_when_nothing_is_missing() {
        assert!(to_install(|_| true).is_empty());
    }

    #[test]
    fn one_missing_part_of_the_hypervisor_brings_all_of_it() {
        assert_eq!(to_install(|package| package != "qemu-utils"), HYPERVISOR);
    }

    #[test]
    fn other_packages_come_one_by_one() {
        assert_eq!(to_install(|package| package != "nbdkit"), ["nbdkit"]);
        assert_eq!(to_install(|_| false).len(), everything().len());
    }
}
