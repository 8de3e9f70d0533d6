//! The client's end of the local socket. This module must never act by itself where no
//! agent answers: it says so.

use std::{io, path::Path};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{Call, LINE_MAX, Line, Observer, Reply, Request, VERSION};
use crate::AgentError;

/// What connecting answers where no agent is, or one is just ending.
const NOBODY: [io::ErrorKind; 3] =
    [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];

/// A running agent that answered.
pub struct Running(UnixStream);

impl Running {
    /// The agent behind a socket; none where none listens.
    ///
    /// # Errors
    /// Where the socket may not be used: then an agent may well run.
    pub async fn find(socket: &Path) -> Result<Option<Running>, AgentError> {
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Some(Running(stream))),
            Err(e) if NOBODY.contains(&e.kind()) => Ok(None),
            Err(e) => Err(AgentError::io("talk to the agent through", socket)(e)),
        }
    }
}

/// Asks a running agent; its events go to the observer. Stopping the observer ends the
/// request.
///
/// # Errors
/// The agent's own, or that it fell silent.
pub async fn ask(running: Running, request: Request, observer: &Observer) -> Result<Reply, AgentError> {
    let (input, mut output) = running.0.into_split();
    let mut call =
        serde_json::to_vec(&Call { version: VERSION, request }).map_err(|e| silent(&e.to_string()))?;
    call.push(b'\n');
    output.write_all(&call).await.map_err(|e| silent(&e.to_string()))?;
    let mut lines = BufReader::new(input.take(u64::MAX));
    loop {
        let mut line = String::new();
        lines.get_mut().set_limit(LINE_MAX);
        let Some(read) = observer.stop.run_until_cancelled(lines.read_line(&mut line)).await else {
            return wind_down(lines, output).await;
        };
        match read {
            Ok(0) => return Err(silent("it closed the connection")),
            Ok(_) => {}
            Err(e) => return Err(silent(&e.to_string())),
        }
        match serde_json::from_str(&line).map_err(|e| silent(&e.to_string()))? {
            Line::Event(event) => observer.tell(event),
            Line::Done(reply) => return Ok(*reply),
            Line::Failed(fault) => return Err(AgentError::Remote(fault)),
        }
    }
}

/// Closing our half asks the agent to stop; it then still says how that ended.
async fn wind_down(
    mut lines: BufReader<impl AsyncReadExt + Unpin>,
    mut output: impl AsyncWriteExt + Unpin,
) -> Result<Reply, AgentError> {
    drop(output.shutdown().await);
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line).await {
        match serde_json::from_str(&line) {
            Ok(Line::Done(reply)) => return Ok(*reply),
            Ok(Line::Failed(fault)) => return Err(AgentError::Remote(fault)),
            _ => line.clear(),
        }
    }
    Err(AgentError::Stopped)
}

fn silent(why: &str) -> AgentError {
    AgentError::Request {
        what: format!("the running agent did not answer: {why}"),
        advice: "look into its log, and ask again".to_owned(),
    }
}
