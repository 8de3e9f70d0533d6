//! Protections: made, looked at, paused, compared, ended.

use axum::http::Method;
use clap::{ArgGroup, Subcommand};
use farshore_types::DiskKey;
use farshore_vault::{Finding, Severity};

use super::{
    failover::{self, FailoverCommand},
    jobs::{Waiting, wait_for},
    operator::{ListArgs, Operator, Query, path},
    points::{self, AddressArgs, PointsArgs},
    show,
};
use crate::{
    ProgramError,
    views::{ApplicationPoint, EnableMachines, MoveTo, Ordered, ProtectionState, ProtectionView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ProtectionCommand {
    /// Lists the protections.
    #[command(
        after_help = "Examples:\n  farshore protection list\n  farshore protection list --cloud east --health critical"
    )]
    List(ProtectionsArgs),
    /// Shows a protection, and why it is as it is.
    #[command(after_help = "Example:\n  farshore protection show web1")]
    Show(MachineArgs),
    /// Protects machines; `farshore protect` for short.
    ///
    /// Everything that stands against it is told at once, before anything changes.
    #[command(
        after_help = "Examples:\n  farshore protection enable web1\n  farshore protection enable --cloud east --check"
    )]
    Enable(ProtectArgs),
    /// Ends the protection of a machine; `farshore unprotect` for short.
    #[command(after_help = "Example:\n  farshore protection disable web1 --keep-replica")]
    Disable(UnprotectArgs),
    /// Pauses a protection; `farshore pause` for short.
    #[command(after_help = "Example:\n  farshore protection pause web1")]
    Pause(MachineArgs),
    /// Lets a paused protection go on; `farshore resume` for short.
    #[command(after_help = "Example:\n  farshore protection resume web1")]
    Resume(MachineArgs),
    /// Compares everything with the replica, and sends what differs; `farshore resync` for short.
    #[command(after_help = "Example:\n  farshore protection resync web1")]
    Resync(ResyncArgs),
    /// Moves the replica to another host of its cloud.
    ///
    /// The old one counts until the new one is whole; then it is kept, or deleted.
    #[command(
        after_help = "Examples:\n  farshore protection move web1 --to hostc\n  farshore protection move web1 --delete-old"
    )]
    Move(MoveArgs),
    /// Lists the recovery points of a machine, the newest first.
    #[command(
        after_help = "Examples:\n  farshore protection points web1\n  farshore protection points web1 --application --limit 5"
    )]
    Points(PointsArgs),
    /// Says which address a network card of the guest should have on each side.
    ///
    /// Where the card is in a libvirt network that gives addresses, it is reserved there;
    /// elsewhere `farshore protection show` tells what is to be done by hand.
    #[command(
        after_help = "Examples:\n  farshore protection address web1 --card 52:54:00:12:34:56 --home 10.0.0.5 --away 10.1.0.5\n  farshore protection address web1 --card 52:54:00:12:34:56 --clear"
    )]
    Address(AddressArgs),
    #[command(flatten)]
    Failover(FailoverCommand),
    /// Forgets a protection one side of which is gone for good.
    ///
    /// Nothing is deleted. A host that comes back is told, and keeps what it has.
    #[command(after_help = "Example:\n  farshore protection forget web1")]
    Forget(ForgetArgs),
}

/// One machine.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineArgs {
    /// Name or UUID.
    machine: String,
}

/// Which protections.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ProtectionsArgs {
    /// Only those with an end in this site.
    #[arg(long)]
    site: Option<String>,
    /// Only those with an end in this cloud.
    #[arg(long)]
    cloud: Option<String>,
    /// Only those with an end on this host.
    #[arg(long)]
    host: Option<String>,
    /// Only those that follow this policy.
    #[arg(long)]
    policy: Option<String>,
    /// Only those that are so well.
    #[arg(long, value_parser = show::LEVELS)]
    health: Option<String>,
    /// Only those that do this.
    #[arg(long, value_enum)]
    state: Option<ProtectionState>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["machines", "all", "cloud"])))]
