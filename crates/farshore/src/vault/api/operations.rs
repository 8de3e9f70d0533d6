//! Orders about a protection's life: failover in all its forms, and the way home. Whether one is
//! allowed is told by the protection itself, and by the refusal.

use axum::extract::State;
use farshore_channel::Json;
use farshore_protection::{Choice, Confirm, Drill, DrillNetwork, Operation, Order, Overlay};
use farshore_vault::{Command, Core, Problem, ProblemKind};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answered, Api,
    asking::{Key, Named},
    names, points,
};
use crate::{
    vault::{issuer::problem, wall_ms},
    views::{
        CancelOrder, ChangePointOrder, CleanUpOrder, CommitOrder, FailbackOrder, FlattenOrder, Ordered,
        PlannedOrder, TakeBackOrder, TestOrder, UnplannedOrder, WinnerOrder,
    },
};

/// Most hours for which it may.
const HOURS_MAX: u16 = 720;
/// Milliseconds by which an instant to come may be past: clocks differ a little.
const LATE_MS: u64 = 60_000;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(planned_failover))
        .routes(routes!(unplanned_failover))
        .routes(routes!(test_failover))
        .routes(routes!(clean_up_test))
        .routes(routes!(commit_failover))
        .routes(routes!(cancel_failover))
        .routes(routes!(change_point))
        .routes(routes!(reverse_protection))
        .routes(routes!(fail_back))
        .routes(routes!(complete_failover))
        .routes(routes!(abort_failover))
        .routes(routes!(take_back))
        .routes(routes!(flatten_disks))
        .routes(routes!(stop_flattening))
        .routes(routes!(declare_winner))
}

/// What an order with a body says, in the words of the life.
trait Says {
    const OPERATION: Operation;
    fn order(self, core: &Core) -> Result<Order, Problem>;
}

async fn operate(
    api: Api,
    key: Key,
    name: String,
    order: impl FnOnce(&Core) -> Result<Order, Problem> + Send + 'static,
) -> Answered<Ordered> {
    let mut order = api.desk.look(move |core, _, _| order(core)).await.and_then(|order| order);
    if let Ok(order) = &mut order {
        order.point_age = points::told_of(&api, &name, order.operation, order.point).await;
    }
    api.order(key, move |core| {
        let machine = names::protection(core, &name)?.machine;
        Ok(Command::Operate { machine, order: Box::new(order?) })
    })
    .await
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $path:literal $body:ident;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "failover",
                params(("machine" = String, Path, description = "Name or id of a machine.")),
                request_body = $body,
                responses((status = 200, description = "What it came to.", body = Ordered))
            )]
            async fn $name(
                State(api): State<Api>,
                key: Key,
                Named(name): Named,
                Json(asked): Json<$body>,
            ) -> Answered<Ordered> {
                operate(api, key, name, move |core| asked.order(core)).await
            }
        )*
    };
}

macro_rules! bare_operations {
    ($($(#[$doc:meta])* $name:ident $path:literal $operation:expr;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(
                post,
                path = $path,
                tag = "failover",
                params(("machine" = String, Path, description = "Name or id of a machine.")),
                responses((status = 200, description = "What it came to.", body = Ordered))
            )]
            async fn $name(State(api): State<Api>, key: Key, Named(name): Named) -> Answered<Ordered> {
                operate(api, key, name, |_| Ok(Order::new($operation, 0))).await
            }
        )*
    };
}

operations! {
    /// Brings a machine up on the other side at a recovery point.
    ///
    /// It needs nothing of the host that runs the machine, and supersedes what is under way. What
    /// is missing to be confirmed is told with how much would be lost. A point that is named is asked
    /// of its host first, and nothing happens where that has not told that it is there.
    unplanned_failover "/api/v1/protections/{machine}/unplanned-failover" UnplannedOrder;

    /// Moves a machine to the other side without any loss.
    ///
    /// It is shut down, its last cycle is sent, and it is sealed; the other side starts exactly
    /// that. It is protected in reverse from then on. Nothing is lost, or it does not happen.
    planned_failover "/api/v1/protections/{machine}/planned-failover" PlannedOrder;

    /// Brings a copy of a machine up in an isolated network.
    ///
    /// Replication goes on meanwhile. It is cleaned up by order, or when its time is over.
    test_failover "/api/v1/protections/{machine}/test-failover" TestOrder;

    /// Removes every trace of a test failover.
    ///
    /// Notes of what was found are kept with the protection.
    clean_up_test "/api/v1/protections/{machine}/clean-up" CleanUpOrder;

    /// Ends the choices that a failover leaves open.
    commit_failover "/api/v1/protections/{machine}/commit" CommitOrder;

    /// Takes a failover back.
    ///
    /// The machine is stopped on the other side, what it wrote there is kept as a point, and it
    /// runs again where it was.
    cancel_failover "/api/v1/protections/{machine}/cancel" CancelOrder;

    /// Brings a failed-over machine up at another recovery point.
    ///
    /// What it wrote at the point of now is kept until the failover is committed: back there, it
    /// can be had as it was left, or fresh.
    change_point "/api/v1/protections/{machine}/change-point" ChangePointOrder;

    /// Moves a machine home without any loss.
    fail_back "/api/v1/protections/{machine}/failback" FailbackOrder;

    /// Starts a machine again where it was sealed, though the other side may run it.
    take_back "/api/v1/protections/{machine}/take-back" TakeBackOrder;

    /// Makes the disks of a machine that was failed over its own.
    ///
    /// Nothing is replicated while that is done.
    flatten_disks "/api/v1/protections/{machine}/flatten" FlattenOrder;

    /// Says which of two hosts that own a machine is the right one.
    ///
    /// The other one's writes are kept as a point when replication to it begins.
    declare_winner "/api/v1/protections/{machine}/declare-winner" WinnerOrder;
}

