//! By which epoch this host owns a machine (rules R1 and R2): one small file per machine,
//! durable before it is used. This module must never judge who is right.

use std::path::{Path, PathBuf};

use farshore_env::{Files, OpenMode};
use farshore_link::{Dial, Greeting, LinkError, Session, SessionOptions};
use farshore_types::{Epoch, EpochOrder, MachineId};
use farshore_wire::RefusalCode;
use serde::{Deserialize, Serialize};

use super::AGENT;
use crate::{Agent, AgentError, config::Target};

/// Name of the record.
const RECORD: &str = "owner.json";
/// Version of the record.
const FORMAT: u32 = 1;
/// Most epochs that are tried to get above the target's.
const RECLAIM_STEPS_MAX: u32 = 1000;

/// This host's ownership of a machine.
pub(crate) struct Owner {
    pub(crate) epoch: Epoch,
    machine: MachineId,
    dir: PathBuf,
    target: Target,
}

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    epoch: Epoch,
    target: Target,
}

impl Owner {
    /// Reads the record; a machine that has none gets its first epoch.
    ///
    /// # Errors
    /// A record that cannot be read or written.
    pub(crate) fn open(agent: &Agent, machine: MachineId, target: &Target) -> Result<Owner, AgentError> {
        let dir = dir_of(agent, machine);
        agent.files.create_dir_all(&dir).map_err(AgentError::io("create", &dir))?;
        let held = load(&dir)?;
        let mut owner = Owner { epoch: issue(1), machine, dir, target: target.clone() };
        match held {
            Some(record) => {
                owner.epoch = record.epoch;
                if record.target != *target {
                    owner.save(&*agent.files)?;
                }
            }
            None => owner.save(&*agent.files)?,
        }
        Ok(owner)
    }

    /// Takes the epoch that the vault assigned. One that this host holds above it stays: a
    /// person has raised it since, and the vault learns of that.
    ///
    /// # Errors
    /// [`AgentError::Request`] where a higher one, or another of the same number, is held; a
    /// record that cannot be read or written.
    pub(crate) fn assigned(
        agent: &Agent,
        machine: MachineId,
        target: &Target,
        epoch: Epoch,
    ) -> Result<Owner, AgentError> {
        let dir = dir_of(agent, machine);
        agent.files.create_dir_all(&dir).map_err(AgentError::io("create", &dir))?;
        let held = load(&dir)?.map(|record| record.epoch);
        match held.map(|held| held.order_of(&epoch)) {
            None | Some(EpochOrder::Same | EpochOrder::Newer) => {}
            Some(EpochOrder::Older | EpochOrder::Conflict) => {
                let number = held.map_or(0, |held| held.number);
                return Err(AgentError::Request {
                    what: format!(
                        "this host holds epoch {number} of the machine, the vault assigned epoch {}",
                        epoch.number
                    ),
                    advice: "the vault learns of it by this host's report; declare the winner there"
                        .to_owned(),
                });
            }
        }
        let owner = Owner { epoch, machine, dir, target: target.clone() };
        owner.save(&*agent.files)?;
        Ok(owner)
    }

    /// The epoch by which this host owned a machine last; none: it never did.
    pub(crate) fn held(agent: &Agent, machine: MachineId) -> Option<Epoch> {
        load(&dir_of(agent, machine)).ok().flatten().map(|record| record.epoch)
    }

    /// Where the machine's records are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Issues epochs until the target takes one: highest known + 1. What the target holds
    /// is known only by being refused.
    ///
    /// # Errors
    /// Any refusal that a higher epoch does not mend, such as that the machine runs there.
    pub(crate) async fn reclaim(
        &mut self,
        agent: &Agent,
        dial: std::sync::Arc<dyn Dial>,
        name: &str,
    ) -> Result<(), AgentError> {
        for _ in 0..RECLAIM_STEPS_MAX {
            self.epoch = issue(self.epoch.number + 1);
            self.save(&*agent.files)?;
            let greeting = Greeting {
                machine: self.machine,
                machine_name: name.to_owned(),
                epoch: self.epoch,
                agent: AGENT.to_owned(),
            };
            match Session::over(dial.clone(), greeting, SessionOptions::default()).await {
                Ok(session) => return Ok(session.bye().await?),
                Err(LinkError::Refused { refusal, .. })
                    if matches!(refusal.code, RefusalCode::OlderEpoch | RefusalCode::EpochConflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AgentError::Request {
            what: format!("the target's epoch is more than {RECLAIM_STEPS_MAX} above this host's"),
            advice: "repeat the command to go on".to_owned(),
        })
    }

    fn save(&self, files: &dyn Files) -> Result<(), AgentError> {
        let record = Record { format: FORMAT, epoch: self.epoch, target: self.target.clone() };
        let path = self.dir.join(RECORD);
        let new = path.with_extension("tmp");
        let write = || {
            let text = serde_json::to_vec_pretty(&record)?;
            let file = files.open(&new, OpenMode::Truncate)?;
            file.write_at(&text, 0)?;
            file.sync()?;
            files.rename(&new, &path)?;
            files.sync_dir(&self.dir)
        };
        write().map_err(AgentError::io("write", &path))
    }
}

/// Where a machine's records as a source are.
pub(crate) fn dir_of(agent: &Agent, machine: MachineId) -> PathBuf {
    agent.config().state_dir.join("sources").join(machine.to_string())
}

fn load(dir: &Path) -> Result<Option<Record>, AgentError> {
    let path = dir.join(RECORD);
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => parse(&path, &text.map_err(AgentError::io("read", &path))?).map(Some),
    }
}

fn issue(number: u64) -> Epoch {
    Epoch { number, token: uuid::Uuid::new_v4().as_u128() }
}

fn parse(path: &Path, text: &[u8]) -> Result<Record, AgentError> {
    let wrong = |why: String| AgentError::Request {
        what: format!("{} is damaged: {why}", path.display()),
        advice: "move it away and replicate with --reclaim, which issues a new epoch".to_owned(),
    };
    let record: Record = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
    match record.format {
        FORMAT => Ok(record),
        newer => Err(wrong(format!("it has format {newer}, this agent knows {FORMAT}"))),
    }
}