pub(crate) struct ProtectArgs {
    /// Names or UUIDs.
    machines: Vec<String>,
    /// All machines of clouds with a policy that are not protected.
    #[arg(long, conflicts_with_all = ["machines", "cloud"])]
    all: bool,
    /// All machines of this cloud that are not protected; may be repeated.
    #[arg(long)]
    cloud: Vec<String>,
    /// The host for the replicas; by room where left out.
    #[arg(long)]
    target: Option<String>,
    /// A disk that is left out; may be repeated.
    #[arg(long, value_name = "DISK")]
    exclude: Vec<DiskKey>,
    /// Only tells what stands against it.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnprotectArgs {
    /// Name or UUID.
    machine: String,
    /// Deletes the replica with all its points.
    #[arg(long, conflicts_with = "keep_replica")]
    delete_replica: bool,
    /// Keeps the replica.
    #[arg(long)]
    keep_replica: bool,
    /// Deletes a replica that may be the only good copy.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Where a replica moves.
#[derive(Debug, clap::Args)]
pub(crate) struct MoveArgs {
    /// Name or UUID.
    machine: String,
    /// The new host; by room where left out.
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Deletes the old replica once the new one is whole.
    #[arg(long)]
    delete_old: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// What is forgotten.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArgs {
    /// Name or id.
    pub(super) name: String,
    /// Forgets although all that is concerned answers.
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) waiting: Waiting,
}

/// One machine that is compared.
#[derive(Debug, clap::Args)]
pub(crate) struct ResyncArgs {
    /// Name or id.
    machine: String,
    #[command(flatten)]
    waiting: Waiting,
}

pub(super) async fn run(operator: &Operator, command: ProtectionCommand) -> Result<(), ProgramError> {
    match command {
        ProtectionCommand::List(args) => {
            let all = list(operator, &args).await?;
            show::list(operator.output, &all, &HEADS, row);
            Ok(())
        }
        ProtectionCommand::Show(args) => show_one(operator, &args.machine).await,
        ProtectionCommand::Enable(args) => protect(operator, args).await,
        ProtectionCommand::Disable(args) => unprotect(operator, args).await,
        ProtectionCommand::Pause(args) => pause(operator, args).await,
        ProtectionCommand::Resume(args) => resume(operator, args).await,
        ProtectionCommand::Resync(args) => resync(operator, args).await,
        ProtectionCommand::Move(args) => relocate(operator, args).await,
        ProtectionCommand::Points(args) => points::points(operator, args).await,
        ProtectionCommand::Address(args) => points::address(operator, args).await,
        ProtectionCommand::Failover(command) => failover::run(operator, command).await,
        ProtectionCommand::Forget(args) => {
            forget(operator, "protections", args, "the protection of machine").await
        }
    }
}

async fn relocate(operator: &Operator, args: MoveArgs) -> Result<(), ProgramError> {
    let body = MoveTo { to: args.to, delete_old: args.delete_old };
    let path = path(&["protections", &args.machine, "move"]);
    let done = operator.order(Method::POST, &path, Some(&body)).await?;
    operator.told(&done, &format!("the replica of '{}' is being moved", args.machine));
    wait_for(operator, &done, args.waiting).await
}

/// Forgets one of a noun, and says what is left.
pub(super) async fn forget(
    operator: &Operator,
    noun: &str,
    args: ForgetArgs,
    what: &str,
) -> Result<(), ProgramError> {
    let query = Query::default().with("force", args.force.then_some("true"));
    let path = format!("{}{query}", path(&[noun, &args.name, "forget"]));
    let done = operator.order_bare(Method::POST, &path).await?;
    operator.told(&done, &format!("{what} '{}' is forgotten; nothing was deleted", args.name));
    wait_for(operator, &done, args.waiting).await
}

pub(super) async fn list(
    operator: &Operator,
    args: &ProtectionsArgs,
) -> Result<Vec<ProtectionView>, ProgramError> {
    let query = Query::default()
        .with("site", args.site.as_ref())
        .with("cloud", args.cloud.as_ref())
        .with("host", args.host.as_ref())
        .with("policy", args.policy.as_ref())
        .with("health", args.health.as_ref())
        .with("state", args.state.map(ProtectionState::word));
    operator.list("protections", &args.list, query).await
}

pub(super) const HEADS: [&str; 8] =
    ["machine", "source", "target", "state", "rpo", "points", "missed", "health"];

pub(super) fn row(one: &ProtectionView) -> Vec<String> {
    let state = match one.progress {
        Some(share) => format!("{} {:.0} %", one.state.word(), share * 100.0),
        None => one.state.word().to_owned(),
    };
    let target = match &one.moving_from {
        Some(from) => format!("{from} -> {}", one.target),
        None => one.target.clone(),
    };
    vec![
        one.name.clone(),
        one.source.clone(),
        target,
        state,
        one.rpo_ms.map_or_else(|| "-".to_owned(), show::time),
        one.points.to_string(),
        one.cycles.missed.to_string(),
        show::health(&one.health),
    ]
}

