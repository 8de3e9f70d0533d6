//! The operator: what is ordered, at random, and how the installation is made.

use farshore_control::Key;
use farshore_policy::{Change, OnDisable, PolicyPatch};
use farshore_types::{CloudId, MachineId, PolicyId, SiteId};
use farshore_vault::{Command, Core, Enable, Maintenance, Start};
use uuid::Uuid;

use super::{
    guests::Guest,
    host::{Disk, host_of, name_of, site_of},
    world::{Event, HOSTS, HOUR, MACHINES, MINUTE, Node, SECOND, SITES, Timer, World},
};

/// Machines of a story that change sides.
const TURNED_MAX: usize = 8;

pub(crate) fn machine(n: u128) -> MachineId {
    MachineId(Uuid::from_u128(n))
}

impl World {
    /// Two sites, three hosts a side, a policy, twenty machines.
    pub(crate) fn install(&mut self) {
        self.init_vault();
        for name in ["near", "far"] {
            let command = Command::AddSite { name: name.to_owned(), ahead_minutes: 0 };
            let site = SiteId(self.order(&command).unwrap().id.unwrap());
            self.vault.sites.push(site);
            let cloud = Command::AddCloud { site, name: name.to_owned() };
            let cloud = CloudId(self.order(&cloud).unwrap().id.unwrap());
            self.vault.clouds.push(cloud);
        }
        for n in 0..HOSTS {
            let (cloud, name) = (self.vault.clouds[site_of(n)], name_of(n));
            let address = format!("{name}:7411");
            self.order(&Command::AddHost { id: Some(host_of(n)), cloud, name, address, principal: None })
                .unwrap();
        }
        let (source, target) = (self.vault.clouds[0], self.vault.clouds[1]);
        self.order(&Command::PairClouds { source, target }).unwrap();
        let settings = self.settings();
        let policy = Command::AddPolicy { name: "gold".to_owned(), settings };
        let policy = PolicyId(self.order(&policy).unwrap().id.unwrap());
        self.vault.policy = policy;
        self.order(&Command::Associate { cloud: source, policy: Some(policy) }).unwrap();
        for n in 1..=MACHINES {
            let guest = Guest { wanted: true, running: true, brought_up: None };
            self.hosts[usize::try_from(n % 3).unwrap()].disk.guests.insert(machine(n), guest);
        }
        (0..SITES).for_each(|n| self.after(1, Node::Site(n), Timer::Start));
        (0..HOSTS).for_each(|n| self.after(2, Node::Host(n), Timer::Start));
    }

    /// Settings that no earlier order has made: the bandwidth tells which is the later one.
    fn settings(&mut self) -> PolicyPatch {
        self.truth.count("policy changes");
        let number = self.truth.counts["policy changes"];
        PolicyPatch {
            copy_frequency_secs: Change::Set(self.chance.pick(&[120, 300, 600, 900])),
            bandwidth: Change::Set(Some(1_000_000 + number)),
            keep_every_point_secs: Change::Set(self.chance.pick(&[3_600, 7_200, 14_400])),
            keep_daily_secs: Change::Set(86_400 * self.chance.within(1, 30)),
            ..PolicyPatch::default()
        }
    }

    pub(crate) fn enable(&mut self, machine: MachineId) -> bool {
        let enable = Enable { machines: vec![machine], ..Enable::default() };
        let done = self.order(&Command::Enable(enable)).is_some();
        if done {
            self.truth.disabled.remove(&machine);
            let row = self.vault.core.as_ref().and_then(|core| core.document(Key::Protection(machine)));
            let version = row.map(|row| row.document.version);
            let version = version.map(|version| (version.term.number, version.generation));
            self.truth.renewed.extend(version.map(|version| (machine, version)));
            self.truth.to_delete.remove(&machine);
            self.truth.count("enabled");
        }
        done
    }

    fn disable(&mut self, machine: MachineId) {
        let replica = self.chance.pick(&[OnDisable::Keep, OnDisable::Delete]);
        // Ordered is ordered, even where the answer is lost.
        if self.order(&Command::Disable { machine, replica: Some(replica), force: false }).is_some() {
            self.truth.disabled.insert(machine);
            if replica == OnDisable::Delete {
                self.truth.to_delete.insert(machine);
            }
            self.truth.count("disabled");
        }
    }

