//! What is followed: `status` and lists, shown anew whenever something of them changes, and
//! events as they come. This module must never ask more often than something happens.

use std::{
    io::IsTerminal,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Subcommand;
use farshore_channel::ChannelError;

use super::{
    Output,
    events::Events,
    operator::Operator,
    protections::{self, ProtectionsArgs},
    show,
};
use crate::{
    ProgramError,
    views::{Contact, EventView, ProtectionView, StatusView},
};

/// It is shown anew after so long at the latest: ages grow though nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// Not more often than this, however much happens.
const SETTLE: Duration = Duration::from_millis(500);
/// Takes a terminal's cursor home and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
/// What events are about.
const ABOUT: [&str; 5] = ["protection", "job", "alert", "host", "site"];

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    watch: Watching,
    #[command(flatten)]
    which: ProtectionsArgs,
}

/// Whether something is shown once or followed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Watching {
    /// Shows it anew whenever something changes, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Tells what changes, as it does, a line each, until Ctrl-C; in JSON, an object each.
    ///
    /// A connection that ends is taken up again where it was.
    #[command(
        after_help = "Examples:\n  farshore event watch\n  farshore event watch --of job --of alert --output json"
    )]
    Watch {
        /// Only what is about this; may be repeated.
        #[arg(long, value_parser = ABOUT)]
        of: Vec<String>,
    },
}

pub(super) async fn status(operator: &Operator, args: &StatusArgs) -> Result<(), ProgramError> {
    args.watch.show(operator, |_| true, async || look(operator, args).await).await
}

impl Watching {
    /// Shows what there is to see, once, or again whenever an event is of interest.
    pub(crate) async fn show(
        self,
        operator: &Operator,
        of_interest: impl Fn(&EventView) -> bool,
        look: impl AsyncFn() -> Result<String, ProgramError>,
    ) -> Result<(), ProgramError> {
        if !self.watch {
            return look().await.map(|text| show::print(&text));
        }
        let mut events = Events::of(operator);
        loop {
            match look().await {
                Ok(text) if std::io::stdout().is_terminal() => show::print(&format!("{CLEAR}{text}")),
                Ok(text) => show::print(&text),
                // A vault that is away comes back.
                Err(ProgramError::Channel(error)) if is_away(&error) => {
                    show::complain(&format!("{error}\n"));
                }
                Err(error) => return Err(error),
            }
            let until = Instant::now() + EVERY;
            let mut changed = false;
            while !changed {
                tokio::select! {
                    heard = events.next() => {
                        changed = heard?.iter().any(|event| is_reset(event) || of_interest(event));
                    }
                    () = tokio::time::sleep_until(until.into()) => break,
                    _ = tokio::signal::ctrl_c() => return Ok(()),
                }
            }
            tokio::time::sleep(SETTLE).await;
        }
    }
}

fn is_reset(event: &EventView) -> bool {
    matches!(event, EventView::Reset { .. })
}

fn is_away(error: &ChannelError) -> bool {
    matches!(
        error,
        ChannelError::Unreachable { .. } | ChannelError::Timeout { .. } | ChannelError::Broken { .. }
    )
}

