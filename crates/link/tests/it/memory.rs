//! A target that keeps its replicas in memory, and can be told to be slow, full, or
//! forgetful.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use farshore_link::{Caller, Proof, Receiver, Sink, Welcomed};
use farshore_types::{Digest, DiskKey, Epoch, MachineId, PointId, PointRef};
use farshore_wire::{
    Acceptance, Body, DigestPage, Failure, FailureCode, Held, Hello, OpenCycle, Outcome, Record, Refusal,
    RefusalCode, Seal, SessionId, limits::WINDOW_MIN,
};

/// Content of all disks by (disk, cluster); zeros are absent.
pub(crate) type Content = BTreeMap<(DiskKey, u64), Digest>;

#[derive(Default)]
pub(crate) struct Replica {
    pub(crate) epoch: Option<Epoch>,
    pub(crate) last: Option<PointRef>,
    pub(crate) content: Content,
    pub(crate) sealed: Vec<(PointRef, Outcome, u64)>,
    pub(crate) sessions: u64,
    held: Option<(Held, Staged)>,
}

#[derive(Default)]
struct Staged {
    records: Vec<(DiskKey, Record)>,
    open: Option<OpenCycle>,
}

/// What the tests may turn.
#[derive(Default)]
pub(crate) struct Knobs {
    pub(crate) append_delay: Duration,
    /// Cycles held over a cut are forgotten.
    pub(crate) forgetful: bool,
    /// Appends fail once so many were made.
    pub(crate) fail_after: Option<u64>,
    pub(crate) appends: u64,
    pub(crate) appended_bytes: u64,
    pub(crate) refuse: Option<Refusal>,
    pub(crate) window: Option<u32>,
}

#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) replicas: Arc<Mutex<HashMap<MachineId, Replica>>>,
    pub(crate) knobs: Arc<Mutex<Knobs>>,
    callers: Arc<Mutex<Vec<(String, Proof)>>>,
}

impl Memory {
    pub(crate) fn with<T>(&self, machine: MachineId, f: impl FnOnce(&mut Replica) -> T) -> T {
        f(self.replicas.lock().unwrap().entry(machine).or_default())
    }

    /// Who was let in, and by what.
    pub(crate) fn callers(&self) -> Vec<(String, Proof)> {
        self.callers.lock().unwrap().clone()
    }

    pub(crate) fn knobs<T>(&self, f: impl FnOnce(&mut Knobs) -> T) -> T {
        f(&mut self.knobs.lock().unwrap())
    }
}

#[async_trait]
impl Sink for Memory {
    async fn authorise(&self, peer: &Caller, hello: &Hello) -> Result<(), Refusal> {
        assert!(peer.name.ends_with(".example"), "the name that was proved arrives: {peer}");
        let held = self.with(hello.machine, |replica| replica.epoch);
        match held.and_then(|held| Refusal::for_epoch(&held, &hello.epoch)) {
            Some(refusal) => Err(refusal),
            None => self.knobs(|knobs| knobs.refuse.clone()).map_or(Ok(()), Err),
        }
    }

    async fn letter(&self, peer: &Caller, letter: Bytes) -> Result<Bytes, Refusal> {
        if &letter[..] == b"refuse this" {
            return Err(Refusal::new(RefusalCode::NotAuthorised, "not you", "write to another host"));
        }
        Ok(format!("{peer} wrote: {}", String::from_utf8_lossy(&letter)).into())
    }

