//! Recovery points of a machine, and the addresses that its guest should have.

use std::net::IpAddr;

use axum::http::Method;

use super::{
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{
    ProgramError,
    views::{AddressOrder, PointView},
};

/// Which points.
#[derive(Debug, clap::Args)]
pub(crate) struct PointsArgs {
    /// Name or UUID.
    machine: String,
    /// Only those for which the guest's file systems were frozen.
    #[arg(long)]
    application: bool,
    /// Most of them, the newest first; 20 where left out.
    #[arg(long, value_name = "COUNT", conflicts_with = "all")]
    limit: Option<usize>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// Which address.
#[derive(Debug, clap::Args)]
pub(crate) struct AddressArgs {
    /// Name or UUID.
    machine: String,
    /// Hardware address of the card, such as 52:54:00:12:34:56; the definition has it.
    #[arg(long)]
    card: String,
    /// Its address where protection began.
    #[arg(long, required_unless_present_any = ["away", "clear"])]
    home: Option<IpAddr>,
    /// Its address on the other side.
    #[arg(long)]
    away: Option<IpAddr>,
    /// Nothing is said of the card any more.
    #[arg(long, conflicts_with_all = ["home", "away"])]
    clear: bool,
}

/// Points that are listed where nothing is said.
const LIMIT: usize = 20;

pub(super) async fn points(operator: &Operator, args: PointsArgs) -> Result<(), ProgramError> {
    let limit = if args.all { None } else { Some(args.limit.unwrap_or(LIMIT)) };
    // One more than is shown tells whether there are more.
    let limit = limit.map(|limit| limit.saturating_add(1));
    let list = ListArgs { limit, ..ListArgs::default() };
    let query = Query::default().with("application", args.application.then_some("true"));
    let mut all: Vec<PointView> =
        operator.list(&path(&["protections", &args.machine, "points"]), &list, query).await?;
    let more = limit.is_some_and(|limit| all.len() >= limit);
    if more {
        all.pop();
    }
    show::list(operator.output, &all, &["point", "age", "consistency", "changed", "received", "note"], row);
    if more {
        show::complain("there are more, and older ones: --all lists them\n");
    }
    Ok(())
}

fn row(point: &PointView) -> Vec<String> {
    let pinned: Vec<String> = point.pinned_by.iter().map(|holder| format!("pinned by {holder}")).collect();
    vec![
        point.id.to_string(),
        show::time(point.age_ms),
        point.consistency.word().to_owned(),
        show::size(point.changed),
        show::size(point.received),
        pinned.join(", "),
    ]
}

pub(super) async fn address(operator: &Operator, args: AddressArgs) -> Result<(), ProgramError> {
    let path = path(&["protections", &args.machine, "addresses", &args.card]);
    let body = AddressOrder { home: args.home, away: args.away };
    let done = operator.order(Method::PUT, &path, Some(&body)).await?;
    let text = if args.clear { "has no address of its own any more" } else { "has its addresses" };
    operator.told(&done, &format!("card {} of '{}' {text}", args.card, args.machine));
    Ok(())
}
