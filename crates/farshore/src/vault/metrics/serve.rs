//! Answers whoever reads the figures. A text is made at most once in [`FRESH`], however many
//! ask; nobody is waited for longer than [`ASK_MAX`].

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Board, figures::Figures};
use crate::{ProgramError, vault::desk::Desk};

/// How long a text is given to others who ask.
const FRESH: Duration = Duration::from_secs(1);
/// Longest time for one who asks.
const ASK_MAX: Duration = Duration::from_secs(30);
/// Most who are answered at once.
const ASKERS_MAX: usize = 16;
/// What the text is.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Metrics {
    desk: Desk,
    board: Board,
    last: Mutex<Option<(Instant, String)>>,
}

/// Listens at `address` and answers until stopped; where it listens.
///
/// # Errors
/// It cannot listen there.
pub(in crate::vault) async fn serve(
    address: &str,
    desk: &Desk,
    stop: &CancellationToken,
) -> Result<std::net::SocketAddr, ProgramError> {
    let wrong = |e: std::io::Error| {
        let what = format!("cannot listen at metrics_listen = \"{address}\": {e}");
        ProgramError::usage(what, "choose another address and port, such as 127.0.0.1:7410")
    };
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    let board = Board::new(desk.meters());
    let metrics = Arc::new(Metrics { desk: desk.clone(), board, last: Mutex::default() });
    let (askers, stop) = (Arc::new(Semaphore::new(ASKERS_MAX)), stop.clone());
    tokio::spawn(async move {
        while let Some(taken) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((stream, _)) = taken else { continue };
            // Who finds no room is cut off: it asks again.
            let Ok(room) = Arc::clone(&askers).try_acquire_owned() else { continue };
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let answer = service_fn(|request| answer(&metrics, request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                timeout(ASK_MAX, served).await.ok();
                drop(room);
            });
        }
    });
    Ok(address)
}

async fn answer(metrics: &Metrics, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let known = request.method() == Method::GET && request.uri().path() == "/metrics";
    let (status, kind, text) = match known {
        true => match text(metrics).await {
            Some(text) => (StatusCode::OK, OPEN_METRICS, text),
            None => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "the vault is stopping\n".to_owned()),
        },
        false => (StatusCode::NOT_FOUND, "text/plain", "figures are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

async fn text(metrics: &Metrics) -> Option<String> {
    let mut last = metrics.last.lock().await;
    if let Some((made, text)) = &*last
        && made.elapsed() < FRESH
    {
        return Some(text.clone());
    }
    let uptime_secs = metrics.desk.uptime().as_secs();
    let figures = metrics.desk.look(move |core, _, at| Figures::of(core, at, uptime_secs)).await.ok()?;
    let text = metrics.board.text(figures).ok()?;
    *last = Some((Instant::now(), text.clone()));
    Some(text)
}