async fn show_one(operator: &Operator, machine: &str) -> Result<(), ProgramError> {
    let one: ProtectionView = operator.get(&path(&["protections", machine])).await?;
    let heads = [
        &HEADS[..],
        &["life", "version", "policy", "epoch", "newest", "application", "stored", "cycles", "failed"],
    ]
    .concat();
    let newest = one.newest.map_or_else(|| "-".to_owned(), |point| point.to_string());
    let more = vec![
        one.life.name().to_owned(),
        one.version.to_string(),
        show::or_dash(&one.policy),
        one.epoch.to_string(),
        newest,
        one.application.map_or_else(|| "-".to_owned(), |point| application(&point)),
        show::size(one.stored),
        one.cycles.cycles.to_string(),
        one.cycles.failed.to_string(),
    ];
    show::record(operator.output, &one, &heads, [row(&one), more].concat());
    show::reasons(operator.output, &one.name, &one.health);
    if let Some(life) = &one.details {
        failover::show_life(operator.output, life);
    }
    Ok(())
}

/// The newest application-consistent point, its age, and what it cost the guest.
fn application(point: &ApplicationPoint) -> String {
    let frozen = point.frozen_ms.map(|ms| format!(", frozen for {ms} ms")).unwrap_or_default();
    format!("{} ({} old{frozen})", point.id, show::time(point.age_ms))
}

pub(super) async fn protect(operator: &Operator, args: ProtectArgs) -> Result<(), ProgramError> {
    let asked = EnableMachines {
        machines: args.machines,
        clouds: args.cloud,
        all: args.all,
        target: args.target,
        excluded: args.exclude.into_iter().collect(),
        initial: None,
    };
    if args.check {
        return check(operator, &asked).await;
    }
    let done = operator.order(Method::POST, "protections", Some(&asked)).await?;
    let which = match asked.machines.len() {
        0 => "they are".to_owned(),
        1 => format!("'{}' is", asked.machines[0]),
        count => format!("{count} machines are"),
    };
    operator
        .told(&done, &format!("{which} to be protected; `farshore status --watch` shows how far that is"));
    wait_for(operator, &done, args.waiting).await
}

async fn check(operator: &Operator, asked: &EnableMachines) -> Result<(), ProgramError> {
    let found: Vec<Finding> = operator.post("preflight", Some(asked)).await?;
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
    show::findings(&found);
    let (of_errors, warnings) = (show::count(errors, "error"), show::count(found.len() - errors, "warning"));
    let told = format!("{of_errors}, {warnings}");
    show::one(operator.output, &found, &told);
    match errors {
        0 => Ok(()),
        _ => Err(ProgramError::usage("not every machine can be protected", "put right what is told above")),
    }
}

pub(super) async fn unprotect(operator: &Operator, args: UnprotectArgs) -> Result<(), ProgramError> {
    let replica = match (args.delete_replica, args.keep_replica) {
        (true, _) => Some("delete"),
        (_, true) => Some("keep"),
        _ => None,
    };
    let query = Query::default().with("replica", replica).with("force", args.force.then_some("true"));
    let path = format!("{}{query}", path(&["protections", &args.machine]));
    let done = operator.order_bare(Method::DELETE, &path).await?;
    operator.told(&done, &format!("'{}' is to be protected no more", args.machine));
    wait_for(operator, &done, args.waiting).await
}

pub(super) async fn pause(operator: &Operator, args: MachineArgs) -> Result<(), ProgramError> {
    order(operator, &args.machine, "pause", "is paused").await.map(drop)
}

pub(super) async fn resume(operator: &Operator, args: MachineArgs) -> Result<(), ProgramError> {
    order(operator, &args.machine, "resume", "goes on").await.map(drop)
}

pub(super) async fn resync(operator: &Operator, args: ResyncArgs) -> Result<(), ProgramError> {
    let done = order(operator, &args.machine, "resync", "is being compared as a whole").await?;
    wait_for(operator, &done, args.waiting).await
}

async fn order(operator: &Operator, machine: &str, verb: &str, text: &str) -> Result<Ordered, ProgramError> {
    let done = operator.order_bare(Method::POST, &path(&["protections", machine, verb])).await?;
    operator.told(&done, &format!("'{machine}' {text}"));
    Ok(done)
}
