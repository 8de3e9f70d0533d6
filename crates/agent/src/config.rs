//! The agent's configuration: one TOML file, every key optional, unknown ones named but
//! never fatal, so that a step back to an older agent is no outage. This module must never
//! act on what it reads.

mod period;
mod unknown;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use farshore_control::Wire;
use farshore_protection::fence::Fence;
use farshore_replica::Retention;
use farshore_types::{DiskKey, Principal};
use serde::{Deserialize, Serialize};

use crate::AgentError;

pub use period::{Period, PeriodError};

/// Where the configuration is looked for unless a command names another file.
pub const DEFAULT_PATH: &str = "/etc/farshore/agent.toml";

/// A commented sample of the configuration: every key with its meaning and default.
pub const SAMPLE: &str = include_str!("config/sample.toml");

/// Where the system tells its host name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Shortest and longest copy frequency.
const FREQUENCY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// Most points that can be kept: fewer than qcow2's 65,536 snapshots.
const POINTS_MAX: usize = 65_000;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Name of this host in logs and to its peers.
    pub name: String,
    /// How the hypervisor is reached; none: libvirt inside the agent, under `state_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// The agent's own records.
    pub state_dir: PathBuf,
    /// Replicas of other hosts' machines, one directory each.
    pub replica_dir: PathBuf,
    /// Sockets and scratch files; writable by QEMU's user.
    pub runtime_dir: PathBuf,
    /// This host's certificate, key and authority.
    pub identity_dir: PathBuf,
    /// Kerberos, for policies that choose it; none: this host has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kerberos: Option<Kerberos>,
    /// Where replication is taken from other hosts; empty for none.
    pub listen: String,
    /// The socket for local commands; none: in `runtime_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Where figures for Prometheus are read, `address:port`; none: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// Hosts that may replicate to here; empty: all with a certificate of our authority.
    pub peers: Vec<String>,
    /// What compressed data is checked for when it arrives.
    pub check_received: CheckReceived,
    /// How often all data of the replicas is read and checked; zero: never.
    pub scrub_interval: Period,
    /// Whether a machine is brought up only with force where its own host cannot be asked
    /// because its address is not in `peer_addresses`; else that is only said.
    pub require_probe: bool,
    /// Under a vault: what becomes of a copy that runs here and is another host's.
    pub fence: Fence,
    /// Under a vault: how long a machine that is handed over may take to shut down.
    pub shutdown_deadline: Period,
    /// Under a vault: most bytes per second at which the disks of a machine that came over are
    /// made its own; 0: no bound.
    pub flatten_rate: u64,
    /// How long points are kept here.
    pub retention: KeepPoints,
    /// Networks of other hosts, and what they are here; empty leaves the card unplugged.
    pub networks: BTreeMap<String, String>,
    /// Where the agents of other hosts are: asked whether a machine runs there before it is
    /// brought up here.
    pub peer_addresses: BTreeMap<String, String>,
    /// The machines that this host replicates.
    pub replicate: Vec<Replicate>,
}

/// Kerberos as this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kerberos {
    /// This host's principal.
    pub principal: Principal,
    /// The file with its keys.
    #[serde(default = "default_keytab")]
    pub keytab: PathBuf,
    /// Without a vault: hosts that are known by their principal, and not by a certificate.
    #[serde(default)]
    pub peers: BTreeMap<String, Principal>,
}

/// Which arriving compressed data is unpacked and checked against its digest before it is
/// acknowledged. Measured: 0.5 GB of plain data a second and core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckReceived {
    /// All but initial copies: those are as large as the disks, and the first scrub, which
    /// begins when they are done, reads them.
    #[default]
    Changes,
    /// All.
    All,
    /// None: what a faulty source packs wrongly is found by the scrub.
    None,
}

/// How long points are kept. See [`Retention`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepPoints {
    /// Every point younger than this.
    pub every_point: Period,
    /// Of those older, one an hour up to this age.
    pub hourly: Period,
    /// Of those older still, one a day up to this age.
    pub daily: Period,
    /// Never more points than this.
    pub points_max: usize,
}

/// One machine that this host replicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicate {
    /// Name or UUID.
    pub machine: String,
    /// Where to.
    pub target: Target,
    /// Copy frequency, 1 s to 1 h.
    #[serde(default = "default_frequency")]
    pub frequency: Period,
    /// How often a point is to be application-consistent; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_consistent: Option<Period>,
    /// Compression of what is sent.
    #[serde(default)]
    pub compression: Compression,
    /// Whether of 64 KiB that changed in a few 4 KiB blocks only those are sent.
    #[serde(default)]
    pub small_writes: SmallWrites,
    /// Most bytes per second; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Disks that are left out.
    #[serde(default)]
    pub exclude: Vec<DiskKey>,
}

/// Another host's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// A name in its certificate.
    pub server_name: String,
}

/// Compression of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As the line needs it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Whether small writes are sent as what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmallWrites {
    /// Where the target takes that.
    #[default]
    On,
    /// The whole 64 KiB around each is sent.
    Off,
}

fn default_keytab() -> PathBuf {
    "/etc/farshore/agent.keytab".into()
}

fn default_frequency() -> Period {
    Period::secs(30)
}

