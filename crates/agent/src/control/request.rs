//! What can be asked of an agent. This module must never know the answers.

use std::{fmt, path::PathBuf, str::FromStr};

use farshore_types::{DiskKey, PointId, PointParseError};
use serde::{Deserialize, Serialize};

use crate::config::{Compression, Period, Target};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The machines of this host, and what of them can be replicated.
    Machines,
    /// What is replicated from here and to here, with its RPO.
    Status,
    /// Recovery points of one machine or of all.
    Points {
        /// Name or UUID; none: all.
        machine: Option<String>,
    },
    /// Reads a point and checks every digest.
    Verify {
        /// Name or UUID.
        machine: String,
        /// Which point.
        point: PointChoice,
    },
    /// Writes a point's disks as flat files.
    Export(Export),
    /// Brings a machine up at a point.
    BringUp(BringUp),
    /// Makes old copies of a machine's disks the base of its replica.
    Adopt(Adopt),
    /// Gives up points that a damaged chain has lost and that images still show.
    DropRescued {
        /// Name or UUID.
        machine: String,
        /// Which; empty: all.
        points: Vec<PointId>,
    },
    /// Lets a point go by retention again that keeps what was written on this host alone.
    Release {
        /// Name or UUID.
        machine: String,
        /// Which.
        point: PointId,
    },
    /// Ends a bring-up and forgets what the machine wrote.
    Discard {
        /// Name or UUID.
        machine: String,
        /// Even if the machine runs, or has written.
        #[serde(default)]
        force: bool,
    },
    /// Replicates a machine until stopped, or once.
    Replicate(Replicate),
    /// Starts a machine that is held after this host's boot, because nobody on the other side
    /// answers whether it has taken over (rule R8).
    StartHeld {
        /// Name or UUID.
        machine: String,
    },
}

/// Writes a point's disks as flat files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Name or UUID.
    pub machine: String,
    /// Which point.
    pub point: PointChoice,
    /// One disk; none: all.
    pub disk: Option<DiskKey>,
    /// A file, or a directory for one file per disk. Absolute.
    pub to: PathBuf,
    /// Format of the files.
    pub format: Format,
    /// Replaces files that exist.
    pub force: bool,
}

/// Brings a machine up at a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BringUp {
    /// Name or UUID.
    pub machine: String,
    /// Which point.
    pub point: PointChoice,
    /// What happens after defining it.
    pub start: StartChoice,
    /// Discards an earlier bring-up at another point first.
    pub replace: bool,
    /// Does not ask the host that wrote last whether the machine runs there, and where it
    /// replaces discards what was written.
    #[serde(default)]
    pub force: bool,
}

/// Makes old copies of a machine's disks the base of its replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// UUID; or the name of a replica or a machine of this host.
    pub machine: String,
    /// The disks and their copies' paths, absolute.
    pub disks: Vec<(DiskKey, PathBuf)>,
}

/// Replicates a machine of this host to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicate {
    /// Name or UUID.
    pub machine: String,
    /// Where to; none: as configured.
    pub target: Option<Target>,
    /// Copy frequency; none: as configured.
    pub frequency: Option<Period>,
    /// Compression; none: as configured.
    pub compression: Option<Compression>,
    /// Most bytes per second; none: as configured.
    pub bandwidth: Option<u64>,
    /// Disks that are left out, besides those configured.
    pub exclude: Vec<DiskKey>,
    /// Ends after the first recovery point.
    pub once: bool,
    /// Raises this host's epoch above the target's: this host is the owner again.
    pub reclaim: bool,
}

/// Format of an exported file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk's bytes, sparse.
    #[default]
    Raw,
    /// QEMU's image format, not compressed.
    Qcow2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        })
    }
}

/// What happens to a machine that was set to a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartChoice {
    /// It runs.
    #[default]
    Run,
    /// It is started, its processors stand still.
    Paused,
    /// It is only defined.
    No,
}

/// Which point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PointChoice {
    /// The newest there is.
    #[default]
    Latest,
    /// This one.
    At(PointId),
}

/// The word for [`PointChoice::Latest`].
const LATEST: &str = "latest";

impl FromStr for PointChoice {
    type Err = PointParseError;

    fn from_str(text: &str) -> Result<PointChoice, PointParseError> {
        match text {
            LATEST => Ok(PointChoice::Latest),
            text => text.parse().map(PointChoice::At),
        }
    }
}

impl fmt::Display for PointChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointChoice::Latest => f.write_str(LATEST),
            PointChoice::At(id) => id.fmt(f),
        }
    }
}

impl TryFrom<String> for PointChoice {
    type Error = PointParseError;

    fn try_from(text: String) -> Result<PointChoice, PointParseError> {
        text.parse()
    }
}

impl From<PointChoice> for String {
    fn from(choice: PointChoice) -> String {
        choice.to_string()
    }
}
