//! How the site server stands, asked on its own machine at a socket that only its owner can
//! open: it answers while the vault is away. A connection is a question, a line the answer.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use farshore_site::{Server, server::SiteStatus};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::SiteConfig;
use crate::ProgramError;

/// Answers at the socket until stopped.
pub(super) fn serve(
    config: &SiteConfig,
    server: &Arc<Server>,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, ProgramError> {
    let path = config.status_socket();
    // What a killed server left is nobody's.
    fs::remove_file(&path).ok();
    let socket = UnixListener::bind(&path).map_err(ProgramError::io("listen at", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .map_err(ProgramError::io("protect", &path))?;
    let server = Arc::clone(server);
    Ok(tokio::spawn(async move {
        while let Some(Ok((mut asker, _))) = stop.run_until_cancelled(socket.accept()).await {
            // A plain value: there is none that has no JSON.
            let mut answer = serde_json::to_vec(&server.status()).unwrap_or_default();
            answer.push(b'\n');
            // Who asked may have gone: that is fine.
            asker.write_all(&answer).await.ok();
        }
        fs::remove_file(&path).ok();
    }))
}

/// Asks the site server that runs on this machine.
///
/// # Errors
/// None runs here.
pub async fn status(config: &SiteConfig) -> Result<SiteStatus, ProgramError> {
    let path = config.status_socket();
    let wrong = |e: &dyn std::fmt::Display| config.not_asked(&path, e);
    let mut socket = UnixStream::connect(&path).await.map_err(|e| wrong(&e))?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.map_err(|e| wrong(&e))?;
    serde_json::from_str(&answer).map_err(|e| wrong(&e))
}