impl Default for Config {
    fn default() -> Config {
        let host = fs::read_to_string(HOST_NAME).unwrap_or_default();
        Config {
            name: Some(host.trim()).filter(|name| !name.is_empty()).unwrap_or("host").to_owned(),
            hypervisor: None,
            state_dir: "/var/lib/farshore/agent".into(),
            replica_dir: "/var/lib/farshore/replicas".into(),
            runtime_dir: "/run/farshore".into(),
            identity_dir: "/etc/farshore/identity".into(),
            kerberos: None,
            listen: "0.0.0.0:7411".to_owned(),
            socket: None,
            metrics_listen: None,
            peers: Vec::new(),
            check_received: CheckReceived::default(),
            scrub_interval: Period::secs(7 * 24 * 3600),
            require_probe: true,
            fence: Fence::default(),
            shutdown_deadline: Period::secs(300),
            flatten_rate: 0,
            retention: KeepPoints::default(),
            networks: BTreeMap::new(),
            peer_addresses: BTreeMap::new(),
            replicate: Vec::new(),
        }
    }
}

impl Default for KeepPoints {
    fn default() -> KeepPoints {
        let keep = Retention::default();
        KeepPoints {
            every_point: Period::secs(keep.every_point_secs),
            hourly: Period::secs(keep.hourly_secs),
            daily: Period::secs(keep.daily_secs),
            points_max: keep.points_max,
        }
    }
}

impl KeepPoints {
    /// As the replica takes it.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            every_point_secs: self.every_point.0.as_secs(),
            hourly_secs: self.hourly.0.as_secs(),
            daily_secs: self.daily.0.as_secs(),
            points_max: self.points_max,
        }
    }
}

impl Config {
    /// Reads a file. Unknown keys are logged as warnings and otherwise passed over.
    ///
    /// # Errors
    /// [`AgentError::Config`]: missing, unreadable, malformed, or a value out of its range.
    pub fn load(path: &Path) -> Result<Config, AgentError> {
        let wrong = |why: String| AgentError::Config { path: path.to_owned(), why };
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => wrong("there is no such file".to_owned()),
            _ => wrong(error.to_string()),
        })?;
        let (config, unknown) = Config::parse(&text).map_err(wrong)?;
        for key in unknown {
            tracing::warn!(%key, file = %path.display(), "unknown key in the configuration: it has no effect");
        }
        Ok(config)
    }

    /// Reads a text; gives the keys that mean nothing, too.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<(Config, Vec<String>), String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        config.check()?;
        Ok((config.clone(), unknown::keys(text, &config)))
    }

    fn check(&self) -> Result<(), String> {
        for entry in &self.replicate {
            let frequency = entry.frequency.0;
            if !(FREQUENCY.0..=FREQUENCY.1).contains(&frequency) {
                let (machine, frequency) = (&entry.machine, entry.frequency);
                return Err(format!(
                    "the frequency of machine '{machine}' is {frequency}; it must be 1s to 1h"
                ));
            }
        }
        if let Some(kerberos) = self.kerberos.as_ref().filter(|kerberos| !kerberos.keytab.is_absolute()) {
            return Err(format!("kerberos.keytab is {}; it must begin with /", kerberos.keytab.display()));
        }
        if !(1..=POINTS_MAX).contains(&self.retention.points_max) {
            return Err(format!(
                "retention.points_max is {}; it must be 1 to {POINTS_MAX}",
                self.retention.points_max
            ));
        }
        Ok(())
    }

    /// By what a host is known where no document of a vault says it.
    #[must_use]
    pub fn wire_of(&self, host: &str) -> Wire {
        match self.kerberos.as_ref().is_some_and(|kerberos| kerberos.peers.contains_key(host)) {
            true => Wire::Kerberos,
            false => Wire::Certificate,
        }
    }

    /// How the hypervisor is reached.
    #[must_use]
    pub fn hypervisor_uri(&self) -> String {
        let embedded = || format!("qemu:///embed?root={}", self.state_dir.join("libvirt").display());
        self.hypervisor.clone().unwrap_or_else(embedded)
    }

    /// The socket for local commands.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.runtime_dir.join("agent.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_default_and_names_every_key() {
        let (config, unknown) = Config::parse(SAMPLE).unwrap();
        assert_eq!((config, unknown), (Config::default(), Vec::new()));
        let all = SAMPLE.lines().map(|l| l.strip_prefix('#').filter(|r| !r.starts_with(' ')).unwrap_or(l));
        let (config, unknown) = Config::parse(&all.collect::<Vec<_>>().join("\n")).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        for key in toml::Table::try_from(&config).unwrap().keys() {
            assert!(SAMPLE.contains(&format!("{key} =")) || SAMPLE.contains(&format!("{key}]")), "{key}");
        }
        assert_eq!(config.replicate[0].exclude, ["vdb".parse().unwrap()]);
    }

    #[test]
    fn an_unknown_key_is_named_and_stops_nothing() {
        let text = "nane = 'x'\n[retention]\nhourly = '2h'\nyearly = '1d'\n\
            [[replicate]]\nmachine = 'a'\nspeed = 1\ntarget = { address = 'x:1', server_name = 'x', port = 2 }";
        let (config, unknown) = Config::parse(text).unwrap();
        assert_eq!(unknown, ["nane", "replicate[0].speed", "replicate[0].target.port", "retention.yearly"]);
        assert_eq!(config.retention.retention().hourly_secs, 7200);
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let text = "[[replicate]]\nmachine='a'\nfrequency='100ms'\ntarget={address='x:1',server_name='x'}";
        assert!(Config::parse(text).unwrap_err().contains("1s to 1h"));
        assert!(Config::parse("[retention]\npoints_max = 0").unwrap_err().contains("1 to 65000"));
        assert!(Config::parse("listen = 3").unwrap_err().contains("listen"));
    }
}
