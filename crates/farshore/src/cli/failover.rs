//! A machine goes to the other side and comes home: one command for each step.

use axum::http::Method;
use clap::Subcommand;
use farshore_protection::{Confirm, Operation};
use farshore_types::PointId;
use serde::Serialize;

use super::{
    Output,
    jobs::{Waiting, wait_for},
    operator::{Operator, path},
    show, when,
};
use crate::{
    ProgramError,
    views::{
        AddressView, CancelOrder, ChangePointOrder, CleanUpOrder, CommitOrder, DrillRecordView,
        FailbackOrder, FlattenOrder, LifeView, PlannedOrder, ProtectionView, TakeBackOrder, TestOrder,
        UnplannedOrder, WinnerOrder,
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum FailoverCommand {
    /// Moves a machine to the other side: planned without any loss, or unplanned.
    ///
    /// Planned, it is shut down, its last cycle is sent, and it starts on the other side; it is
    /// protected in reverse from then on. Unplanned, nothing is needed of the host that ran it,
    /// and it starts at a recovery point; what would be lost is told before it is confirmed.
    #[command(
        // What is accepted means nothing to a planned one, and must not pass for `--unplanned`.
        mut_arg("accept_data_loss", |arg| arg.requires("unplanned")),
        mut_arg("accept_may_still_run", |arg| arg.requires("unplanned")),
        after_help = "Examples:\n  farshore protection failover web1\n  farshore protection failover web1 --power-off\n  farshore protection failover web1 --unplanned --accept-data-loss --accept-may-still-run\n  farshore protection failover web1 --unplanned --point 3-1207 --accept-data-loss"
    )]
    Failover {
        /// Name or UUID.
        machine: String,
        /// Brings it up at a recovery point, whatever became of the host that ran it.
        #[arg(long)]
        unplanned: bool,
        /// latest, latest-whole, latest-application, or a point; the latest where left out.
        #[arg(long, requires = "unplanned")]
        point: Option<String>,
        /// The point that was shown when the loss was accepted: nothing older is started. The
        /// newest one now where left out; it is printed.
        #[arg(long, requires = "unplanned", value_name = "POINT")]
        shown: Option<String>,
        /// Tries to stop the machine and to send the rest first; goes on without where that fails.
        #[arg(long, requires = "unplanned", conflicts_with = "point")]
        try_to_stop: bool,
        /// The host that is meant: asked for where it would go back from where it was just failed
        /// over to.
        #[arg(long, requires = "unplanned", value_name = "HOST")]
        to: Option<String>,
        /// Switches the machine off where it does not shut down by itself.
        #[arg(long, conflicts_with = "unplanned")]
        power_off: bool,
        #[command(flatten)]
        accepted: Accepted,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Brings a copy of a machine up in an isolated network, while replication goes on.
    #[command(
        after_help = "Examples:\n  farshore protection test-failover web1\n  farshore protection test-failover web1 --network lab --hours 4"
    )]
    TestFailover {
        /// Name or UUID.
        machine: String,
        /// latest, latest-whole, latest-application, or a point; the latest where left out.
        #[arg(long)]
        point: Option<String>,
        /// A network of the target's host to connect it to; never that of production.
        #[arg(long, conflicts_with = "own_network")]
        network: Option<String>,
        /// Makes an isolated network for it.
        #[arg(long)]
        own_network: bool,
        /// Hours after which it is cleaned up by itself; 24 where left out.
        #[arg(long)]
        hours: Option<u16>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Removes every trace of a test failover.
    #[command(
        after_help = "Examples:\n  farshore protection clean-up web1\n  farshore protection clean-up web1 --notes db-was-up-in-40s"
    )]
    CleanUp {
        #[command(flatten)]
        one: One,
        /// What was found, kept with the protection.
        #[arg(long)]
        notes: Option<String>,
    },
    /// Ends the choices that a failover leaves open.
    #[command(after_help = "Example:\n  farshore protection commit web1")]
    Commit {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        seen: Seen,
    },
    /// Takes a failover back; what was written since is kept as a point.
    #[command(after_help = "Example:\n  farshore protection cancel web1 --accept-data-loss")]
    Cancel {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        seen: Seen,
        #[command(flatten)]
        accepted: Accepted,
    },
    /// Brings a failed-over machine up at another recovery point.
    #[command(
        after_help = "Examples:\n  farshore protection change-point web1 --point 3-1207 --accept-data-loss\n  farshore protection change-point web1 --point 3-1290 --as-left --accept-data-loss"
    )]
    ChangePoint {
        #[command(flatten)]
        one: One,
        /// latest, latest-whole, latest-application, or a point.
        #[arg(long)]
        point: String,
        /// As it was left at that point, not as the point is.
        #[arg(long)]
        as_left: bool,
        #[command(flatten)]
        seen: Seen,
        #[command(flatten)]
        accepted: Accepted,
    },
    /// Replicates a failed-over machine to the other side, whose own writes are kept as a point.
    #[command(after_help = "Example:\n  farshore protection reverse web1")]
    Reverse(One),
    /// Moves a machine home without any loss.
    #[command(after_help = "Example:\n  farshore protection failback web1")]
    Failback {
        #[command(flatten)]
        one: One,
        /// Switches the machine off where it does not shut down by itself.
        #[arg(long)]
        power_off: bool,
    },
    /// Finishes a move that was sealed and not accepted.
    #[command(after_help = "Example:\n  farshore protection complete web1")]
    Complete(One),
    /// Gives a move up; the machine runs again where it was.
    #[command(after_help = "Example:\n  farshore protection abort web1")]
    Abort(One),
    /// Starts a machine again where it was sealed, when the other side is lost.
    #[command(
        after_help = "Example:\n  farshore protection take-back web1 --accept-data-loss --accept-may-still-run"
    )]
    TakeBack {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        accepted: Accepted,
    },
    /// Makes the disks of a machine that was failed over its own; nothing is replicated meanwhile.
    #[command(
        after_help = "Examples:\n  farshore protection flatten web1\n  farshore protection flatten web1 --at +8h\n  farshore protection flatten web1 --at 2026-11-28T22:00:00Z"
    )]
    Flatten {
        #[command(flatten)]
        one: One,
        /// When: an instant such as 2026-11-28T22:00:00Z, or a span from now such as +8h; now where
        /// left out.
        #[arg(long, value_name = "WHEN", value_parser = when::from_now)]
        at: Option<u64>,
    },
    /// Stops flattening, or its time.
    #[command(after_help = "Example:\n  farshore protection stop-flatten web1")]
    StopFlatten(One),
    /// Says which of two hosts that own a machine is the right one.
    #[command(
        after_help = "Example:\n  farshore protection declare-winner web1 --host hostb --accept-data-loss --accept-may-still-run"
    )]
    DeclareWinner {
        #[command(flatten)]
        one: One,
        /// The host that wins.
        #[arg(long)]
        host: String,
        #[command(flatten)]
        accepted: Accepted,
    },
}

