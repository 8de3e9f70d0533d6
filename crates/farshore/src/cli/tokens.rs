//! Tokens of the API.

use axum::http::Method;
use clap::Subcommand;

use super::{
    operator::{ListArgs, Operator, Query, path},
    show,
};
use crate::{
    ProgramError,
    views::{AddToken, TokenView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Lists the tokens; none is shown.
    #[command(after_help = "Example:\n  farshore token list")]
    List(ListArgs),
    /// Makes a token, shown once.
    #[command(
        after_help = "Examples:\n  farshore token add monitoring\n  farshore token add visitor --days 7"
    )]
    Add {
        /// Its name.
        name: String,
        /// Days for which it is valid; until it is removed where left out.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Lets a token that came out of a backup hold again.
    #[command(after_help = "Example:\n  farshore token confirm monitoring")]
    Confirm {
        /// Name or id.
        token: String,
    },
    /// Removes a token; it is refused from then on.
    #[command(after_help = "Example:\n  farshore token remove monitoring")]
    Remove {
        /// Name or id.
        token: String,
    },
}

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

pub(super) async fn run(operator: &Operator, command: TokenCommand) -> Result<(), ProgramError> {
    match command {
        TokenCommand::List(args) => {
            let tokens: Vec<TokenView> = operator.list("tokens", &args, Query::default()).await?;
            let now = crate::vault::wall_ms();
            show::list(operator.output, &tokens, &["token", "id", "made", "expires"], |token| {
                let made = format!("{} ago", show::time(now.saturating_sub(token.created_ms)));
                let expires = match token.expires_ms {
                    None => "never".to_owned(),
                    Some(until) if until <= now => "expired".to_owned(),
                    Some(until) => format!("in {}", show::time(until - now)),
                };
                vec![token.name.clone(), token.id.to_string(), made, expires]
            });
        }
        TokenCommand::Add { name, days } => {
            let expires_ms = days.map(|days| crate::vault::wall_ms() + u64::from(days) * DAY_MS);
            let done = operator.order(Method::POST, "tokens", Some(&AddToken { name, expires_ms })).await?;
            show::one(operator.output, &done, done.token.as_deref().unwrap_or_default());
        }
        TokenCommand::Confirm { token } => {
            let done = operator.order_bare(Method::POST, &path(&["tokens", &token, "confirmation"])).await?;
            operator.told(&done, &format!("token '{token}' holds again"));
        }
        TokenCommand::Remove { token } => {
            let done = operator.order_bare(Method::DELETE, &path(&["tokens", &token])).await?;
            operator.told(&done, &format!("token '{token}' is removed"));
        }
    }
    Ok(())
}