    async fn hello(&self, peer: &Caller, hello: &Hello) -> Result<Welcomed, Refusal> {
        self.callers.lock().unwrap().push((peer.name.clone(), peer.proof));
        let (forgetful, window) = self.knobs(|k| (k.forgetful, k.window.unwrap_or(WINDOW_MIN)));
        let acceptance = self.with(hello.machine, |replica| {
            assert!(replica.sessions < 10_000, "sessions do not end");
            replica.sessions += 1;
            let held_epoch = replica.epoch.replace(hello.epoch);
            if forgetful {
                replica.held = None;
            }
            Acceptance {
                session: SessionId(replica.sessions),
                held_epoch,
                last: replica.last,
                held: replica.held.as_ref().map(|(held, _)| held.clone()),
                window,
                disks: Vec::new(),
                free_space: 1 << 40,
            }
        });
        let staged =
            self.with(hello.machine, |r| r.held.take()).map(|(_, staged)| staged).unwrap_or_default();
        let store = Store { memory: self.clone(), machine: hello.machine, epoch: hello.epoch, staged };
        Ok(Welcomed { acceptance, receiver: Box::new(store) })
    }
}

struct Store {
    memory: Memory,
    machine: MachineId,
    epoch: Epoch,
    staged: Staged,
}

#[async_trait]
impl Receiver for Store {
    async fn open_cycle(&mut self, open: &OpenCycle) -> Result<(), Failure> {
        if open.disks.is_empty() {
            return Err(Failure::new(FailureCode::Storage, "no disks", "try another"));
        }
        self.staged = Staged { records: Vec::new(), open: Some(open.clone()) };
        Ok(())
    }

    async fn append(&mut self, disk: &DiskKey, records: Vec<Record>) -> Result<(), Failure> {
        let delay = self.memory.knobs(|k| k.append_delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let full = self.memory.knobs(|knobs| {
            knobs.appends += 1;
            knobs.appended_bytes += records.iter().map(|r| r.wire_len() as u64).sum::<u64>();
            knobs.fail_after.is_some_and(|after| knobs.appends > after)
        });
        if full {
            self.staged = Staged::default();
            return Err(Failure::new(FailureCode::NoSpace, "the pool is full", "free some space"));
        }
        for record in records {
            record
                .verify()
                .map_err(|e| Failure::new(FailureCode::BadRecord, e.to_string(), "run it again"))?;
            self.staged.records.push((disk.clone(), record));
        }
        Ok(())
    }

    async fn seal(&mut self, seal: Seal) -> Result<PointRef, Failure> {
        let staged = std::mem::take(&mut self.staged);
        assert_eq!(staged.open.map(|open| open.cycle), Some(seal.cycle));
        assert_eq!(staged.records.len() as u64, seal.records);
        let point =
            PointRef { id: PointId { epoch: self.epoch.number, number: seal.cycle }, root: seal.root };
        self.memory.with(self.machine, |replica| {
            for (disk, record) in staged.records {
                match record.body {
                    Body::Zero | Body::Discard => replica.content.remove(&(disk, record.cluster)),
                    Body::Raw(_) | Body::Zstd(_) | Body::Patch(_) => {
                        replica.content.insert((disk, record.cluster), record.digest)
                    }
                };
            }
            replica.last = Some(point);
            replica.sealed.push((point, seal.outcome, seal.age_ms));
        });
        Ok(point)
    }

    async fn abort(&mut self, _: u64, _: &Failure) {
        self.staged = Staged::default();
    }

    async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, Failure> {
        const PAGE: usize = 3;
        let mut entries: Vec<(u64, Digest)> = self.memory.with(self.machine, |replica| {
            let of_disk = replica.content.iter().filter(|((key, at), _)| key == disk && *at >= from);
            of_disk.map(|((_, at), digest)| (*at, *digest)).take(PAGE + 1).collect()
        });
        let next = (entries.len() > PAGE).then(|| entries.pop().unwrap().0);
        Ok(DigestPage { disk: disk.clone(), from, entries, next })
    }

    async fn lost(&mut self, held: Option<Held>) {
        let staged = std::mem::take(&mut self.staged);
        self.memory.with(self.machine, |replica| replica.held = held.map(|held| (held, staged)));
    }
}

/// A refusal for tests that only need one.
pub(crate) fn refusal(code: RefusalCode) -> Refusal {
    Refusal::new(code, "as the test wants it", "nothing")
}
