//! Asks a vault, and orders, by its public API. An order whose answer is lost is sent again
//! under its key, so that it is done once. This module must never know a noun.

use std::time::Duration;

use axum::http::Method;
use farshore_channel::{ChannelError, Following, Visitor};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Global, Output,
    context::{Context, path_of},
    show,
};
use crate::{
    ProgramError,
    views::{Ordered, Page},
};

/// Attempts of an order whose answer is lost.
const ATTEMPTS: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(500);
/// Items that are asked for at a time.
const PAGE: usize = 500;

/// Asks a vault, and orders.
pub(crate) struct Operator {
    vault: Visitor,
    pub(crate) output: Output,
}

/// Which of a list are wanted.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Only those with this in their names.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only so many.
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<usize>,
}

/// Parameters of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    /// With a parameter, where it has a value.
    pub(crate) fn with(mut self, name: &str, value: Option<impl AsRef<str>>) -> Query {
        if let Some(value) = value {
            let sign = if self.0.is_empty() { '?' } else { '&' };
            self.0 += &format!("{sign}{name}={}", escaped(value.as_ref()));
        }
        self
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path below `/api/v1`, of names that may hold anything.
pub(crate) fn path(parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| escaped(part)).collect();
    parts.join("/")
}

/// With every byte that is no letter, digit, dash or underscore as `%XX`.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

impl Operator {
    pub(crate) fn of(global: &Global) -> Result<Operator, ProgramError> {
        let context = Context::load(&path_of(global))?;
        Ok(Operator { vault: context.visitor()?, output: global.output })
    }

    /// Gets one value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProgramError> {
        self.call(&Method::GET, path, None::<&()>, None).await
    }

    /// Gets a list, page after page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        noun: &str,
        args: &ListArgs,
        query: Query,
    ) -> Result<Vec<T>, ProgramError> {
        let most = args.limit.unwrap_or(usize::MAX);
        let query = query.with("q", args.search.as_ref());
        let (mut all, mut cursor): (Vec<T>, Option<String>) = (Vec::new(), None);
        while all.len() < most {
            let limit = (most - all.len()).min(PAGE).to_string();
            let Query(query) = query.clone().with("limit", Some(limit)).with("cursor", cursor);
            let page: Page<T> = self.get(&format!("{noun}{query}")).await?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Asks for something that changes nothing, or that may happen twice.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: Option<&impl Serialize>,
    ) -> Result<T, ProgramError> {
        self.call(&Method::POST, path, value, None).await
    }

    /// Orders something; sent again, it is done once.
    pub(crate) async fn order(
        &self,
        method: Method,
        path: &str,
        value: Option<&impl Serialize>,
    ) -> Result<Ordered, ProgramError> {
        self.once(method, path, value).await
    }

    /// Asks for something that must happen once, however often it is sent, whose answer is of
    /// its own.
    pub(crate) async fn once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        value: Option<&impl Serialize>,
    ) -> Result<T, ProgramError> {
        let key = uuid::Uuid::new_v4().to_string();
        let mut attempt = 1;
        loop {
            match self.call(&method, path, value, Some(&key)).await {
                Err(ProgramError::Channel(
                    error @ (ChannelError::Broken { .. } | ChannelError::Timeout { .. }),
                )) if attempt < ATTEMPTS => {
                    show::complain(&format!("{error}: it is asked again\n"));
                    tokio::time::sleep(PAUSE).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// An order without a body.
    pub(crate) async fn order_bare(&self, method: Method, path: &str) -> Result<Ordered, ProgramError> {
        self.order(method, path, None::<&()>).await
    }

    /// Follows events, from after one.
    pub(crate) async fn follow(&self, last: Option<&str>) -> Result<Following, ProgramError> {
        self.vault.follow("/api/v1/events", last).await.map_err(told)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        value: Option<&impl Serialize>,
        key: Option<&str>,
    ) -> Result<T, ProgramError> {
        self.vault.call(method, &format!("/api/v1/{path}"), value, key).await.map_err(told)
    }

    /// Says that something was done or begins, or why nothing was to be done, and what people
    /// should know of it.
    pub(crate) fn told(&self, done: &Ordered, text: &str) {
        show::one(self.output, done, said(done, text));
        show::findings(&done.warnings);
    }
}

/// What an order came to: what was to be done is no fact where nothing was changed.
fn said<'a>(done: &Ordered, text: &'a str) -> &'a str {
    match (done.changed, done.jobs.is_empty(), done.warnings.is_empty()) {
        (true, ..) => text,
        (false, false, _) => "it is being done already",
        (false, true, false) => "nothing was changed",
        (false, true, true) => "nothing was changed: it is so already",
    }
}

/// What the vault refuses, in its own words.
fn told(error: ChannelError) -> ProgramError {
    match error {
        ChannelError::Refused { problem, findings, .. } => {
            let findings = findings.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
            ProgramError::Refused { code: problem.code, what: problem.what, advice: problem.advice, findings }
        }
        error => ProgramError::Channel(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_done_is_not_claimed() {
        let mut done = Ordered::default();
        assert_eq!(said(&done, "'web1' is committed"), "nothing was changed: it is so already");
        done.jobs = vec![farshore_types::JobId(uuid::Uuid::nil())];
        assert_eq!(said(&done, "'web1' is committed"), "it is being done already");
        done.changed = true;
        assert_eq!(said(&done, "'web1' is being committed"), "'web1' is being committed");
    }

    #[test]
    fn names_of_any_kind_travel_in_a_path_and_in_a_query() {
        assert_eq!(path(&["sites", "a/b ü?", "name"]), "sites/a%2Fb%20%C3%BC%3F/name");
        let query =
            Query::default().with("q", Some("a&b")).with("site", None::<&str>).with("cursor", Some("x"));
        assert_eq!(query.0, "?q=a%26b&cursor=x");
    }
}
