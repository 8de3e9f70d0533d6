//! `status`: how well everything is, once or followed.

use std::{io::IsTerminal, time::Duration};

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
    views::{ProtectionView, StatusView},
};

/// It is shown anew after so long at the latest: ages grow though nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// Not more often than this, however much happens.
const SETTLE: Duration = Duration::from_millis(500);
/// Takes a terminal's cursor home and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Shows it anew whenever something changes, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    which: ProtectionsArgs,
}

pub(super) async fn status(operator: &Operator, args: &StatusArgs) -> Result<(), ProgramError> {
    if !args.watch {
        return look(operator, args).await.map(|text| show::print(&text));
    }
    let mut events = Events::of(operator);
    loop {
        match look(operator, args).await {
            Ok(text) if std::io::stdout().is_terminal() => show::print(&format!("{CLEAR}{text}")),
            Ok(text) => show::print(&text),
            // A vault that is away comes back.
            Err(ProgramError::Channel(error)) if is_away(&error) => show::complain(&format!("{error}\n")),
            Err(error) => return Err(error),
        }
        tokio::select! {
            heard = events.next() => drop(heard?),
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        tokio::time::sleep(SETTLE).await;
    }
}

fn is_away(error: &ChannelError) -> bool {
    matches!(
        error,
        ChannelError::Unreachable { .. } | ChannelError::Timeout { .. } | ChannelError::Broken { .. }
    )
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
    let mut text = show::table(&protections::HEADS, protections.iter().map(protections::row));
    for protection in protections {
        for reason in &protection.health.reasons {
            text += &show::reason_line(&protection.name, reason);
        }
    }
    if !vault.learning_from.is_empty() {
        text +=
            &format!("learning: {} have not been heard of in this term\n", vault.learning_from.join(", "));
    }
    text
}
