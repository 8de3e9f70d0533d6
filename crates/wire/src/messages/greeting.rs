//! The first frame of each direction.

use farshore_types::{Epoch, MachineId, PointRef};

use super::{DiskSize, SessionId, read_disks, write_disks};
use crate::{
    codec::{Input, Output},
    error::FrameError,
    limits::{VERSION_MAX, VERSION_MIN, VERSION_PATCHES, WINDOW_MAX, WINDOW_MIN},
};

/// A range of protocol versions.
///
/// 1: the first. 2: a source may send patch records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Oldest spoken.
    pub min: u16,
    /// Newest spoken; not below `min`.
    pub max: u16,
}

impl Versions {
    /// What this build speaks.
    pub const OURS: Versions = Versions { min: VERSION_MIN, max: VERSION_MAX };

    /// The newest version both speak.
    #[must_use]
    pub fn common(&self, other: &Versions) -> Option<u16> {
        let version = self.max.min(other.max);
        (version >= self.min.max(other.min)).then_some(version)
    }
}

/// Source to target: who speaks, for which machine, as owner of which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions that the source speaks.
    pub versions: Versions,
    /// The machine to replicate.
    pub machine: MachineId,
    /// Its name, for people.
    pub machine_name: String,
    /// The epoch the source owns the machine by.
    pub epoch: Epoch,
    /// The source agent's name and version, for people.
    pub agent: String,
    /// The session that opened the cycle which the source still holds open, if any.
    pub resume: Option<SessionId>,
}

/// The cycle that the target still holds open from before a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHint {
    /// Its number.
    pub cycle: u64,
    /// Index of the first Data frame that the target has not taken over.
    pub next_index: u64,
}

/// Target to source: the session is open, and this is where the replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u16,
    /// This session's number; all frames after this one carry it.
    pub session: SessionId,
    /// The last durable chain element, point or stage.
    pub last: Option<PointRef>,
    /// The unsealed cycle of the session named in [`Hello::resume`], if still held.
    pub open: Option<OpenHint>,
    /// Most bytes of Data frames, headers included, that may be sent and not credited.
    pub window: u32,
    /// The replica's disks.
    pub disks: Vec<DiskSize>,
    /// Bytes free where the replica is kept.
    pub free_space: u64,
}

impl Hello {
    pub(crate) fn encode(&self, out: &mut Output) {
        out.u16(self.versions.min);
        out.u16(self.versions.max);
        out.machine(self.machine);
        out.name(&self.machine_name);
        out.epoch(&self.epoch);
        out.name(&self.agent);
        out.option(self.resume, |out, session| out.u64(session.0));
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Hello, FrameError> {
        let versions = Versions { min: input.u16("oldest version")?, max: input.u16("newest version")? };
        if versions.min > versions.max {
            return Err(FrameError::Order { field: "versions" });
        }
        Ok(Hello {
            versions,
            machine: input.machine()?,
            machine_name: input.name("machine name")?,
            epoch: input.epoch()?,
            agent: input.name("agent name")?,
            resume: input.option("resume", |input| input.u64("resumed session"))?.map(SessionId),
        })
    }
}

impl Welcome {
    /// Whether the target takes patch records.
    #[must_use]
    pub fn takes_patches(&self) -> bool {
        self.version >= VERSION_PATCHES
    }

    pub(crate) fn encode(&self, out: &mut Output) {
        out.u16(self.version);
        out.u64(self.session.0);
        out.option(self.last, |out, point| out.point(&point));
        out.option(self.open, |out, open| {
            out.u64(open.cycle);
            out.u64(open.next_index);
        });
        out.u32(self.window);
        write_disks(out, &self.disks);
        out.u64(self.free_space);
    }

    pub(crate) fn decode(input: &mut Input) -> Result<Welcome, FrameError> {
        let (version, session) = (input.u16("version")?, SessionId(input.u64("session")?));
        if session.0 == 0 {
            return Err(FrameError::Value { field: "session", value: 0 });
        }
        let last = input.option("last point", Input::point)?;
        let open = input.option("open cycle", |input| {
            Ok(OpenHint { cycle: input.u64("open cycle")?, next_index: input.u64("next index")? })
        })?;
        let window = input.u32("window")?;
        if window < WINDOW_MIN {
            return Err(FrameError::Value { field: "window", value: u64::from(window) });
        }
        if window > WINDOW_MAX {
            let (value, limit) = (u64::from(window), u64::from(WINDOW_MAX));
            return Err(FrameError::TooLarge { field: "window", value, limit });
        }
        let disks = read_disks(input)?;
        Ok(Welcome { version, session, last, open, window, disks, free_space: input.u64("free space")? })
    }
}
