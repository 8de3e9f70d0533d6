//! `status`: how well everything is, once or followed.

use std::time::Duration;

use farshore_health::{Health, Level};

use super::{Output, context::Operator, show};
use crate::{ProgramError, views::*};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Shows all protections: state, RPO, health with its reasons.
///
/// Examples:
///   farshore status
///   farshore status --watch
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {
    /// Shows it anew every two seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub(super) async fn status(operator: &Operator, args: &StatusArgs) -> Result<(), ProgramError> {
    loop {
        let vault: StatusView = operator.get("status").await?;
        let protections: Vec<ProtectionView> = operator.get("protections").await?;
        match operator.output {
            Output::Json => {
                let all = serde_json::json!({ "vault": vault, "protections": protections });
                show::print(&format!("{all}\n"));
            }
            Output::Table => show::print(&table(&vault, &protections)),
        }
        if !args.watch {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn table(vault: &StatusView, protections: &[ProtectionView]) -> String {
    let heads = ["machine", "source", "target", "state", "rpo", "points", "missed", "health"];
    let rows = protections.iter().map(|p| {
        let state = match p.progress {
            Some(share) => format!("{} {:.0} %", p.state, share * 100.0),
            None => p.state.clone(),
        };
        let rpo = p.rpo_ms.map_or_else(|| "-".to_owned(), show::time);
        let (points, missed) = (p.points.to_string(), p.cycles.missed.to_string());
        vec![
            p.name.clone(),
            p.source.clone(),
            p.target.clone(),
            state,
            rpo,
            points,
            missed,
            health(&p.health),
        ]
    });
    let mut text = show::table(&heads, rows);
    for protection in protections {
        for reason in &protection.health.reasons {
            text += &format!("  {}: {} ({})\n", protection.name, reason.what, reason.advice);
        }
    }
    if !vault.learning_from.is_empty() {
        text +=
            &format!("learning: {} have not been heard of in this term\n", vault.learning_from.join(", "));
    }
    text
}

/// Health in a word.
pub(crate) fn health(health: &Health) -> String {
    match health.level {
        Level::Normal => "normal",
        Level::Warning => "warning",
        Level::Critical => "critical",
    }
    .to_owned()
}