bare_operations! {
    /// Replicates a failed-over machine to the other side.
    ///
    /// What the other side wrote itself is kept as a point, its disks are adopted, and what
    /// differs is sent.
    reverse_protection "/api/v1/protections/{machine}/reverse" Operation::Reverse;

    /// Finishes a move that was sealed and not accepted.
    complete_failover "/api/v1/protections/{machine}/complete" Operation::Complete;

    /// Gives a move up; the machine runs again where it was.
    abort_failover "/api/v1/protections/{machine}/abort" Operation::Abort;

    /// Stops flattening, or its time.
    stop_flattening "/api/v1/protections/{machine}/stop-flatten" Operation::StopFlatten;
}

fn new(operation: Operation, confirm: Vec<Confirm>) -> Order {
    Order { confirmed: confirm.into_iter().collect(), ..Order::new(operation, 0) }
}

/// The point that is meant.
fn choice(point: Option<&str>) -> Result<Choice, Problem> {
    match point.unwrap_or("latest") {
        "latest" => Ok(Choice::Latest),
        "latest-whole" => Ok(Choice::LatestWhole),
        "latest-application" => Ok(Choice::LatestApplication),
        point => point.parse().map(Choice::At).map_err(|_| {
            let what = format!("'{point}' is no recovery point");
            let advice = "use latest, latest-whole, latest-application, or a point such as 3-1207";
            problem(ProblemKind::Invalid, "point", what, advice)
        }),
    }
}

/// The point that is meant by somebody who was shown one: never more is lost than that loses.
fn bound(wanted: Choice, shown: &str) -> Result<Choice, Problem> {
    let other = |advice| {
        let what = format!("point {shown} was shown, and another one is to be started");
        problem(ProblemKind::Invalid, "shown", what, advice)
    };
    match (wanted, choice(Some(shown))?) {
        (Choice::Latest | Choice::LatestWhole, Choice::At(shown)) => Ok(Choice::NotBefore(shown)),
        (Choice::LatestApplication, shown @ Choice::At(_)) => Ok(shown),
        (wanted, shown) if wanted == shown => Ok(wanted),
        (_, Choice::At(_)) => Err(other("name the one of which the loss is accepted")),
        _ => Err(other("name it, such as 3-1207")),
    }
}

impl Says for PlannedOrder {
    const OPERATION: Operation = Operation::PlannedFailover;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(Order { power_off: self.power_off, ..new(Self::OPERATION, Vec::new()) })
    }
}

impl Says for FailbackOrder {
    const OPERATION: Operation = Operation::Failback;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(Order { power_off: self.power_off, ..new(Self::OPERATION, Vec::new()) })
    }
}

impl Says for UnplannedOrder {
    const OPERATION: Operation = Operation::UnplannedFailover;

    fn order(self, core: &Core) -> Result<Order, Problem> {
        let point = choice(self.point.as_deref())?;
        let point = self.shown.as_deref().map_or(Ok(point), |shown| bound(point, shown))?;
        let to = self.to.map(|host| names::host(core, &host).map(|host| host.id)).transpose()?;
        Ok(Order { point, to, try_to_stop: self.try_to_stop, ..new(Self::OPERATION, self.confirm) })
    }
}

