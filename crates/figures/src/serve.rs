//! Answers whoever reads the figures. A text is made at most once in [`FRESH`], however many
//! ask; nobody is waited for longer than [`ASK_MAX`].

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a text is given to others who ask.
const FRESH: Duration = Duration::from_secs(1);
/// Longest time for one who asks.
const ASK_MAX: Duration = Duration::from_secs(30);
/// Most who are answered at once.
const ASKERS_MAX: usize = 16;
/// Pause after a connection that could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// What the text is.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where texts come from.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The text as of now; none: the program is stopping.
    async fn text(&self) -> Option<String>;
}

struct Kept {
    source: Arc<dyn Source>,
    last: Mutex<Option<(Instant, String)>>,
}

/// Listens at `address` and answers until stopped; where it listens.
///
/// # Errors
/// It cannot listen there.
pub async fn serve(
    address: &str,
    source: Arc<dyn Source>,
    stop: &CancellationToken,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let kept = Arc::new(Kept { source, last: Mutex::default() });
    let (askers, stop) = (Arc::new(Semaphore::new(ASKERS_MAX)), stop.clone());
    tokio::spawn(async move {
        while let Some(taken) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = taken else {
                // Too many open files, mostly: waiting lets some be closed.
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // Who finds no room is cut off: it asks again.
            let Ok(room) = Arc::clone(&askers).try_acquire_owned() else { continue };
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let answer = service_fn(|request| answer(&kept, request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                timeout(ASK_MAX, served).await.ok();
                drop(room);
            });
        }
    });
    Ok(address)
}

async fn answer(kept: &Kept, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = request.method() == Method::GET && request.uri().path() == "/metrics";
    let (status, kind, text) = match known {
        true => match kept.text().await {
            Some(text) => (StatusCode::OK, OPEN_METRICS, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "it is stopping\n".to_owned()),
        },
        false => (StatusCode::NOT_FOUND, "text/plain", "figures are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

impl Kept {
    async fn text(&self) -> Option<String> {
        let mut last = self.last.lock().await;
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let text = self.source.text().await?;
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}
