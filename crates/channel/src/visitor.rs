//! Someone without a certificate who brings a token: an operator's tool. It knows the server
//! by the fingerprint of its authority, and each call has a connection of its own.

use std::sync::Arc;

use axum::http::{HeaderValue, Method, Request, header};
use bytes::Bytes;
use farshore_pki::{Fingerprint, Role};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};

use crate::{ChannelError, Expected, client, client::Following, tls};

/// Calls a vault with a token.
#[derive(Clone)]
pub struct Visitor {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    token: HeaderValue,
}

impl Visitor {
    /// A visitor of the vault at `address` (`host:port`), whose authority has this
    /// fingerprint. Nothing is connected yet.
    ///
    /// # Errors
    /// A token that is no text of a header.
    pub fn new(address: &str, authority: Fingerprint, token: &str) -> Result<Visitor, ChannelError> {
        let unusable = |why: String| ChannelError::Unusable { peer: address.to_owned(), why };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| unusable("the token has characters that no token has".to_owned()))?;
        value.set_sensitive(true);
        let tls = tls::stranger_config(authority, Expected { role: Role::Vault, id: None })?;
        Ok(Visitor { address: address.to_owned(), tls: Arc::new(tls), token: value })
    }

    /// Asks for something and gets a value; `body` is what is sent, if anything is. Sent again
    /// under the same `key`, it is done once.
    ///
    /// # Errors
    /// What went wrong, or the server's refusal.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Option<&impl Serialize>,
        key: Option<&str>,
    ) -> Result<T, ChannelError> {
        let body = body.map_or_else(|| Ok(Bytes::new()), |value| client::encoded(value, &self.address))?;
        let mut request = self.request(method, path, body)?;
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request.headers_mut().insert("idempotency-key", key);
        }
        client::call_alone(&self.address, Arc::clone(&self.tls), request).await
    }

    /// Asks for an answer that goes on, from after the event of this id, where one is given.
    ///
    /// # Errors
    /// What went wrong, or the server's refusal.
    pub async fn follow(&self, path: &str, last_event: Option<&str>) -> Result<Following, ChannelError> {
        let mut request = self.request(&Method::GET, path, Bytes::new())?;
        if let Some(id) = last_event.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert("last-event-id", id);
        }
        client::follow_alone(&self.address, Arc::clone(&self.tls), request).await
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ChannelError> {
        let mut request = client::request(method, path, body, &self.address)?;
        request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
        Ok(request)
    }
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor").field("address", &self.address).finish_non_exhaustive()
    }
}
