//! Where a protection is in its life, and the orders that lead on. This module must never know
//! what is allowed.

use std::net::IpAddr;

use farshore_protection::{Confirm, Operation};
use farshore_types::PointId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A protection's life in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LifeView {
    /// What it is, for people.
    pub what: String,
    /// Whether the machine is on the other side than where protection began.
    pub away: bool,
    /// The point that the machine was brought up at by a failover.
    #[serde(default)]
    pub brought_up_at: Option<PointId>,
    /// Points at which it was brought up before, and can be again as it was left.
    #[serde(default)]
    pub kept: Vec<PointId>,
    /// Why the machine could not be started, if it could not.
    #[serde(default)]
    pub failed: Option<String>,
    /// Milliseconds that would be lost by an unplanned failover to the newest point; none: there
    /// is none, or nobody knows.
    #[serde(default)]
    pub loss_ms: Option<u64>,
    /// What the machine's disks are: `own`, `layered`, `scheduled` or `flattening`.
    pub disks: String,
    /// A test failover that is not cleaned up.
    #[serde(default)]
    pub drill: Option<DrillView>,
    /// Whether the machine could be started on the host that keeps the replica, as that host
    /// looked at it last; none: it has not looked.
    #[serde(default)]
    pub could_start: Option<bool>,
    /// What stands against it.
    #[serde(default)]
    pub against_start: Vec<String>,
    /// Test failovers that were cleaned up, the newest last.
    #[serde(default)]
    pub drills: Vec<DrillRecordView>,
    /// The addresses that the guest should have on each side.
    #[serde(default)]
    pub addresses: Vec<AddressView>,
    /// Another host that owns the machine too: a person has to declare the winner.
    #[serde(default)]
    pub rival: Option<String>,
    /// Hosts on which a copy was stopped or isolated, because another one owns the machine.
    #[serde(default)]
    pub fenced_on: Vec<String>,
    /// Hosts that hold the machine since their boot, because nobody on the other side answers.
    #[serde(default)]
    pub held_on: Vec<String>,
    /// What can be ordered, and what not.
    pub operations: Vec<OperationView>,
}

/// A test failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillView {
    /// `opening`, `open` or `cleaning-up`.
    pub phase: String,
    /// Why its copy cannot be brought up, or not be removed.
    #[serde(default)]
    pub failed: Option<String>,
    /// The host that has it.
    #[serde(default)]
    pub host: Option<String>,
    /// Whether it is open for longer than it may be.
    pub overdue: bool,
    /// When it is cleaned up by itself, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// A test failover that was cleaned up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillRecordView {
    /// The point at which its copy was, if it came to one.
    #[serde(default)]
    pub at: Option<PointId>,
    /// The host that had it.
    #[serde(default)]
    pub host: Option<String>,
    /// Whether its copy ran when it was ordered away.
    pub ran: bool,
    /// Why it did not.
    #[serde(default)]
    pub failed: Option<String>,
    /// Whether it was cleaned up because its time was over.
    pub overdue: bool,
    /// When it was ordered away, in milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// What its people found.
    #[serde(default)]
    pub notes: Option<String>,
}

/// The addresses that a network card of the guest should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    /// The card's hardware address.
    pub card: String,
    /// On the side where protection began.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub home: Option<IpAddr>,
    /// On the other side.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub away: Option<IpAddr>,
    /// What its hosts say of it: where it is reserved, or what is to be done by hand.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The addresses that a network card should have; none on both sides: nothing is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddressOrder {
    /// On the side where protection began.
    #[schema(value_type = Option<String>)]
    pub home: Option<IpAddr>,
    /// On the other side.
    #[schema(value_type = Option<String>)]
    pub away: Option<IpAddr>,
}

/// The end of a test failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CleanUpOrder {
    /// What its people found, to be kept.
    pub notes: Option<String>,
}

/// What is answered to an operation now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    /// Which.
    pub operation: Operation,
    /// What it does.
    pub does: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// What has to be confirmed for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirm: Vec<Confirm>,
    /// Why it is not allowed, in a fixed word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// A planned failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PlannedOrder {
    /// Switches the machine off where it does not shut down by itself; else the move is given up.
    pub power_off: bool,
}

/// A failback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailbackOrder {
    /// Switches the machine off where it does not shut down by itself; else the move is given up.
    pub power_off: bool,
}

/// An unplanned failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnplannedOrder {
    /// `latest` (with what has arrived), `latest-whole`, `latest-application`, or a point such as
    /// `3-1207`; none: the latest.
    pub point: Option<String>,
    /// The point that was shown to who accepts the loss: nothing older is started, whatever became
    /// of the points since. None: what is lost is accepted unseen.
    pub shown: Option<String>,
    /// Tries to stop the machine and to send the rest first; where that fails, it goes on without.
    pub try_to_stop: bool,
    /// Name or id of the host that is meant; none: the other side, whichever that is, but not back
    /// from where it was just failed over to.
    pub to: Option<String>,
    /// What is known and accepted.
    pub confirm: Vec<Confirm>,
}

/// Another recovery point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePointOrder {
    /// The version of the protection that was seen.
    pub version: u64,
    /// As in an unplanned failover.
    pub point: String,
    /// Brings it up as it was left at that point, not as the point is.
    #[serde(default)]
    pub as_left: bool,
    /// What is known and accepted.
    #[serde(default)]
    pub confirm: Vec<Confirm>,
}

/// A choice that a failover leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitOrder {
    /// The version of the protection that was seen.
    pub version: u64,
}

/// Taking a failover back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// The version of the protection that was seen.
    pub version: u64,
    /// What is known and accepted.
    #[serde(default)]
    pub confirm: Vec<Confirm>,
}

/// Starting a machine where it was sealed, though the other side may run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TakeBackOrder {
    /// What is known and accepted.
    pub confirm: Vec<Confirm>,
}

/// A test failover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestOrder {
    /// As in an unplanned failover.
    pub point: Option<String>,
    /// A network of the target's host; with `own_network` neither: it is connected to nothing.
    pub network: Option<String>,
    /// Makes an isolated network for it, and removes that with it.
    pub own_network: bool,
    /// Hours after which it is cleaned up by itself, 1 to 720; none: after 24.
    #[schema(minimum = 1, maximum = 720)]
    pub hours: Option<u16>,
}

/// Flattening.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FlattenOrder {
    /// When it begins, in milliseconds since the Unix epoch, not in the past; none: now.
    pub at_ms: Option<u64>,
}

/// Which of two owners is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WinnerOrder {
    /// Name or id of its host.
    pub host: String,
    /// What is known and accepted.
    #[serde(default)]
    pub confirm: Vec<Confirm>,
}