/// One machine.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Name or UUID.
    machine: String,
    #[command(flatten)]
    waiting: Waiting,
}

/// What is known and accepted.
#[derive(Debug, clap::Args)]
pub(crate) struct Accepted {
    /// What was written since the point is not there any more.
    #[arg(long)]
    accept_data_loss: bool,
    /// The machine may still run on the other side.
    #[arg(long)]
    accept_may_still_run: bool,
}

/// What was seen when it was decided.
#[derive(Debug, clap::Args)]
pub(crate) struct Seen {
    /// The version that `farshore protection show` told; what it is now where left out.
    #[arg(long = "seen", value_name = "VERSION")]
    version: Option<u64>,
}

impl Accepted {
    fn confirm(&self) -> Vec<Confirm> {
        let loss = self.accept_data_loss.then_some(Confirm::DataLoss);
        loss.into_iter().chain(self.accept_may_still_run.then_some(Confirm::MayStillRun)).collect()
    }
}

pub(super) async fn run(operator: &Operator, command: FailoverCommand) -> Result<(), ProgramError> {
    use FailoverCommand as C;
    match command {
        C::Failover { machine, unplanned: false, power_off, waiting, .. } => {
            let one = One { machine, waiting };
            order(operator, one, "planned-failover", "is being moved", &PlannedOrder { power_off }).await
        }
        C::Failover { machine, point, shown, try_to_stop, to, accepted, waiting, .. } => {
            let one = One { machine, waiting };
            let shown = match shown {
                None if accepted.accept_data_loss => show_loss(operator, &one, point.as_deref()).await?,
                shown => shown,
            };
            let body = UnplannedOrder { point, shown, try_to_stop, to, confirm: accepted.confirm() };
            order(operator, one, "unplanned-failover", "is being failed over", &body).await
        }
        C::TestFailover { machine, point, network, own_network, hours, waiting } => {
            let body = TestOrder { point, network, own_network, hours };
            let one = One { machine, waiting };
            order(operator, one, "test-failover", "is being brought up as a copy", &body).await
        }
        C::Commit { one, seen } => {
            let body = CommitOrder { version: version(operator, &one, &seen).await? };
            order(operator, one, "commit", "is being committed", &body).await
        }
        C::Cancel { one, seen, accepted } => {
            let (version, confirm) = (version(operator, &one, &seen).await?, accepted.confirm());
            order(operator, one, "cancel", "is being taken back", &CancelOrder { version, confirm }).await
        }
        C::ChangePoint { one, point, as_left, seen, accepted } => {
            let (version, confirm) = (version(operator, &one, &seen).await?, accepted.confirm());
            let body = ChangePointOrder { version, point, as_left, confirm };
            order(operator, one, "change-point", "is being brought up at another point", &body).await
        }
        C::Failback { one, power_off } => {
            order(operator, one, "failback", "is being moved home", &FailbackOrder { power_off }).await
        }
        C::TakeBack { one, accepted } => {
            let body = TakeBackOrder { confirm: accepted.confirm() };
            order(operator, one, "take-back", "is being started where it was sealed", &body).await
        }
        C::Flatten { one, at } => {
            order(operator, one, "flatten", "is to get disks of its own", &FlattenOrder { at_ms: at }).await
        }
        C::DeclareWinner { one, host, accepted } => {
            let text = format!("is to be host '{host}'s");
            let body = WinnerOrder { host, confirm: accepted.confirm() };
            order(operator, one, "declare-winner", &text, &body).await
        }
        C::CleanUp { one, notes } => {
            order(operator, one, "clean-up", "is to be rid of its test failover", &CleanUpOrder { notes })
                .await
        }
        C::Reverse(one) => bare(operator, one, "reverse", "is to be replicated to the other side").await,
        C::Complete(one) => bare(operator, one, "complete", "is to run on the other side").await,
        C::Abort(one) => bare(operator, one, "abort", "is to stay where it was").await,
        C::StopFlatten(one) => bare(operator, one, "stop-flatten", "keeps its disks as they are").await,
    }
}

