//! Who is told, played: a mail server and a webhook's program.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use farshore_pki::Issued;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::vault::notify::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

#[derive(Clone, Debug, Default)]
pub(super) struct Mail {
    pub(super) to: Vec<String>,
    pub(super) text: String,
    pub(super) login: Option<String>,
    pub(super) over_tls: bool,
}

pub(super) struct MailServer {
    pub(super) address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

/// What a session came to.
enum End {
    Over,
    StartTls,
}

impl MailServer {
    pub(super) async fn plain() -> MailServer {
        MailServer::start(None, false).await
    }

    /// With TLS from the first byte, or after STARTTLS.
    pub(super) async fn with_tls(issued: &Issued, later: bool) -> MailServer {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        MailServer::start(Some(TlsAcceptor::from(Arc::new(config))), later).await
    }

    async fn start(tls: Option<TlsAcceptor>, later: bool) -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tls.clone(), later, Arc::clone(&kept)));
            }
        });
        MailServer { address, mails }
    }

    pub(super) fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, tls: Option<TlsAcceptor>, later: bool, mails: Arc<Mutex<Vec<Mail>>>) {
    match tls {
        None => {
            session(&mut stream, true, false, false, &mails).await;
        }
        Some(tls) if later => {
            if let Some(End::StartTls) = session(&mut stream, true, true, false, &mails).await
                && let Ok(mut stream) = tls.accept(stream).await
            {
                session(&mut stream, false, false, true, &mails).await;
            }
        }
        Some(tls) => {
            if let Ok(mut stream) = tls.accept(stream).await {
                session(&mut stream, true, false, true, &mails).await;
            }
        }
    }
}

/// One session, as far as a client of ours goes; none where it broke off.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    greets: bool,
    offers_tls: bool,
    over_tls: bool,
    mails: &Mutex<Vec<Mail>>,
) -> Option<End> {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 test ESMTP\r\n").await.ok()?;
    }
    let mut mail = Mail { over_tls, ..Mail::default() };
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let answer = match line.split_whitespace().next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" if offers_tls => "250-test\r\n250 STARTTLS\r\n",
            "EHLO" if over_tls => "250-test\r\n250 AUTH PLAIN\r\n",
            "EHLO" => "250 test\r\n",
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                return Some(End::StartTls);
            }
            "AUTH" => {
                let told = STANDARD.decode(line.rsplit(' ').next()?).ok()?;
                mail.login = String::from_utf8(told).ok();
                "235 welcome\r\n"
            }
            "RCPT" => {
                mail.to.push(line.split(':').nth(1)?.split_whitespace().next()?.to_owned());
                "250 yes\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.ok()?;
                while !mail.text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail.text).await.ok()? == 0 {
                        return None;
                    }
                }
                mails.lock().unwrap().push(mail.clone());
                "250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await.ok()?;
                return Some(End::Over);
            }
            _ => "250 yes\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) signed: bool,
    pub(super) body: serde_json::Value,
}

pub(super) struct Hook {
    pub(super) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    refused: Arc<AtomicUsize>,
}

impl Hook {
    pub(super) async fn new(secret: &str) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, refused) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let hook = Hook { address, calls: Arc::clone(&calls), refused: Arc::clone(&refused) };
        let secret = secret.to_owned();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(call) = read(&mut stream, &secret).await else { continue };
                calls.lock().unwrap().push(call);
                let refuses = refused.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
                let status = if refuses { "503 Later" } else { "204 No Content" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        hook
    }

    /// So many calls are not taken.
    pub(super) fn refuse(&self, count: usize) {
        self.refused.store(count, SeqCst);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// A call, its signature checked as the documents say.
async fn read(stream: &mut TcpStream, secret: &str) -> Option<Call> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    let mut headers = std::collections::HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let signature = headers.get(SIGNATURE_HEADER)?;
    Some(Call {
        path: first.split(' ').nth(1)?.to_owned(),
        id: headers.get(ID_HEADER)?.clone(),
        signed: *signature == sign(secret, headers.get(TIMESTAMP_HEADER)?, &body),
        body: serde_json::from_slice(&body).ok()?,
    })
}
