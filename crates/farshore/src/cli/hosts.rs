//! Hosts.

use axum::http::Method;
use clap::Subcommand;

use super::{
    jobs::{Waiting, wait_for},
    operator::{ListArgs, Operator, Query, path},
    protections::{ForgetArgs, forget},
    show,
};
use crate::{
    ProgramError,
    views::{HostView, KeyView, PutInto, ReachedAt, Rename, Revoked},
};

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Lists the hosts.
    #[command(
        after_help = "Examples:\n  farshore host list\n  farshore host list --site east --health critical"
    )]
    List {
        /// Only those of this site.
        #[arg(long)]
        site: Option<String>,
        /// Only those of this cloud.
        #[arg(long)]
        cloud: Option<String>,
        /// Only those that are so well.
        #[arg(long, value_parser = show::LEVELS)]
        health: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows a host.
    #[command(after_help = "Example:\n  farshore host show hosta")]
    Show {
        /// Name or id.
        host: String,
    },
    /// Shows a registration key for a host of a site; valid for five days, for one use.
    #[command(after_help = "Example:\n  farshore host key east")]
    Key {
        /// Name or id of the site.
        site: String,
    },
    /// Gives a host another name: that of its certificate.
    #[command(after_help = "Example:\n  farshore host rename hosta hostx")]
    Rename {
        /// Name or id.
        host: String,
        /// Its new name.
        name: String,
    },
    /// Puts a host into a cloud of its site.
    #[command(after_help = "Example:\n  farshore host move hosta --cloud databases")]
    Move {
        /// Name or id.
        host: String,
        /// The cloud.
        #[arg(long)]
        cloud: String,
    },
    /// Begins or ends the maintenance of a host: nothing new comes to it, and nobody is alerted.
    ///
    /// Its replicas pause, or move to other hosts of its cloud; its machines pause, or are
    /// replicated until they have been migrated.
    #[command(
        after_help = "Examples:\n  farshore host maintenance hostb on\n  farshore host maintenance hostb on --replicas move --delete-old\n  farshore host maintenance hosta on --machines follow\n  farshore host maintenance hostb off"
    )]
    Maintenance(MaintenanceArgs),
    /// Says where a host takes replication.
    #[command(after_help = "Example:\n  farshore host address hosta 10.1.0.5:7411")]
    Address {
        /// Name or id.
        host: String,
        /// HOST:PORT.
        address: String,
        /// Its Kerberos principal; "" takes it away, left out leaves it as it is.
        #[arg(long)]
        principal: Option<String>,
    },
    /// Revokes a host's certificates: it is refused within a minute.
    #[command(after_help = "Example:\n  farshore host revoke hosta")]
    Revoke {
        /// Name or id.
        host: String,
    },
    /// Removes a host that has no role, and revokes its certificates.
    #[command(after_help = "Example:\n  farshore host remove hosta")]
    Remove {
        /// Name or id.
        host: String,
    },
    /// Forgets a host that is gone for good, with all protections that have an end on it.
    ///
    /// Nothing is deleted, and its certificates are revoked. To come back it is enrolled anew.
    #[command(after_help = "Example:\n  farshore host forget hostb")]
    Forget(ForgetArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MaintenanceArgs {
    /// Name or id.
    host: String,
    /// `on` or `off`.
    #[arg(value_enum)]
    turn: Turn,
    /// What becomes of the replicas on it.
    #[arg(long, value_parser = ["pause", "move"], default_value = "pause")]
    replicas: String,
    /// What becomes of the replication of its machines.
    #[arg(long, value_parser = ["pause", "follow"], default_value = "pause")]
    machines: String,
    /// Deletes replicas that moved away, each once the new one is whole.
    #[arg(long)]
    delete_old: bool,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Turn {
    /// It begins.
    On,
    /// It ends.
    Off,
}

async fn maintenance(operator: &Operator, args: MaintenanceArgs) -> Result<(), ProgramError> {
    let path = path(&["hosts", &args.host, "maintenance"]);
    if args.turn == Turn::Off {
        let done = operator.order_bare(Method::DELETE, &path).await?;
        operator.told(&done, &format!("the maintenance of host '{}' is over", args.host));
        return Ok(());
    }
    let query = Query::default()
        .with("replicas", Some(args.replicas))
        .with("machines", Some(args.machines))
        .with("delete_old", args.delete_old.then_some("true"));
    let done = operator.order_bare(Method::PUT, &format!("{path}{query}")).await?;
    operator.told(&done, &format!("host '{}' is in maintenance", args.host));
    wait_for(operator, &done, args.waiting).await
}

pub(super) async fn run(operator: &Operator, command: HostCommand) -> Result<(), ProgramError> {
    let (done, text) = match command {
        HostCommand::List { site, cloud, health, list } => {
            let query = Query::default().with("site", site).with("cloud", cloud).with("health", health);
            let hosts: Vec<HostView> = operator.list("hosts", &list, query).await?;
            show::list(operator.output, &hosts, &HEADS, row);
            return Ok(());
        }
        HostCommand::Show { host } => {
            let host: HostView = operator.get(&path(&["hosts", &host])).await?;
            show::record(operator.output, &host, &HEADS, row(&host));
            show::reasons(operator.output, &host.name, &host.health);
            return Ok(());
        }
        HostCommand::Key { site } => {
            let key: KeyView = operator
                .once(Method::POST, &path(&["sites", &site, "host-registration"]), None::<&()>)
                .await?;
            let text = format!(
                "on the host, run\n  farshore-agent enrol --key {}\nthe key is for one use, within five days",
                key.key
            );
            show::one(operator.output, &key, &text);
            return Ok(());
        }
        HostCommand::Revoke { host } => {
            let path = path(&["hosts", &host, "revocation"]);
            let revoked: Revoked = operator.once(Method::POST, &path, None::<&()>).await?;
            let certificates = show::count(revoked.certificates, "certificate");
            let text = format!("revoked: {certificates} of host '{host}'");
            show::one(operator.output, &revoked, &text);
            return Ok(());
        }
        HostCommand::Rename { host, name } => {
            let body = Rename { name: name.clone() };
            let done = operator.order(Method::PUT, &path(&["hosts", &host, "name"]), Some(&body)).await?;
            (done, format!("host '{host}' is '{name}'"))
        }
        HostCommand::Move { host, cloud } => {
            let body = PutInto { cloud: cloud.clone() };
            let done = operator.order(Method::PUT, &path(&["hosts", &host, "cloud"]), Some(&body)).await?;
            (done, format!("host '{host}' belongs to '{cloud}'"))
        }
        HostCommand::Maintenance(args) => return maintenance(operator, args).await,
        HostCommand::Forget(args) => return forget(operator, "hosts", args, "host").await,
        HostCommand::Address { host, address, principal } => {
            let body = ReachedAt { address: address.clone(), principal };
            let done = operator.order(Method::PUT, &path(&["hosts", &host, "address"]), Some(&body)).await?;
            (done, format!("host '{host}' takes replication at {address}"))
        }
        HostCommand::Remove { host } => {
            let done = operator.order_bare(Method::DELETE, &path(&["hosts", &host])).await?;
            (done, format!("host '{host}' is removed, and its certificates are revoked"))
        }
    };
    operator.told(&done, &text);
    Ok(())
}

const HEADS: [&str; 7] = ["host", "site", "cloud", "address", "machines", "heard", "health"];

fn row(host: &HostView) -> Vec<String> {
    let heard = host.heard_secs.map_or_else(|| "not yet".to_owned(), |secs| format!("{secs} s ago"));
    // Of a host that the vault has not heard of since its start, nothing is known to be well.
    let known = host.heard_secs.is_some() || !host.health.reasons.is_empty();
    vec![
        host.name.clone(),
        host.site.clone(),
        show::or_dash(&host.cloud),
        host.address.clone(),
        host.machines.to_string(),
        heard,
        if known { show::health(&host.health) } else { "-".to_owned() },
    ]
}
