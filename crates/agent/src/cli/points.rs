//! Commands about one machine and its recovery points. This module must never look at a
//! replica itself.

use std::path::PathBuf;

use farshore_types::{DiskKey, PointId};

use crate::{
    AgentError,
    config::{Compression, Period, Target},
    control::{BringUp, Export, Format, PointChoice, Replicate, Request, StartChoice},
};

/// Lists recovery points of one machine, or of all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  farshore-agent points\n  farshore-agent points web1 --output json")]
#[command(verbatim_doc_comment)]
pub(super) struct PointsArgs {
    /// Name or UUID; all where left out.
    machine: Option<String>,
}

/// Reads a recovery point and checks every digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent verify web1 --point 1-42")]
#[command(verbatim_doc_comment)]
pub(super) struct VerifyArgs {
    /// Name or UUID.
    machine: String,
    /// The point: EPOCH-NUMBER, or "latest".
    #[arg(long, default_value_t)]
    point: PointChoice,
}

/// Writes a recovery point's disks as flat files, each cluster checked on its way.
///
/// A file gets its name when it is whole; until then, and after Ctrl-C, there is none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent export web1 --point 1-42 --to /srv/out\n  farshore-agent export web1 --disk vda --to web1.qcow2 --format qcow2"
)]
#[command(verbatim_doc_comment)]
pub(super) struct ExportArgs {
    /// Name or UUID.
    machine: String,
    /// The point: EPOCH-NUMBER, or "latest".
    #[arg(long, default_value_t)]
    point: PointChoice,
    /// Only this disk.
    #[arg(long)]
    disk: Option<DiskKey>,
    /// A file, or a directory that exists, for one file per disk.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// Format of the files.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Replaces files that exist.
    #[arg(long)]
    force: bool,
}

/// Brings a machine up on this host at a recovery point.
///
/// The machine's disks are overlays: the recovery points stay as they are, and `discard`
/// takes it all back. The host that replicated it is asked first, where its address is known
/// ([peer_addresses] in the configuration): if the machine runs there, or nobody answers,
/// only --force brings it up. The source can no longer replicate to here from then on. Repeating the
/// command changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent bring-up web1\n  farshore-agent bring-up web1 --point 1-42 --paused\n  farshore-agent bring-up web1 --point 1-40 --replace --force\n  farshore-agent bring-up web1 --force"
)]
#[command(verbatim_doc_comment)]
pub(super) struct BringUpArgs {
    /// Name or UUID.
    machine: String,
    /// The point: EPOCH-NUMBER, or "latest".
    #[arg(long, default_value_t)]
    point: PointChoice,
    /// Starts it with its processors halted.
    #[arg(long, conflicts_with = "no_start")]
    paused: bool,
    /// Only defines it.
    #[arg(long)]
    no_start: bool,
    /// If it was brought up at another point: ends that, as `discard` does. Refused while the
    /// machine runs, and where it has written, without --force.
    #[arg(long)]
    replace: bool,
    /// Does not ask the machine's own host whether it runs there: you know that it does not.
    /// With --replace, also stops what runs here and discards what it wrote.
    #[arg(long)]
    force: bool,
}

/// Ends a bring-up, and discards what the machine wrote since. Refused while the machine runs,
/// and where it has written, without --force: it is then stopped, and all that is gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent discard web1 --force")]
#[command(verbatim_doc_comment)]
pub(super) struct DiscardArgs {
    /// Name or UUID.
    machine: String,
    /// Even if the machine runs (it is stopped at once) or has written (that is gone).
    #[arg(long)]
    force: bool,
}

/// Gives up points that only the images of a damaged replica still show.
///
/// Where damage took a part of a replica, points that `qemu-img` still reads by their names
/// are kept, and so is their space. This frees it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent drop-rescued web1 --point 1-42")]
#[command(verbatim_doc_comment)]
pub(super) struct DropRescuedArgs {
    /// Name or UUID.
    machine: String,
    /// A point; may be given several times; all where left out.
    #[arg(long)]
    point: Vec<PointId>,
}

