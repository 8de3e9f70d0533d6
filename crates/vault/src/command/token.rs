//! Tokens of the API. A token is told once, to whoever had it made; what is kept of it is a
//! digest, from which nobody can make it again.

use uuid::Uuid;

use super::check_name;
use crate::{Answer, Core, Moment, Problem, rows::TokenRow};

/// What every token begins with, so that it is known for one where it should not be.
const PREFIX: &str = "farshore_";

impl Core {
    pub(super) fn add_token(
        &mut self,
        name: &str,
        expires_ms: Option<u64>,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        check_name("token", name, self.tables.tokens.rows().map(|row| row.name.as_str()))?;
        if expires_ms.is_some_and(|until| until <= at.wall_ms) {
            let what = format!("token '{name}' would have expired already");
            return Err(Problem::invalid("expires", what, "name an instant to come, or none"));
        }
        let (one, other) = (at.draw("token, first half"), at.draw("token, second half"));
        let secret = format!("{PREFIX}{one:032x}{other:032x}");
        let (id, digest) = (at.id("token"), digest_of(&secret));
        let name = name.to_owned();
        let created_ms = at.wall_ms;
        self.tables.tokens.put(TokenRow { id, name, digest, created_ms, expires_ms, suspended: false });
        Ok(Answer { secret: Some(secret), ..Answer::made(id) })
    }

    pub(super) fn remove_token(&mut self, token: Uuid) -> Result<Answer, Problem> {
        if self.tables.tokens.remove(&token) {
            return Ok(Answer::changed(true));
        }
        Err(Problem::unknown("token", token))
    }

    /// Lets a token that came out of a backup hold again.
    pub(super) fn confirm_token(&mut self, name: &str) -> Result<Answer, Problem> {
        let known = self.tables.tokens.rows().find(|row| row.name == name).map(|row| row.id);
        let Some(id) = known else { return Err(Problem::unknown("token", name)) };
        Ok(Answer::changed(self.tables.tokens.change(&id, |row| row.suspended = false)))
    }

    /// After a restore: no token of the backup holds before somebody says so, since it may
    /// have been removed after the backup. Gives their names.
    pub fn suspend_tokens(&mut self) -> Vec<String> {
        let all: Vec<(Uuid, String)> =
            self.tables.tokens.rows().map(|row| (row.id, row.name.clone())).collect();
        for (id, _) in &all {
            self.tables.tokens.change(id, |row| row.suspended = true);
        }
        all.into_iter().map(|(_, name)| name).collect()
    }

    /// The token that somebody shows, if it is one and valid at `wall_ms`.
    #[must_use]
    pub fn token_of(&self, shown: &str, wall_ms: u64) -> Option<&TokenRow> {
        let digest = digest_of(shown);
        let valid = |row: &&TokenRow| !row.suspended && row.expires_ms.is_none_or(|until| wall_ms < until);
        // Digests are compared, so how long it takes tells nothing of any token.
        self.tables.tokens.rows().find(|row| row.digest == digest).filter(valid)
    }
}

fn digest_of(secret: &str) -> String {
    blake3::derive_key("farshore vault api token 1", secret.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
