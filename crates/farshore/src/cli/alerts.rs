//! Alerts, and the past of a protection, as operators ask for them.

use clap::Subcommand;

use super::{
    Output,
    operator::{ListArgs, Operator, Query, path},
    show,
    watch::Watching,
};
use crate::{
    ProgramError,
    vault::Tested,
    views::{AlertView, EventView, HistoryView, Noted},
};

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Lists alerts, the newest first.
    #[command(
        after_help = "Examples:\n  farshore alert list --level critical\n  farshore alert list --watch"
    )]
    List(Filter),
    /// Shows one, with what to do about it.
    #[command(after_help = "Example:\n  farshore alert show 3f2a91c0")]
    Show {
        /// Its id, or how that begins.
        alert: String,
    },
    /// Takes note of one: it stays open until what is wrong is over.
    #[command(after_help = "Example:\n  farshore alert acknowledge 3f2a91c0 --by kim")]
    Acknowledge {
        /// Its id, or how that begins.
        alert: String,
        /// Who takes note; else whoever runs this.
        #[arg(long, env = "USER")]
        by: Option<String>,
    },
    /// Sends a test message by every channel, and says what became of it.
    #[command(after_help = "Example:\n  farshore alert test")]
    Test,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    watch: Watching,
    /// Which.
    #[arg(long, default_value = "open", value_parser = ["open", "resolved", "all"])]
    state: String,
    /// How bad.
    #[arg(long, value_parser = ["warning", "critical"])]
    level: Option<String>,
    /// The reason's code, such as `rpo-missed`.
    #[arg(long)]
    code: Option<String>,
    /// About what.
    #[arg(long, value_parser = ["protection", "host", "site"])]
    of: Option<String>,
    /// Name or id of what it is about.
    #[arg(long)]
    about: Option<String>,
    /// Only those of which somebody has, or has not, taken note.
    #[arg(long)]
    acknowledged: Option<bool>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// The machine.
    machine: String,
}

pub(super) async fn run(operator: &Operator, command: AlertCommand) -> Result<(), ProgramError> {
    match command {
        AlertCommand::List(filter) => {
            let of_interest = |event: &EventView| matches!(event, EventView::Alert { .. });
            filter.watch.show(operator, of_interest, async || list(operator, &filter).await).await
        }
        AlertCommand::Show { alert } => {
            let alert = find(operator, &alert).await?;
            show::one(operator.output, &alert, &whole(&alert));
            Ok(())
        }
        AlertCommand::Acknowledge { alert, by } => {
            let id = find(operator, &alert).await?.id;
            let by = by.unwrap_or_else(|| "somebody".to_owned());
            let path = path(&["alerts", &id.to_string(), "acknowledge"]);
            let alert: AlertView = operator.post(&path, Some(&Noted { by })).await?;
            show::one(operator.output, &alert, "taken note of; it resolves itself when it is over");
            Ok(())
        }
        AlertCommand::Test => test(operator).await,
    }
}

async fn list(operator: &Operator, filter: &Filter) -> Result<String, ProgramError> {
    let query = Query::default()
        .with("state", Some(&filter.state))
        .with("level", filter.level.as_ref())
        .with("code", filter.code.as_ref())
        .with("of", filter.of.as_ref())
        .with("about", filter.about.as_ref())
        .with("acknowledged", filter.acknowledged.map(|flag| flag.to_string()));
    let alerts: Vec<AlertView> = operator.list("alerts", &filter.list, query).await?;
    let heads = ["alert", "level", "of", "name", "what", "noted by"];
    Ok(show::list_text(operator.output, &alerts, &heads, |alert| {
        vec![
            alert.id.to_string()[..8].to_owned(),
            level(alert),
            alert.of.clone(),
            alert.name.clone(),
            alert.what.clone(),
            alert.acknowledged_by.clone().unwrap_or_default(),
        ]
    }))
}

/// An alert by its id, or by how that begins.
async fn find(operator: &Operator, begin: &str) -> Result<AlertView, ProgramError> {
    let query = Query::default().with("state", Some("all"));
    let alerts: Vec<AlertView> = operator.list("alerts", &ListArgs::default(), query).await?;
    let begin = begin.to_lowercase();
    let mut found = alerts.into_iter().filter(|alert| alert.id.to_string().starts_with(&begin));
    match (found.next().filter(|_| !begin.is_empty()), found.next()) {
        (Some(alert), None) => Ok(alert),
        (Some(_), Some(_)) => {
            let what = format!("more than one alert begins with '{begin}'");
            Err(ProgramError::usage(what, "give more of its id"))
        }
        (None, _) => {
            let what = format!("there is no alert '{begin}'");
            Err(ProgramError::usage(what, "list them: farshore alert list --state all"))
        }
    }
}

async fn test(operator: &Operator) -> Result<(), ProgramError> {
    let tested: Vec<Tested> = operator.post("alerts/test", None::<&()>).await?;
    show::list(operator.output, &tested, &["channel", "result"], |one| {
        let result = one.fault.as_ref().map_or_else(|| "sent".to_owned(), |why| format!("not sent: {why}"));
        vec![one.channel.clone(), result]
    });
    let advice = "set [alerts] in the vault's configuration, as `farshore vault sample` shows";
    if tested.is_empty() {
        return Err(ProgramError::usage("no channel for alerts is configured", advice));
    }
    match tested.iter().filter(|one| one.fault.is_some()).count() {
        0 => Ok(()),
        some => Err(ProgramError::usage(
            format!("{some} of {} channels cannot tell anybody", tested.len()),
            advice,
        )),
    }
}

/// `farshore history MACHINE`.
pub(super) async fn history(operator: &Operator, args: &HistoryArgs) -> Result<(), ProgramError> {
    let view: HistoryView = operator.get(&path(&["protections", &args.machine, "history"])).await?;
    if operator.output == Output::Json {
        show::one(operator.output, &view, "");
        return Ok(());
    }
    let rows =
        [("hour", view.hour), ("day", view.day), ("week", view.week)].into_iter().map(|(over, told)| {
            let told = |of: fn(&farshore_health::Percentiles) -> u64| {
                told.map_or("-".to_owned(), |t| show::time(of(&t)))
            };
            vec![
                over.to_owned(),
                told(|t| t.p50_ms),
                told(|t| t.p95_ms),
                told(|t| t.p99_ms),
                told(|t| t.worst_ms),
            ]
        });
    show::print(&show::table(&["rpo over", "50 %", "95 %", "99 %", "worst"], rows));
    let share = view.missed_share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    show::print(&format!(
        "cycles of the last 12 h: {} ({share} missed), {} sent, {} on average, slowest {}, largest {}\n",
        view.cycles.cycles,
        show::size(view.cycles.sent),
        view.mean_ms.map_or("-".to_owned(), show::time),
        show::time(view.slowest_ms),
        show::size(view.largest),
    ));
    Ok(())
}

fn whole(alert: &AlertView) -> String {
    let state = match (alert.resolved_ms, &alert.acknowledged_by) {
        (Some(at), _) => format!("over since {at} ms after 1970"),
        (None, Some(by)) => format!("open; {by} has taken note"),
        (None, None) => "open".to_owned(),
    };
    format!(
        "{} {} '{}' ({})\n{}\n{}\nalert {}, raised {} ms after 1970, {state}",
        level(alert),
        alert.of,
        alert.name,
        alert.code,
        alert.what,
        alert.advice,
        alert.id,
        alert.raised_ms,
    )
}

fn level(alert: &AlertView) -> String {
    format!("{:?}", alert.level).to_lowercase()
}