/// The version that an order names: as it was seen, or as it is seen now.
async fn version(operator: &Operator, one: &One, seen: &Seen) -> Result<u64, ProgramError> {
    match seen.version {
        Some(version) => Ok(version),
        None => {
            let view: ProtectionView = operator.get(&path(&["protections", &one.machine])).await?;
            Ok(view.version)
        }
    }
}

/// Says what is lost by what was accepted without having been shown, and holds the order to that;
/// none where the point is named, or where there is none.
async fn show_loss(
    operator: &Operator,
    one: &One,
    point: Option<&str>,
) -> Result<Option<String>, ProgramError> {
    let view: ProtectionView = operator.get(&path(&["protections", &one.machine])).await?;
    let found = match point {
        None | Some("latest" | "latest-whole") => view.newest.zip(view.rpo_ms),
        Some("latest-application") => view.application.map(|point| (point.id, point.age_ms)),
        Some(_) => None,
    };
    let Some((point, age_ms)) = found else { return Ok(None) };
    show::complain(&loss_line(point, age_ms));
    Ok(Some(point.to_string()))
}

/// What is accepted, before it is known whether the vault agrees.
fn loss_line(point: PointId, age_ms: u64) -> String {
    let secs = age_ms.div_ceil(1000);
    format!("at most the last {secs} s would be lost: nothing older than point {point} would be started\n")
}

