//! A connection that ends when its peer is not believed any more: whoever was revoked in the
//! middle of a session gets, and gives, nothing more. It must never know what is sent.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Resolves to why the peer is not believed any more; never, while it is.
pub(crate) type Distrust = Pin<Box<dyn Future<Output = String> + Send>>;

/// A stream, as long as its peer is believed.
pub(crate) struct Watched<S> {
    stream: S,
    distrust: Option<Distrust>,
    why: String,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, distrust: Distrust) -> Watched<S> {
        Watched { stream, distrust: Some(distrust), why: String::new() }
    }

    /// An error once the peer is not believed.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(distrust) = &mut self.distrust {
            let Poll::Ready(why) = distrust.as_mut().poll(cx) else { return Ok(()) };
            (self.distrust, self.why) = (None, why);
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, self.why.clone()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