    /// One order, or a deed on a host.
    pub(crate) fn operate(&mut self) {
        if self.calm {
            return;
        }
        let next = self.now + self.chance.within(1, 2 * self.fate.orders);
        self.at(next, Event::Operator);
        let m = machine(u128::from(self.chance.within(1, u64::try_from(MACHINES).unwrap())));
        let n = self.chance.index(HOSTS);
        let turned = self.truth.turned.contains(&m);
        match self.chance.index(if self.fate.restless { 24 } else { 20 }) {
            0..5 => drop(self.enable(m)),
            5..7 if !turned => self.disable(m),
            7 => drop(self.order(&Command::SetPaused { machine: m, paused: true })),
            8..10 => drop(self.order(&Command::SetPaused { machine: m, paused: false })),
            10 => {
                let (policy, settings) = (self.vault.policy, self.settings());
                self.order(&Command::ChangePolicy { policy, settings });
            }
            11 => drop(self.order(&Command::SetMaintenance {
                host: host_of(n),
                on: true,
                how: Maintenance::default(),
            })),
            12 => drop(self.order(&Command::SetMaintenance {
                host: host_of(n),
                on: false,
                how: Maintenance::default(),
            })),
            13 => drop(self.order(&Command::Resync { machine: m })),
            14..16 if self.migrate(m, n) => self.truth.count("moved"),
            16 => self.vault.backups.push(self.vault.stored.clone()),
            17 => self.restore(),
            20..24 => {
                // A vault that speaks to one side, and the next one to the other.
                let (site, ms) = (self.chance.index(SITES), self.chance.within(10 * MINUTE, HOUR));
                self.cut_pair(Node::Vault, Node::Site(site), ms);
                self.restore();
            }
            18 => self.turn(m),
            _ => {}
        }
    }

    /// The vault is lost, and comes back from a backup of some time ago.
    fn restore(&mut self) {
        if self.vault.backups.is_empty() {
            return;
        }
        let which = self.chance.index(self.vault.backups.len());
        self.note(|| format!("backup {which} is restored"));
        self.crash(Node::Vault);
        (self.vault.stored, self.vault.next_start) = (self.vault.backups[which].clone(), Start::Restored);
        self.truth.count("restored");
    }

    /// A machine changes sides: by force where its replica is, or handed over by its owner.
    fn turn(&mut self, m: MachineId) {
        let force = self.chance.ppm(500_000);
        let fits = |disk: &Disk| match force {
            true => disk.replicas.contains_key(&m),
            false => disk.guests.get(&m).is_some_and(|guest| guest.running),
        };
        let Some(n) = self.hosts.iter().position(|host| fits(&host.disk)) else { return };
        if self.hosts[n].run.is_none() || self.truth.turned.len() >= TURNED_MAX {
            return;
        }
        let done = if force { self.break_glass(n, m) } else { self.hand_over(n, m) };
        if done {
            self.truth.count(if force { "taken by force" } else { "handed over" });
        }
    }

    /// The faults are over: everybody comes back, and the operator puts things right.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.cut.clear();
        self.note(|| "calm".to_owned());
        let down =
            [Node::Vault].into_iter().chain((0..SITES).map(Node::Site)).chain((0..HOSTS).map(Node::Host));
        for node in down.filter(|node| !self.is_up(*node)).collect::<Vec<_>>() {
            match node {
                Node::Vault => self.vault.life += 1,
                Node::Site(n) => self.sites[n].life += 1,
                Node::Host(n) => self.hosts[n].life += 1,
            }
            self.after(SECOND, node, Timer::Start);
        }
    }

    pub(crate) fn put_right(&mut self) {
        if self.vault.core.as_ref().is_some_and(Core::is_superseded) {
            self.note(|| "the vault was superseded: it is wanted, and started as restored".to_owned());
            self.vault.core = None;
            self.vault.life += 1;
            self.vault.next_start = Start::Restored;
            self.after(1, Node::Vault, Timer::Start);
            return;
        }
        let Some(core) = &self.vault.core else { return };
        let hosts: Vec<_> = core.hosts().filter(|host| host.maintenance).map(|host| host.id).collect();
        let paused: Vec<_> = core.protections().filter(|row| row.is_live()).map(|row| row.machine).collect();
        for host in hosts {
            self.order(&Command::SetMaintenance { host, on: false, how: Maintenance::default() });
        }
        for machine in paused {
            self.order(&Command::SetPaused { machine, paused: false });
        }
    }
}
