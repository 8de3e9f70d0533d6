//! Clouds, their pairs and policies.

use axum::http::Method;
use clap::Subcommand;

use super::{
    jobs::{Waiting, wait_for},
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{
    ProgramError,
    views::{AddCloud, CloudView, Follow, PairWith, Rename},
};

#[derive(Debug, Subcommand)]
pub(crate) enum CloudCommand {
    /// Lists the clouds.
    #[command(after_help = "Examples:\n  farshore cloud list\n  farshore cloud list --site east")]
    List {
        /// Only those of this site.
        #[arg(long)]
        site: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows a cloud.
    #[command(after_help = "Example:\n  farshore cloud show east")]
    Show {
        /// Name or id.
        cloud: String,
    },
    /// Adds a cloud to a site.
    #[command(after_help = "Example:\n  farshore cloud add --site east databases")]
    Add {
        /// Name or id of the site.
        #[arg(long)]
        site: String,
        /// Its name.
        name: String,
    },
    /// Gives a cloud another name.
    #[command(after_help = "Example:\n  farshore cloud rename databases db")]
    Rename {
        /// Name or id.
        cloud: String,
        /// Its new name.
        name: String,
    },
    /// Pairs two clouds: machines of the first are protected by replicas in the second.
    #[command(after_help = "Example:\n  farshore cloud pair east west")]
    Pair {
        /// Where machines run.
        source: String,
        /// Where their replicas are kept.
        target: String,
    },
    /// Ends a pair by which nothing is protected.
    #[command(after_help = "Example:\n  farshore cloud unpair east")]
    Unpair {
        /// Name or id of either cloud.
        cloud: String,
    },
    /// Lets a policy hold for a cloud.
    #[command(
        after_help = "Examples:\n  farshore cloud associate east --policy gold\n  farshore cloud associate east"
    )]
    Associate {
        /// Name or id.
        cloud: String,
        /// The policy; none ends the association.
        #[arg(long)]
        policy: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Removes a cloud without hosts, pair and policy.
    #[command(after_help = "Example:\n  farshore cloud remove databases")]
    Remove {
        /// Name or id.
        cloud: String,
    },
}

pub(super) async fn run(operator: &Operator, command: CloudCommand) -> Result<(), ProgramError> {
    let (done, text) = match command {
        CloudCommand::List { site, list } => {
            let clouds: Vec<CloudView> =
                operator.list("clouds", &list, Query::default().with("site", site)).await?;
            show::list(operator.output, &clouds, &HEADS, row);
            return Ok(());
        }
        CloudCommand::Show { cloud } => {
            let cloud: CloudView = operator.get(&path(&["clouds", &cloud])).await?;
            show::record(operator.output, &cloud, &HEADS, row(&cloud));
            return Ok(());
        }
        CloudCommand::Add { site, name } => {
            let body = AddCloud { site, name: name.clone() };
            (operator.order(Method::POST, "clouds", Some(&body)).await?, format!("cloud '{name}' is there"))
        }
        CloudCommand::Rename { cloud, name } => {
            let body = Rename { name: name.clone() };
            let done = operator.order(Method::PUT, &path(&["clouds", &cloud, "name"]), Some(&body)).await?;
            (done, format!("cloud '{cloud}' is '{name}'"))
        }
        CloudCommand::Pair { source, target } => {
            let body = PairWith { target: target.clone() };
            let done = operator.order(Method::PUT, &path(&["clouds", &source, "pair"]), Some(&body)).await?;
            (done, format!("machines of '{source}' can be protected in '{target}'"))
        }
        CloudCommand::Unpair { cloud } => {
            let done = operator.order_bare(Method::DELETE, &path(&["clouds", &cloud, "pair"])).await?;
            (done, format!("cloud '{cloud}' has no pair"))
        }
        CloudCommand::Associate { cloud, policy, waiting } => {
            return associate(operator, &cloud, policy, waiting).await;
        }
        CloudCommand::Remove { cloud } => {
            let done = operator.order_bare(Method::DELETE, &path(&["clouds", &cloud])).await?;
            (done, format!("cloud '{cloud}' is removed"))
        }
    };
    operator.told(&done, &text);
    Ok(())
}

async fn associate(
    operator: &Operator,
    cloud: &str,
    policy: Option<String>,
    waiting: Waiting,
) -> Result<(), ProgramError> {
    let path = path(&["clouds", cloud, "policy"]);
    let (done, text) = match policy {
        Some(policy) => {
            let text = format!("policy '{policy}' holds for '{cloud}'");
            (operator.order(Method::PUT, &path, Some(&Follow { policy })).await?, text)
        }
        None => {
            let text = format!("no policy holds for '{cloud}' any more");
            (operator.order_bare(Method::DELETE, &path).await?, text)
        }
    };
    operator.told(&done, &text);
    wait_for(operator, &done, waiting).await
}

const HEADS: [&str; 6] = ["cloud", "site", "pair", "role", "policy", "hosts"];

fn row(cloud: &CloudView) -> Vec<String> {
    let (pair, role, policy) =
        (show::or_dash(&cloud.paired_with), show::or_dash(&cloud.role), show::or_dash(&cloud.policy));
    vec![cloud.name.clone(), cloud.site.clone(), pair, role, policy, cloud.hosts.to_string()]
}
