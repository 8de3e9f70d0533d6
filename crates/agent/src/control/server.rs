//! The agent's end of the local socket: one task per connection, which ends with it. This
//! module must never answer anyone but the socket's owner.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Call, LINE_MAX, Line, Observer, VERSION};
use crate::{Agent, AgentError, Fault};

/// Mode of the socket: its owner alone.
const SOCKET_MODE: u32 = 0o600;

/// Listens on a socket. One that a dead agent left is replaced: the caller holds the lock
/// that says that no other runs.
///
/// # Errors
/// As the system reports.
pub fn bind(path: &Path) -> Result<UnixListener, AgentError> {
    let attempt = || -> io::Result<UnixListener> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // Made under another name, so that it is never there with a wider mode.
        let new = path.with_extension("new");
        for old in [&new, path] {
            match fs::remove_file(old) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(SOCKET_MODE))?;
        fs::rename(&new, path)?;
        Ok(listener)
    };
    attempt().map_err(AgentError::io("listen on", path))
}

/// Answers until stopped; returns when all that was begun has ended.
pub async fn serve(listener: UnixListener, agent: Arc<Agent>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let (agent, stop) = (Arc::clone(&agent), stop.child_token());
                tasks.spawn(async move {
                    if let Err(error) = answer(&agent, stream, stop).await {
                        tracing::debug!(%error, "a command's connection ended early");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "cannot accept a command"),
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn answer(agent: &Arc<Agent>, stream: UnixStream, stop: CancellationToken) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut lines = BufReader::new(input.take(LINE_MAX));
    let mut line = String::new();
    lines.read_line(&mut line).await?;
    let call: Call = match parse(&line) {
        Ok(call) => call,
        Err(fault) => return write(&mut output, &Line::Failed(fault)).await,
    };
    let (observer, mut events) = Observer::new(stop.clone());
    let watch = tokio::spawn(stop_at_end(lines, stop));
    let work = agent.handle(call.request, &observer);
    tokio::pin!(work);
    let mut heard = Ok(());
    let result = loop {
        tokio::select! {
            result = &mut work => break result,
            Some(event) = events.recv() => {
                // Whoever left is noticed by `watch`; the work then ends in good order.
                if heard.is_ok() {
                    heard = write(&mut output, &Line::Event(event)).await;
                }
            }
        }
    };
    watch.abort();
    while let Ok(event) = events.try_recv() {
        write(&mut output, &Line::Event(event)).await?;
    }
    let last = match result {
        Ok(reply) => Line::Done(Box::new(reply)),
        Err(error) => Line::Failed(error.fault()),
    };
    write(&mut output, &last).await
}

fn parse(line: &str) -> Result<Call, Fault> {
    let version =
        serde_json::from_str::<serde_json::Value>(line).ok().and_then(|v| v.get("version")?.as_u64());
    if version != Some(u64::from(VERSION)) {
        let what =
            format!("the command speaks version {version:?} of the local dialogue, the agent {VERSION}");
        return Err(Fault { what, advice: "use the program of the same release".to_owned() });
    }
    serde_json::from_str(line).map_err(|e| Fault {
        what: format!("the agent does not understand the command: {e}"),
        advice: "use the program of the same release".to_owned(),
    })
}

/// The client closes its half, or is gone: nobody wants the result any more.
async fn stop_at_end(mut lines: BufReader<tokio::io::Take<OwnedReadHalf>>, stop: CancellationToken) {
    let mut rest = Vec::new();
    drop(lines.read_to_end(&mut rest).await);
    stop.cancel();
}

async fn write(output: &mut OwnedWriteHalf, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    output.write_all(&bytes).await
}
