//! By a call of a program: one notice a call, signed, so that its receiver knows who sent it,
//! and when. No redirect is followed. The secret is read from its file for every call.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::hmac;
use axum::body::Body;
use farshore_health::Level;
use farshore_vault::rows::NoticeRow;
use http_body_util::{BodyExt, Limited};
use hyper::{Request, Uri, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    Channel,
    config::{WebhookConfig, secret},
    text,
};
use crate::ProgramError;

/// Header with the notice's id: what comes again has the same.
pub const ID_HEADER: &str = "farshore-notice-id";
/// Header with the seconds since the Unix epoch when it was sent.
pub const TIMESTAMP_HEADER: &str = "farshore-timestamp";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "farshore-signature";
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, at most: nothing in it counts.
const ANSWER_MAX: usize = 64 * 1024;

pub(super) struct Webhook {
    config: WebhookConfig,
    name: String,
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

/// The signature of a body: `v1=` and the HMAC-SHA-256, in hexadecimal, of the timestamp, a
/// dot, and the body, by the secret.
#[must_use]
pub fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    [timestamp.as_bytes(), b".", body].iter().for_each(|part| context.update(part));
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig) -> Result<Webhook, ProgramError> {
        let advice = "write `url = \"https://host/path\"` in [[alerts.webhooks]]";
        let wrong = |why: String| ProgramError::usage(format!("the webhook '{}': {why}", config.url), advice);
        let uri: Uri = config.url.parse().map_err(|e| wrong(format!("{e}")))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it begins with neither https:// nor http://".to_owned())),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host".to_owned()))?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let name = config.name.clone().unwrap_or_else(|| format!("webhook {host}"));
        Ok(Webhook { config: config.clone(), name, uri, host, port, tls })
    }

    async fn call(&self, id: &str, body: Vec<u8>) -> Result<(), String> {
        let connect = TcpStream::connect((self.host.trim_matches(['[', ']']), self.port));
        let stream = timeout(CONNECT_MAX, connect).await;
        let stream = stream.map_err(|_| "the connection takes too long".to_owned())?;
        let stream = stream.map_err(|e| format!("cannot connect to {}:{}: {e}", self.host, self.port))?;
        let request = self.request(id, body)?;
        if !self.tls {
            return exchange(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(self.host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|e| format!("'{}' is no name of a server: {e}", self.host))?;
        let connector = TlsConnector::from(Arc::new(self.trust()?));
        let stream = connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        exchange(TokioIo::new(stream), request).await
    }

    fn request(&self, id: &str, body: Vec<u8>) -> Result<Request<Body>, String> {
        let timestamp = (crate::vault::wall_ms() / 1000).to_string();
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or(self.host.as_str(), |authority| authority.as_str());
        let mut request = Request::post(path)
            .header("host", host.rsplit('@').next().unwrap_or(host))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .header("user-agent", concat!("farshore/", env!("CARGO_PKG_VERSION")))
            .header(ID_HEADER, id)
            .header(TIMESTAMP_HEADER, &timestamp);
        if let Some(path) = &self.config.secret_file {
            request = request.header(SIGNATURE_HEADER, sign(&secret(path)?, &timestamp, &body));
        }
        request.body(Body::from(body)).map_err(|e| format!("the call cannot be made: {e}"))
    }

    /// Whom it trusts: what is configured, or what the system trusts.
    fn trust(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.config.ca_file {
            Some(path) => {
                let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
                for der in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
                    roots.add(der.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("no authority is trusted: install the system's, or set ca_file".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|e| format!("TLS: {e}"))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

async fn exchange<S>(stream: TokioIo<S>, request: Request<Body>) -> Result<(), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|e| format!("HTTP: {e}"))?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| format!("HTTP: {e}"));
    let answer = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            // Read, so that the receiver is not cut in the middle of a word.
            Limited::new(body, ANSWER_MAX).collect().await.ok();
            Ok(head.status)
        }
        Err(error) => Err(error),
    };
    driver.abort();
    match answer? {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn least(&self) -> Level {
        self.config.least.level()
    }

    fn most(&self) -> usize {
        1
    }

    async fn send(&self, notices: &[NoticeRow]) -> Result<(), String> {
        for row in notices {
            let alert = &row.alert;
            let message = serde_json::json!({
                "id": row.id,
                "event": row.event,
                "at_ms": row.at_ms,
                "alert": {
                    "id": alert.id,
                    "of": text::kind(row),
                    "subject": alert.subject,
                    "name": alert.name,
                    "level": alert.reason.level,
                    "code": alert.reason.code,
                    "what": alert.reason.what,
                    "advice": alert.reason.advice,
                    "since_ms": alert.since_ms,
                    "raised_ms": alert.raised_ms,
                    "resolved_ms": alert.resolved_ms,
                },
            });
            self.call(&row.id.to_string(), message.to_string().into_bytes()).await?;
        }
        Ok(())
    }

    async fn test(&self) -> Result<(), String> {
        let id = uuid::Uuid::new_v4().to_string();
        let message = serde_json::json!({ "id": id, "event": "test", "at_ms": crate::vault::wall_ms() });
        self.call(&id, message.to_string().into_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let told = sign("secret", "1700000000", br#"{"a":1}"#);
        assert_eq!(told.len(), 3 + 64);
        assert_eq!(told, EXPECTED);
        assert_ne!(told, sign("secret", "1700000001", br#"{"a":1}"#), "the time is signed, too");
    }

    const EXPECTED: &str = "v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";

    #[test]
    fn an_address_that_is_none_is_refused_at_the_start() {
        let of = |url: &str| Webhook::new(&WebhookConfig { url: url.to_owned(), ..WebhookConfig::default() });
        assert!(of("ftp://x/").is_err() && of("hook").is_err() && of("").is_err());
        let hook = of("https://u@[::1]:8443/a?b=c").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((hook.port, hook.tls, hook.name.as_str()), (8443, true, "webhook [::1]"));
    }
}