impl Says for TestOrder {
    const OPERATION: Operation = Operation::TestFailover;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        let open_ms = self.hours.map_or(Drill::OPEN_MS, |hours| u64::from(hours) * 3_600_000);
        if let Some(hours) = self.hours.filter(|hours| *hours == 0 || *hours > HOURS_MAX) {
            let what = format!("a test failover cannot be open for {hours} hours");
            return Err(problem(ProblemKind::Invalid, "hours", what, "use 1 to 720"));
        }
        let network = match (self.network, self.own_network) {
            (Some(_), true) => {
                let what = "both a network and one of its own are wanted".to_owned();
                return Err(problem(ProblemKind::Invalid, "network", what, "name one of the two"));
            }
            (Some(name), false) => DrillNetwork::Named(name),
            (None, true) => DrillNetwork::Own,
            (None, false) => DrillNetwork::None,
        };
        let point = choice(self.point.as_deref())?;
        Ok(Order { point, network, open_ms: Some(open_ms), ..new(Self::OPERATION, Vec::new()) })
    }
}

impl Says for CleanUpOrder {
    const OPERATION: Operation = Operation::CleanUp;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(Order { notes: self.notes, ..new(Self::OPERATION, Vec::new()) })
    }
}

impl Says for CommitOrder {
    const OPERATION: Operation = Operation::Commit;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(Order { seen: Some(self.version), ..new(Self::OPERATION, Vec::new()) })
    }
}

impl Says for CancelOrder {
    const OPERATION: Operation = Operation::Cancel;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(Order { seen: Some(self.version), ..new(Self::OPERATION, self.confirm) })
    }
}

impl Says for ChangePointOrder {
    const OPERATION: Operation = Operation::ChangePoint;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        let overlay = if self.as_left { Overlay::AsLeft } else { Overlay::Fresh };
        let point = choice(Some(&self.point))?;
        Ok(Order { point, overlay, seen: Some(self.version), ..new(Self::OPERATION, self.confirm) })
    }
}

impl Says for TakeBackOrder {
    const OPERATION: Operation = Operation::TakeBack;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        Ok(new(Self::OPERATION, self.confirm))
    }
}

impl Says for FlattenOrder {
    const OPERATION: Operation = Operation::Flatten;

    fn order(self, _: &Core) -> Result<Order, Problem> {
        self.at_ms.map_or(Ok(()), |at_ms| to_come(at_ms, wall_ms()))?;
        Ok(Order { at_ms: self.at_ms, ..new(Self::OPERATION, Vec::new()) })
    }
}

/// That an instant is to come. Who says "now" by a clock of his own says it a little late.
fn to_come(at_ms: u64, now_ms: u64) -> Result<(), Problem> {
    if at_ms.saturating_add(LATE_MS) >= now_ms {
        return Ok(());
    }
    let shown = |ms: u64| {
        let at = i64::try_from(ms / 1000).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
        at.map_or_else(|| format!("{ms} ms"), |at| at.to_string())
    };
    let what = format!("{} is past: it is {} by the vault's clock", shown(at_ms), shown(now_ms));
    Err(problem(ProblemKind::Invalid, "past", what, "name an instant to come, or none to begin now"))
}

impl Says for WinnerOrder {
    const OPERATION: Operation = Operation::DeclareWinner;

    fn order(self, core: &Core) -> Result<Order, Problem> {
        let winner = Some(names::host(core, &self.host)?.id);
        Ok(Order { winner, ..new(Self::OPERATION, self.confirm) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_begin_in_the_past_is_refused_and_told_what_time_it_is() {
        let now = 1_795_903_200_000;
        for fine in [now, now - LATE_MS, now + 8 * 3_600_000, u64::MAX] {
            assert_eq!(to_come(fine, now), Ok(()));
        }
        let told = to_come(1_577_836_800_000, now).unwrap_err().what;
        assert!(told.starts_with("2020-01-01T00:00:00Z is past"), "{told}");
        assert!(told.contains("2026-11-28T22:00:00Z"), "{told}");
        let order = FlattenOrder { at_ms: Some(1) };
        assert_eq!(
            order
                .order(&Core::init(&crate::vault::moment_since(std::time::Instant::now())))
                .unwrap_err()
                .code,
            "past"
        );
    }

    #[test]
    fn an_order_is_held_to_the_point_that_was_shown_to_who_accepted_the_loss() {
        let shown = "3-7".parse().unwrap();
        assert_eq!(bound(Choice::Latest, "3-7").unwrap(), Choice::NotBefore(shown));
        assert_eq!(bound(Choice::LatestWhole, "3-7").unwrap(), Choice::NotBefore(shown));
        assert_eq!(bound(Choice::LatestApplication, "3-7").unwrap(), Choice::At(shown));
        assert_eq!(bound(Choice::At(shown), "3-7").unwrap(), Choice::At(shown));
        for wrong in ["3-8", "latest", "seven"] {
            let refused = bound(Choice::At(shown), wrong).unwrap_err();
            assert!(["shown", "point"].contains(&refused.code.as_str()), "{refused}");
        }
    }
}