/// Lets a point go that keeps what was written on this host alone.
///
/// What a machine wrote here and the other site never got is kept as a point when the other site's
/// state comes here: `points` shows it as pinned by "own writes of before". It stays until you have what
/// you need of it (`export`) and say so; then it goes by retention, as every point.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farshore-agent release web1 --point 2-43")]
#[command(verbatim_doc_comment)]
pub(super) struct ReleaseArgs {
    /// Name or UUID.
    machine: String,
    /// The point: EPOCH-NUMBER.
    #[arg(long)]
    point: PointId,
}

/// Replicates a machine of this host to another, in the foreground.
///
/// What is left out is taken from the configuration where it has the machine.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent replicate web1 --to far.example:7411 --server-name far.example\n  farshore-agent replicate web1 --to 10.0.0.2:7411 --server-name far --frequency 2s --once"
)]
#[command(verbatim_doc_comment)]
pub(super) struct ReplicateArgs {
    /// Name or UUID.
    machine: String,
    /// The target agent's host:port.
    #[arg(long, value_name = "ADDRESS", requires = "server_name")]
    to: Option<String>,
    /// A name in the target agent's certificate.
    #[arg(long, value_name = "NAME", requires = "to")]
    server_name: Option<String>,
    /// Copy frequency, 1s to 1h.
    #[arg(long, value_parser = frequency)]
    frequency: Option<Period>,
    /// Compression of what is sent.
    #[arg(long, value_enum)]
    compression: Option<Compression>,
    /// Most bytes per second.
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// A disk to leave out; may be given several times.
    #[arg(long, value_name = "DISK")]
    exclude: Vec<DiskKey>,
    /// Ends after the first recovery point.
    #[arg(long)]
    once: bool,
    /// Makes this host the owner again, by an epoch above the target's.
    #[arg(long)]
    reclaim: bool,
}

fn frequency(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|e: crate::config::PeriodError| e.to_string())?;
    match (1..=3600).contains(&period.0.as_secs()) && period <= Period::secs(3600) {
        true => Ok(period),
        false => Err("it must be 1s to 1h".to_owned()),
    }
}

impl PointsArgs {
    pub(super) fn request(self) -> Request {
        Request::Points { machine: self.machine }
    }
}

impl VerifyArgs {
    pub(super) fn request(self) -> Request {
        Request::Verify { machine: self.machine, point: self.point }
    }
}

impl ExportArgs {
    pub(super) fn request(self) -> Result<Request, AgentError> {
        // The agent has another working directory.
        let to = std::path::absolute(&self.to).map_err(AgentError::io("find", &self.to))?;
        let ExportArgs { machine, point, disk, format, force, .. } = self;
        Ok(Request::Export(Export { machine, point, disk, to, format, force }))
    }
}

impl BringUpArgs {
    pub(super) fn request(self) -> Request {
        let start = match (self.paused, self.no_start) {
            (true, _) => StartChoice::Paused,
            (_, true) => StartChoice::No,
            _ => StartChoice::Run,
        };
        let BringUpArgs { machine, point, replace, force, .. } = self;
        Request::BringUp(BringUp { machine, point, start, replace, force })
    }
}

impl DropRescuedArgs {
    pub(super) fn request(self) -> Request {
        Request::DropRescued { machine: self.machine, points: self.point }
    }
}

impl ReleaseArgs {
    pub(super) fn request(self) -> Request {
        Request::Release { machine: self.machine, point: self.point }
    }
}

impl DiscardArgs {
    pub(super) fn request(self) -> Request {
        Request::Discard { machine: self.machine, force: self.force }
    }
}

impl ReplicateArgs {
    pub(super) fn request(self) -> Request {
        let target =
            self.to.zip(self.server_name).map(|(address, server_name)| Target { address, server_name });
        Request::Replicate(Replicate {
            machine: self.machine,
            target,
            frequency: self.frequency,
            compression: self.compression,
            bandwidth: self.bandwidth,
            exclude: self.exclude,
            once: self.once,
            reclaim: self.reclaim,
        })
    }
}