/// `farshore event watch`.
pub(super) async fn run(operator: &Operator, command: EventCommand) -> Result<(), ProgramError> {
    let EventCommand::Watch { of } = command;
    let mut events = Events::of(operator);
    loop {
        let heard = tokio::select! {
            heard = events.next() => heard?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let wanted = |event: &&EventView| {
            is_reset(event) || of.is_empty() || of.iter().any(|of| event.kind().starts_with(of.as_str()))
        };
        for event in heard.iter().filter(wanted) {
            match operator.output {
                Output::Json => show::print(&format!("{}\n", serde_json::json!(event))),
                Output::Table => show::print(&format!("{}  {}\n", time_of_day(), line_of(event))),
            }
        }
    }
}

/// The time of day in UTC.
fn time_of_day() -> String {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", secs / 3600, secs / 60 % 60, secs % 60)
}

/// An event, for people.
fn line_of(event: &EventView) -> String {
    let contact = |contact: &Contact| match contact {
        Contact::Seen => "is heard of",
        Contact::Lost => "is not heard of any more",
    };
    match event {
        EventView::Reset { why } => format!("from here on ({why})"),
        EventView::Protection { name, state, health, .. } => {
            format!("protection of '{name}': {}, {}", state.word(), show::LEVELS[*health as usize])
        }
        EventView::ProtectionEnded { machine } => format!("protection of {machine}: ended"),
        EventView::Job { title, state, step, permille, id } => {
            let step = step.as_ref().map(|step| {
                let share = step.permille.map(|permille| format!(" {} %", permille / 10)).unwrap_or_default();
                let waits = step.waits.as_ref().map(|waits| format!(" ({waits})")).unwrap_or_default();
                format!(", {}: {}{share}{waits}", step.title, step.state)
            });
            let step = step.unwrap_or_default();
            format!("job {id} '{title}': {}, {} %{step}", state.word(), permille / 10)
        }
        EventView::Alert { change, of, name, level, what, .. } => {
            format!("alert {}: {} {of} '{name}': {what}", change.word(), show::LEVELS[*level as usize])
        }
        EventView::Host { name, contact: how, .. } => format!("host '{name}' {}", contact(how)),
        EventView::Site { name, contact: how, .. } => format!("site '{name}' {}", contact(how)),
    }
}

async fn look(operator: &Operator, args: &StatusArgs) -> Result<String, ProgramError> {
    let vault: StatusView = operator.get("status").await?;
    let protections = protections::list(operator, &args.which).await?;
    Ok(match operator.output {
        Output::Json => format!("{}\n", serde_json::json!({ "vault": vault, "protections": protections })),
        Output::Table => table(&vault, &protections),
    })
}

fn table(vault: &StatusView, protections: &[ProtectionView]) -> String {
    // What a vault shows that commands nothing any more may not be so.
    let (first, problems): (Vec<_>, Vec<_>) = vault.problems.iter().partition(|p| p.code == "superseded");
    let line = |p: &farshore_control::report::Problem| format!("vault: {} ({})\n", p.what, p.advice);
    let mut text: String = first.into_iter().map(line).collect();
    text += &show::table(&protections::HEADS, protections.iter().map(protections::row));
    for protection in protections {
        for reason in &protection.health.reasons {
            text += &show::reason_line(&protection.name, reason);
        }
    }
    text.extend(problems.into_iter().map(line));
    text + &learning_line(&vault.learning_from)
}

/// Who has not been heard of in this term, in a line; nothing where all have.
fn learning_line(from: &[String]) -> String {
    match from {
        [] => String::new(),
        [one] => format!("learning: {one} has not been heard of in this term\n"),
        all => format!("learning: {} have not been heard of in this term\n", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_that_is_not_heard_of_is_one() {
        let line = |hosts: &[&str]| learning_line(&hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(line(&[]), "");
        assert_eq!(line(&["hosta"]), "learning: hosta has not been heard of in this term\n");
        assert_eq!(line(&["a", "b"]), "learning: a, b have not been heard of in this term\n");
    }

    #[test]
    fn events_read_as_sentences() {
        let event = |value: serde_json::Value| line_of(&serde_json::from_value(value).unwrap());
        let id = uuid::Uuid::nil();
        let step = serde_json::json!({ "title": "First copy", "state": "running", "permille": 420 });
        let job = serde_json::json!({ "kind": "job", "id": id, "title": "Protect 'm'", "state": "running",
            "step": step, "permille": 500 });
        assert!(event(job).ends_with("'Protect 'm'': running, 50 %, First copy: running 42 %"));
        let alert = serde_json::json!({ "kind": "alert", "id": id, "change": "raised", "of": "host",
            "name": "a", "level": "critical", "code": "agent-silent", "what": "it is silent" });
        assert_eq!(event(alert), "alert raised: critical host 'a': it is silent");
        let lost = serde_json::json!({ "kind": "site", "id": id, "name": "east", "contact": "lost" });
        assert_eq!(event(lost), "site 'east' is not heard of any more");
    }
}