async fn order(
    operator: &Operator,
    one: One,
    verb: &str,
    text: &str,
    body: &impl Serialize,
) -> Result<(), ProgramError> {
    let path = path(&["protections", &one.machine, verb]);
    let done = operator.order(Method::POST, &path, Some(body)).await?;
    operator.told(&done, &format!("'{}' {text}", one.machine));
    wait_for(operator, &done, one.waiting).await
}

async fn bare(operator: &Operator, one: One, verb: &str, text: &str) -> Result<(), ProgramError> {
    let done = operator.order_bare(Method::POST, &path(&["protections", &one.machine, verb])).await?;
    operator.told(&done, &format!("'{}' {text}", one.machine));
    wait_for(operator, &done, one.waiting).await
}

/// A life for people, after what is shown of its protection.
pub(super) fn show_life(output: Output, life: &LifeView) {
    if output != Output::Table {
        return;
    }
    show::print(&life_text(life));
}

fn life_text(life: &LifeView) -> String {
    let mut text = format!("\n{}\n", life.what);
    if let Some(point) = life.brought_up_at {
        text += &format!("it was brought up at point {point}\n");
    }
    if !life.kept.is_empty() {
        let kept: Vec<String> = life.kept.iter().map(ToString::to_string).collect();
        text += &format!("`change-point --as-left` brings it up as it was left at {}\n", kept.join(", "));
    }
    if let Some(failed) = &life.failed {
        text += &format!("it could not be started: {failed}\n");
    }
    if let Some(rival) = &life.rival {
        text += &format!("host '{rival}' owns it too: declare which of them is the winner\n");
    }
    if let Some(drill) = &life.drill {
        let why = drill.failed.as_ref().map_or_else(String::new, |failed| format!(": {failed}"));
        text += &format!("a test failover is {}{why}\n", drill.phase);
    }
    for against in &life.against_start {
        text += &format!("it could not be started on the other side: {against}\n");
    }
    for record in &life.drills {
        text += &drill_line(record);
    }
    for address in &life.addresses {
        text += &address_lines(address);
    }
    for (hosts, why) in [(&life.fenced_on, "fenced"), (&life.held_on, "held, for nobody says who owns it,")] {
        if !hosts.is_empty() {
            text += &format!("its copy is {why} on {}\n", hosts.join(", "));
        }
    }
    text += "\nWhat can be ordered:\n";
    for one in life.operations.iter().filter(|one| one.allowed) {
        let confirm: Vec<String> = one.confirm.iter().map(|c| format!("--accept-{}", c.name())).collect();
        text += &format!("  {:22}{} {}\n", command_of(one.operation), one.does, confirm.join(" "));
    }
    text += "What cannot, why, and what to do instead:\n";
    for one in life.operations.iter().filter(|one| !one.allowed) {
        let (why, instead) = (show::or_dash(&one.why), show::or_dash(&one.instead));
        text += &format!("  {:22}{why}; {instead}\n", command_of(one.operation));
    }
    text
}

/// An operation as it is typed after `farshore protection`.
fn command_of(operation: Operation) -> &'static str {
    match operation {
        Operation::PlannedFailover => "failover",
        Operation::UnplannedFailover => "failover --unplanned",
        other => other.name(),
    }
}

