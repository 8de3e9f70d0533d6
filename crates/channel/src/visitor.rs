//! Someone without a certificate who brings a token: an operator's tool. It knows the server
//! by the fingerprint of its authority, and each call has a connection of its own.

use std::sync::Arc;

use axum::http::{HeaderValue, Method, header};
use bytes::Bytes;
use farshore_pki::{Fingerprint, Role};
use serde::{Serialize, de::DeserializeOwned};

use crate::{ChannelError, Expected, client, tls};

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

    /// Gets a value.
    ///
    /// # Errors
    /// What went wrong, or the server's refusal.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ChannelError> {
        self.call(&Method::GET, path, Bytes::new(), None).await
    }

    /// Posts a value and gets one. Sent again under the same `key`, it is done once.
    ///
    /// # Errors
    /// What went wrong, or the server's refusal.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        key: Option<&str>,
    ) -> Result<T, ChannelError> {
        let body = client::encoded(value, &self.address)?;
        self.call(&Method::POST, path, body, key).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<T, ChannelError> {
        let peer = &self.address;
        let mut request = client::request(method, path, body, peer)?;
        request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request.headers_mut().insert("idempotency-key", key);
        }
        client::call_alone(peer, Arc::clone(&self.tls), request).await
    }
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor").field("address", &self.address).finish_non_exhaustive()
    }
}
