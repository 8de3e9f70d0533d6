//! Who is at the other end, and who is expected there.

use std::net::SocketAddr;

use axum::{extract::FromRequestParts, http::StatusCode, http::request::Parts};
use farshore_pki::{Identity, PkiError, Role};
use uuid::Uuid;

use crate::Refusal;

/// The member that a request came from, as its certificate proves; in the extensions of
/// every request that a member's router gets, and an extractor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// Where it connected from.
    pub address: SocketAddr,
}

impl Peer {
    /// That the peer has this role.
    ///
    /// # Errors
    /// A refusal that says so.
    pub fn require(&self, role: Role) -> Result<(), Refusal> {
        if self.identity.role == role { Ok(()) } else { Err(wrong_role(&self.identity, &role.to_string())) }
    }

    /// That the peer has this role and id.
    ///
    /// # Errors
    /// A refusal that says so.
    pub fn require_member(&self, role: Role, id: Uuid) -> Result<(), Refusal> {
        self.require(role)?;
        if self.identity.id == id {
            return Ok(());
        }
        let what = format!("{} speaks for another {role} ({id})", self.identity);
        Err(Refusal::new(StatusCode::FORBIDDEN, "wrong-member", what, "each member speaks for itself alone"))
    }
}

pub(crate) fn wrong_role(identity: &Identity, wanted: &str) -> Refusal {
    let what = format!("{identity} may not ask for this: it is for {wanted}");
    Refusal::new(StatusCode::FORBIDDEN, "wrong-role", what, "check the address: is it the right server?")
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Peer, Refusal> {
        parts.extensions.get::<Peer>().cloned().ok_or_else(Refusal::certificate_required)
    }
}

/// Who a client expects to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its role.
    pub role: Role,
    /// Its id; none: any of the role.
    pub id: Option<Uuid>,
}

impl Expected {
    /// Checks who answered.
    ///
    /// # Errors
    /// [`PkiError::WrongRole`].
    pub fn check(&self, found: &Identity) -> Result<(), PkiError> {
        if found.role == self.role && self.id.is_none_or(|id| id == found.id) {
            return Ok(());
        }
        let id = self.id.map(|id| format!(" {id}")).unwrap_or_default();
        let wanted = format!("the {}{id}", self.role);
        Err(PkiError::WrongRole { found: format!("{found} ({})", found.id), wanted })
    }
}