fn drill_line(record: &DrillRecordView) -> String {
    let at = record.at.map_or_else(|| "no point".to_owned(), |at| format!("point {at}"));
    let ran = match (record.ran, record.overdue) {
        (true, false) => "its copy ran",
        (true, true) => "its copy ran, and was cleaned up when its time was over",
        (false, _) => "its copy did not run",
    };
    let why = record.failed.as_ref().map_or_else(String::new, |failed| format!(" ({failed})"));
    let notes = record.notes.as_ref().map_or_else(String::new, |notes| format!(": {notes}"));
    format!("a test failover to {at}: {ran}{why}{notes}\n")
}

fn address_lines(address: &AddressView) -> String {
    let side = |address: Option<std::net::IpAddr>| address.map_or("-".to_owned(), |a| a.to_string());
    let (home, away) = (side(address.home), side(address.away));
    let mut text = format!("card {} should have {home} at home, {away} on the other side\n", address.card);
    for note in &address.notes {
        text += &format!("  {note}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use farshore_protection::Operation;

    use super::*;
    use crate::views::OperationView;

    #[test]
    fn a_loss_that_is_accepted_is_told_in_a_line_of_its_own() {
        assert_eq!(
            loss_line("3-157".parse().unwrap(), 123_400),
            "at most the last 124 s would be lost: nothing older than point 3-157 would be started\n"
        );
    }

    #[test]
    fn a_drill_that_did_not_run_says_why() {
        let failed = Some("no such network".to_owned());
        let record = DrillRecordView {
            at: None,
            host: None,
            ran: false,
            failed,
            overdue: false,
            ended_ms: 0,
            notes: None,
        };
        assert_eq!(
            drill_line(&record),
            "a test failover to no point: its copy did not run (no such network)\n"
        );
    }

    #[test]
    fn what_can_be_ordered_is_told_with_its_flags_and_what_cannot_with_what_to_do() {
        let one = |operation: Operation, allowed| OperationView {
            operation,
            does: operation.what().to_owned(),
            allowed,
            confirm: if allowed { vec![Confirm::DataLoss] } else { Vec::new() },
            code: None,
            why: (!allowed).then(|| "replication is paused".to_owned()),
            instead: (!allowed).then(|| "resume it".to_owned()),
        };
        let life = LifeView {
            what: "cycles run".to_owned(),
            away: false,
            brought_up_at: "3-9".parse().ok(),
            kept: ["3-5", "3-7"].iter().filter_map(|point| point.parse().ok()).collect(),
            failed: None,
            loss_ms: None,
            disks: "own".to_owned(),
            drill: None,
            could_start: Some(false),
            against_start: vec!["there is no network 'lan'; make it".to_owned()],
            drills: vec![DrillRecordView {
                at: "3-7".parse().ok(),
                host: None,
                ran: true,
                failed: None,
                overdue: false,
                ended_ms: 0,
                notes: Some("came up in 40 s".to_owned()),
            }],
            addresses: vec![AddressView {
                card: "52:54:00:00:00:01".to_owned(),
                home: "10.0.0.5".parse().ok(),
                away: None,
                notes: vec!["10.0.0.5 is reserved in network 'lan' of host 'hosta'".to_owned()],
            }],
            rival: None,
            fenced_on: vec!["hosta".to_owned()],
            held_on: Vec::new(),
            operations: vec![one(Operation::UnplannedFailover, true), one(Operation::PlannedFailover, false)],
        };
        let text = life_text(&life);
        assert!(text.contains("\n  failover --unplanned  ") && text.contains("--accept-data-loss"), "{text}");
        assert!(text.contains("replication is paused; resume it"), "{text}");
        assert!(text.contains("it was brought up at point 3-9\n"), "{text}");
        assert!(text.contains("--as-left` brings it up as it was left at 3-5, 3-7\n"), "{text}");
        assert!(text.contains("fenced on hosta"), "{text}");
        assert!(text.contains("could not be started on the other side: there is no network"), "{text}");
        assert!(text.contains("a test failover to point 3-7: its copy ran: came up in 40 s"), "{text}");
        assert!(text.contains("should have 10.0.0.5 at home, - on the other side\n  10.0.0.5 is"), "{text}");
    }
}
