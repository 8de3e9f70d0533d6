//! Replicas: listed, and discarded where no protection wants them.

use axum::http::Method;
use clap::Subcommand;

use super::{
    jobs::{Waiting, wait_for},
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{
    ProgramError,
    views::{ReplicaRole, ReplicaView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum ReplicaCommand {
    /// Lists the replicas that hosts report.
    #[command(
        after_help = "Examples:\n  farshore replica list --host hostb\n  farshore replica list --role aside"
    )]
    List {
        /// Only those on this host.
        #[arg(long)]
        host: Option<String>,
        /// Only those that are this to their machine's protection; `aside`: no protection wants it.
        #[arg(long, value_enum)]
        role: Option<ReplicaRole>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Deletes a replica that no protection wants, with all its points.
    #[command(after_help = "Example:\n  farshore replica discard web1 --host hostb")]
    Discard {
        /// Name or UUID of the machine.
        machine: String,
        /// The host that keeps it.
        #[arg(long)]
        host: String,
        /// Deletes it though it may be the only copy.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
}

pub(super) async fn run(operator: &Operator, command: ReplicaCommand) -> Result<(), ProgramError> {
    match command {
        ReplicaCommand::List { host, role, list } => {
            let query = Query::default().with("host", host).with("role", role.map(ReplicaRole::word));
            let all: Vec<ReplicaView> = operator.list("replicas", &list, query).await?;
            show::list(operator.output, &all, &HEADS, row);
            Ok(())
        }
        ReplicaCommand::Discard { machine, host, force, waiting } => {
            let query = Query::default().with("force", force.then_some("true"));
            let path = format!("{}{query}", path(&["hosts", &host, "replicas", &machine]));
            let done = operator.order_bare(Method::DELETE, &path).await?;
            operator.told(&done, &format!("the replica of '{machine}' on host '{host}' is being deleted"));
            wait_for(operator, &done, waiting).await
        }
    }
}

const HEADS: [&str; 7] = ["machine", "host", "role", "epoch", "newest", "points", "stored"];

fn row(replica: &ReplicaView) -> Vec<String> {
    vec![
        replica.name.clone(),
        replica.host.clone(),
        replica.role.word().to_owned(),
        replica.epoch.to_string(),
        replica.newest.map_or_else(|| "-".to_owned(), |point| point.to_string()),
        replica.points.to_string(),
        show::size(replica.stored),
    ]
}
