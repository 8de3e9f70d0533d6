//! Policies.

use axum::http::Method;
use clap::Subcommand;
use farshore_policy::{PolicyPatch, SETTINGS, setting};

use super::{
    jobs::{Waiting, wait_for},
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{
    ProgramError,
    views::{AddPolicy, PolicyView, Rename},
};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Lists the policies.
    #[command(after_help = "Example:\n  farshore policy list")]
    List(ListArgs),
    /// Lists all settings with default and range.
    #[command(after_help = "Example:\n  farshore policy settings")]
    Settings,
    /// Shows what a policy says.
    #[command(after_help = "Example:\n  farshore policy show gold")]
    Show {
        /// Name or id.
        policy: String,
    },
    /// Adds a policy of the defaults and these settings.
    #[command(
        after_help = "Examples:\n  farshore policy add gold\n  farshore policy add gold copy-frequency=2s keep-every-point=4h"
    )]
    Add {
        /// Its name.
        name: String,
        /// SETTING=VALUE
        settings: Vec<String>,
    },
    /// Changes settings; running protections take them without a new first copy.
    #[command(
        after_help = "Examples:\n  farshore policy set gold copy-frequency=10s\n  farshore policy set gold bandwidth=\n  farshore policy set gold copy-frequency=10s --version 5d41402abc4b"
    )]
    Set {
        /// Name or id.
        policy: String,
        /// SETTING=VALUE; SETTING= takes it back to its default.
        #[arg(required = true)]
        settings: Vec<String>,
        /// The version that `policy show` has shown: refused where somebody has changed it since.
        #[arg(long)]
        version: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Gives a policy another name.
    #[command(after_help = "Example:\n  farshore policy rename gold platinum")]
    Rename {
        /// Name or id.
        policy: String,
        /// Its new name.
        name: String,
    },
    /// Removes a policy that nothing follows.
    #[command(after_help = "Example:\n  farshore policy remove gold")]
    Remove {
        /// Name or id.
        policy: String,
    },
}

pub(super) async fn run(operator: &Operator, command: PolicyCommand) -> Result<(), ProgramError> {
    let (done, text) = match command {
        PolicyCommand::List(args) => {
            let policies: Vec<PolicyView> = operator.list("policies", &args, Query::default()).await?;
            show::list(operator.output, &policies, &["policy", "clouds", "every"], |policy| {
                let every = format!("{} s", policy.policy.copy_frequency_secs);
                vec![policy.name.clone(), policy.clouds.join(", "), every]
            });
            return Ok(());
        }
        PolicyCommand::Settings => {
            settings(operator);
            return Ok(());
        }
        PolicyCommand::Show { policy } => {
            let policy: PolicyView = operator.get(&path(&["policies", &policy])).await?;
            let version = [vec!["(version)".to_owned(), policy.version.clone()]];
            let rows =
                SETTINGS.iter().map(|setting| vec![setting.flag.to_owned(), setting.get(&policy.policy)]);
            let rows = rows.chain(version);
            show::one(operator.output, &policy, show::table(&["setting", "value"], rows).trim_end());
            return Ok(());
        }
        PolicyCommand::Add { name, settings } => {
            let body = AddPolicy { name: name.clone(), settings: patch(&settings)? };
            let done = operator.order(Method::POST, "policies", Some(&body)).await?;
            (done, format!("policy '{name}' is there"))
        }
        PolicyCommand::Set { policy, settings, version, waiting } => {
            let body = patch(&settings)?;
            let query = Query::default().with("version", version);
            let path = format!("{}{query}", path(&["policies", &policy]));
            let done = operator.order(Method::PATCH, &path, Some(&body)).await?;
            operator.told(&done, &format!("policy '{policy}' is changed"));
            return wait_for(operator, &done, waiting).await;
        }
        PolicyCommand::Rename { policy, name } => {
            let body = Rename { name: name.clone() };
            let done =
                operator.order(Method::PUT, &path(&["policies", &policy, "name"]), Some(&body)).await?;
            (done, format!("policy '{policy}' is '{name}'"))
        }
        PolicyCommand::Remove { policy } => {
            let done = operator.order_bare(Method::DELETE, &path(&["policies", &policy])).await?;
            (done, format!("policy '{policy}' is removed"))
        }
    };
    operator.told(&done, &text);
    Ok(())
}

fn settings(operator: &Operator) {
    let heads = ["setting", "default", "range", "what it does"];
    let all: Vec<serde_json::Value> = SETTINGS
        .iter()
        .map(|s| serde_json::json!({ "setting": s.flag, "name": s.name, "default": s.default, "range": s.range, "help": s.help }))
        .collect();
    let rows = SETTINGS
        .iter()
        .map(|s| vec![s.flag.to_owned(), s.default.to_owned(), s.range.to_owned(), s.help.to_owned()]);
    show::one(operator.output, &all, show::table(&heads, rows).trim_end());
}

/// SETTING=VALUE, several of them; everything that is wrong is told at once.
fn patch(settings: &[String]) -> Result<PolicyPatch, ProgramError> {
    let (mut patch, mut wrong) = (PolicyPatch::default(), Vec::new());
    for text in settings {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let result = match (setting(name), text.contains('=')) {
            (_, false) => Err(format!("'{text}' is not of the form SETTING=VALUE")),
            (Err(unknown), _) => Err(unknown.to_string()),
            (Ok(known), true) if value.is_empty() => {
                known.clear(&mut patch);
                Ok(())
            }
            (Ok(known), true) => known.set(&mut patch, value),
        };
        wrong.extend(result.err());
    }
    match wrong.is_empty() {
        true => Ok(patch),
        false => Err(ProgramError::usage(wrong.join("; "), "`farshore policy settings` lists them all")),
    }
}
