//! Connections in memory that can be cut after any number of bytes, in either direction.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use farshore_link::{Caller, Dial, LinkError, Server, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Bytes that a pipe holds.
const PIPE: usize = 256 * 1024;

/// When the next connections break.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// After so many bytes from source to target.
    Forth(u64),
    /// After so many bytes from target to source: what the target did, the source never hears.
    Back(u64),
}

/// Makes connections to a server in this process.
pub struct PipeDial {
    server: Mutex<Option<(Arc<Server>, CancellationToken)>>,
    serving: Mutex<JoinSet<()>>,
    cut: Mutex<Option<Cut>>,
    live: Mutex<Vec<Arc<Budget>>>,
}

struct Budget {
    broken: AtomicBool,
    forth: AtomicI64,
    back: AtomicI64,
}

impl Budget {
    /// Takes what may still pass; breaks the connection where nothing may.
    fn take(&self, from: &AtomicI64, bytes: usize) -> io::Result<usize> {
        let wanted = i64::try_from(bytes).unwrap();
        let left = from.load(Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) || left <= 0 {
            self.broken.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let taken = wanted.min(left);
        from.fetch_sub(taken, Ordering::Relaxed);
        Ok(usize::try_from(taken).unwrap())
    }
}

impl PipeDial {
    pub(super) fn new() -> Arc<PipeDial> {
        Arc::new(PipeDial {
            server: Mutex::default(),
            serving: Mutex::default(),
            cut: Mutex::default(),
            live: Mutex::default(),
        })
    }

    pub(super) fn set_server(&self, server: Server, shutdown: CancellationToken) {
        *self.server.lock().unwrap() = Some((Arc::new(server), shutdown));
    }

    /// Takes the server away and waits until its sessions are over.
    pub(super) async fn clear_server(&self) {
        if let Some((_, shutdown)) = self.server.lock().unwrap().take() {
            shutdown.cancel();
        }
        let mut serving = std::mem::take(&mut *self.serving.lock().unwrap());
        while serving.join_next().await.is_some() {}
    }

    /// Breaks the next connection as told; once.
    pub fn cut_next(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    /// Lets so many bytes more pass on the live connections, then breaks them.
    pub fn cut_live(&self, cut: Cut) {
        for budget in self.live.lock().unwrap().iter() {
            let (counter, bytes) = match cut {
                Cut::Forth(bytes) => (&budget.forth, bytes),
                Cut::Back(bytes) => (&budget.back, bytes),
            };
            counter.store(i64::try_from(bytes).unwrap(), Ordering::Relaxed);
        }
    }

    /// Breaks every live connection now.
    pub fn cut_all(&self) {
        for budget in self.live.lock().unwrap().drain(..) {
            budget.broken.store(true, Ordering::Relaxed);
            budget.forth.store(0, Ordering::Relaxed);
            budget.back.store(0, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Dial for PipeDial {
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError> {
        let refused = || LinkError::Connect {
            peer: self.peer(),
            advice: "it is a test",
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let (server, _) = self.server.lock().unwrap().clone().ok_or_else(refused)?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let unlimited = i64::MAX;
        let (forth, back) = match self.cut.lock().unwrap().take() {
            None => (unlimited, unlimited),
            Some(Cut::Forth(bytes)) => (i64::try_from(bytes).unwrap(), unlimited),
            Some(Cut::Back(bytes)) => (unlimited, i64::try_from(bytes).unwrap()),
        };
        let budget = Arc::new(Budget { broken: false.into(), forth: forth.into(), back: back.into() });
        self.live.lock().unwrap().push(budget.clone());
        self.serving
            .lock()
            .unwrap()
            .spawn(async move { server.serve_stream(Box::new(theirs), Caller::by_certificate("a")).await });
        Ok(Box::new(CutStream { inner: ours, budget }))
    }

    fn peer(&self) -> String {
        "b in this process".to_owned()
    }
}

struct CutStream {
    inner: DuplexStream,
    budget: Arc<Budget>,
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = vec![0; buf.remaining().min(64 * 1024)];
        let mut read = ReadBuf::new(&mut chunk);
        match Pin::new(&mut self.inner).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                let passed = self.budget.take(&self.budget.back, read.filled().len())?;
                buf.put_slice(&read.filled()[..passed]);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let passed = self.budget.take(&self.budget.forth, data.len().min(64 * 1024))?;
        match Pin::new(&mut self.inner).poll_write(cx, &data[..passed]) {
            Poll::Pending => {
                // Nothing went: what was taken comes back.
                self.budget.forth.fetch_add(i64::try_from(passed).unwrap(), Ordering::Relaxed);
                Poll::Pending
            }
            ready => ready,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
