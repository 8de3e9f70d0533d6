//! Notices of alerts are sent: each by every channel, at least once, oldest first, with an id
//! by which a receiver knows what it has had. What waits is in the store; what failed is tried
//! again, less and less often, for a day. This module must never decide what is an alert.

mod config;
mod email;
mod text;
mod webhook;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use farshore_health::Level;
use farshore_vault::rows::NoticeRow;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::Desk;
use crate::ProgramError;

pub use config::{AlertsConfig, EmailConfig, Least, Security, WebhookConfig};
pub use webhook::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

/// How often it is looked whether a notice waits.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time that one try may take.
const TRY_MAX: Duration = Duration::from_secs(30);
/// Longest time that a test may take.
const TEST_MAX: Duration = Duration::from_secs(8);
/// Pause after the first failure, and the longest one.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Milliseconds after which a notice that nobody took is given up.
const GIVEN_UP_MS: u64 = 24 * 3600 * 1000;

/// A way to tell people, or their programs.
#[async_trait]
pub(crate) trait Channel: Send + Sync {
    /// Its name, for records and logs.
    fn name(&self) -> &str;

    /// How bad it must be to be told here.
    fn least(&self) -> Level;

    /// How many notices go into one message.
    fn most(&self) -> usize;

    /// Sends notices; what went wrong otherwise. Sent twice does no harm.
    async fn send(&self, notices: &[NoticeRow]) -> Result<(), String>;

    /// Sends a message that says that it is a test.
    async fn test(&self) -> Result<(), String>;
}

/// All channels of a vault.
#[derive(Clone, Default)]
pub(crate) struct Channels(Vec<Arc<dyn Channel>>);

/// What became of a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tested {
    /// The channel.
    pub channel: String,
    /// Why it was not sent; none: it was.
    pub fault: Option<String>,
}

impl Channels {
    /// The channels that a configuration names.
    ///
    /// # Errors
    /// An address that is none, or a channel that is named twice.
    pub(crate) fn of(config: &AlertsConfig) -> Result<Channels, ProgramError> {
        let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
        if let Some(email) = &config.email {
            channels.push(Arc::new(email::Email::new(email)?));
        }
        for webhook in &config.webhooks {
            channels.push(Arc::new(webhook::Webhook::new(webhook)?));
        }
        let mut names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let what = format!("two channels for alerts are named '{}'", pair[0]);
            return Err(ProgramError::usage(what, "give each webhook a name of its own"));
        }
        Ok(Channels(channels))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|channel| channel.name().to_owned()).collect()
    }

    /// Sends a test message by every channel.
    pub(crate) async fn test(&self) -> Vec<Tested> {
        let begin = |channel: &Arc<dyn Channel>| {
            let channel = Arc::clone(channel);
            tokio::spawn(async move { timeout(TEST_MAX, channel.test()).await })
        };
        // All at once: who asked waits for the slowest alone.
        let under_way: Vec<_> = self.0.iter().map(begin).collect();
        let mut tested = Vec::new();
        for (channel, sent) in self.0.iter().zip(under_way) {
            let fault = match sent.await {
                Ok(Ok(sent)) => sent.err(),
                Ok(Err(_)) => Some(late(TEST_MAX)),
                Err(error) => Some(format!("it broke off: {error}")),
            };
            tested.push(Tested { channel: channel.name().to_owned(), fault });
        }
        tested
    }

    /// Sends what waits until stopped.
    ///
    /// # Errors
    /// Only where the vault is stopping.
    pub(crate) async fn run(&self, desk: &Desk, stop: &CancellationToken) -> Result<(), ProgramError> {
        let lost = |books: &mut super::desk::Books<'_>| {
            books.core.drop_lost_notices();
            Ok(())
        };
        desk.change(lost).await?;
        for channel in &self.0 {
            let (channel, desk, stop) = (Arc::clone(channel), desk.clone(), stop.clone());
            tokio::spawn(async move {
                stop.run_until_cancelled(send_all(&*channel, &desk)).await;
            });
        }
        Ok(())
    }
}

async fn send_all(channel: &dyn Channel, desk: &Desk) {
    let (mut pause, mut told_why) = (PAUSE, String::new());
    loop {
        match send_some(channel, desk).await {
            Ok(true) => {
                pause = PAUSE;
                if !std::mem::take(&mut told_why).is_empty() {
                    tracing::info!(channel = channel.name(), "alerts can be told again");
                }
            }
            Ok(false) => sleep(LOOK).await,
            Err(why) => {
                // Once for each reason: it is tried again and again.
                if told_why != why {
                    tracing::error!(
                        channel = channel.name(),
                        why,
                        "alerts cannot be told; it is tried again"
                    );
                    told_why = why;
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// One message; whether there was anything to send.
async fn send_some(channel: &dyn Channel, desk: &Desk) -> Result<bool, String> {
    let (name, most) = (channel.name().to_owned(), channel.most());
    let of = name.clone();
    let looked = desk.look(move |core, _, at| {
        let waiting = core.notices().filter(|row| row.pending.contains(&of));
        (waiting.take(most).cloned().collect::<Vec<_>>(), at.wall_ms)
    });
    let (waiting, now_ms) = looked.await.map_err(|problem| problem.what)?;
    if waiting.is_empty() {
        return Ok(false);
    }
    let numbers: Vec<u64> = waiting.iter().map(|row| row.number).collect();
    let (due, given_up): (Vec<_>, Vec<_>) =
        waiting.into_iter().partition(|row| now_ms.saturating_sub(row.at_ms) < GIVEN_UP_MS);
    for row in &given_up {
        tracing::error!(channel = name, alert = %row.alert.id, "nobody took this notice for a day: it is given up");
    }
    let due: Vec<NoticeRow> = due.into_iter().filter(|row| row.level() >= channel.least()).collect();
    if !due.is_empty() {
        timeout(TRY_MAX, channel.send(&due)).await.unwrap_or_else(|_| Err(late(TRY_MAX)))?;
    }
    let sent = move |books: &mut super::desk::Books<'_>| {
        books.core.notices_sent(&name, &numbers);
        Ok(())
    };
    desk.change(sent).await.map_err(|problem| problem.what)?;
    Ok(true)
}

fn late(most: Duration) -> String {
    format!("no answer within {} s", most.as_secs())
}

#[cfg(test)]
mod tests;
