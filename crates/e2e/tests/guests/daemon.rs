//! A libvirt daemon of its own, as most hosts have one: with it a machine can be migrated
//! while it runs, which a libvirt inside the agent cannot.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use farshore_e2e::host::run;

use crate::site::wait;

/// Running until dropped.
pub(crate) struct Daemon {
    dir: PathBuf,
    child: Child,
}

/// Runs in a mount namespace, so that what libvirt keeps of each host stays apart.
const START: &str = r#"for at in /run/libvirt /var/lib/libvirt /var/cache/libvirt /etc/libvirt; do
    mkdir -p "$at" "$0$at" && mount --bind "$0$at" "$at" || exit 1
done
exec libvirtd -f "$0/libvirtd.conf" -p "$0/libvirtd.pid""#;

impl Daemon {
    /// Starts one under `dir`. Two need different numbers, below ten.
    pub(crate) fn start(dir: &Path, number: u16) -> Daemon {
        let dir = dir.join("libvirtd");
        fs::create_dir_all(dir.join("etc/libvirt")).unwrap();
        let uuid = uuid::Uuid::new_v4();
        let socket = dir.display();
        let conf = format!(
            "unix_sock_dir = '{socket}'\nauth_unix_rw = 'none'\nauth_unix_ro = 'none'\nhost_uuid = '{uuid}'\n"
        );
        fs::write(dir.join("libvirtd.conf"), conf.replace('\'', "\"")).unwrap();
        let port = 49_000 + 20 * number;
        let qemu = format!(
            "user = 'root'\ngroup = 'root'\nsecurity_driver = 'none'\nremember_owner = 0\n\
             stdio_handler = 'file'\nmigration_port_min = {port}\nmigration_port_max = {}\n",
            port + 9
        );
        fs::write(dir.join("etc/libvirt/qemu.conf"), qemu.replace('\'', "\"")).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", START])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Daemon { dir, child };
        wait("the libvirt daemon", || daemon.virsh(&["version"]).ok());
        daemon
    }

    /// How it is reached.
    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}/libvirt-sock", self.dir.display())
    }

    pub(crate) fn virsh(&self, args: &[&str]) -> Result<String, String> {
        run(Command::new("virsh").args(["--connect", &self.uri()]).args(args))
    }

    /// Defines and starts a network, `bridge` of which is nobody else's. One of that name that was
    /// left by a test that was killed is in nobody's use any more.
    pub(crate) fn start_network(&self, name: &str, bridge: &str, more: &str) {
        let _ = run(Command::new("ip").args(["link", "delete", bridge]));
        let file = self.dir.join(format!("{name}.xml"));
        let xml = format!("<network><name>{name}</name><bridge name='{bridge}'/>{more}</network>");
        fs::write(&file, xml).unwrap();
        self.virsh(&["net-define", &file.display().to_string()]).unwrap();
        self.virsh(&["net-start", name]).unwrap();
    }

    /// Migrates a running machine to another host, which sees the same disks.
    ///
    /// # Errors
    /// What libvirt says.
    pub(crate) fn migrate(&self, machine: &str, to: &Daemon) -> Result<(), String> {
        // The disks are seen by both, which libvirt does not believe of this file system.
        let how = ["--live", "--p2p", "--persistent", "--undefinesource", "--unsafe"];
        let args = [&["migrate", machine, &to.uri()], &how[..], &["--migrateuri", "tcp://127.0.0.1"]];
        self.virsh(&args.concat()).map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Their bridges would outlive it, and be in the way of the next one.
        for network in self.virsh(&["net-list", "--name"]).unwrap_or_default().split_whitespace() {
            let _ = self.virsh(&["net-destroy", network]);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
