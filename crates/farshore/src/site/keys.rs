//! Registration keys for hosts: asked for on the site server's own machine, at a socket that
//! only its owner can open. A connection is a question, a line is the answer.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use farshore_channel::Keyring;
use farshore_pki::{Bundle, Fingerprint, REGISTRATION_LIFETIME, Trust};
use farshore_site::Server;
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
    keyring: &Keyring,
    bundle: &Bundle,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, ProgramError> {
    let path = config.socket();
    // What a killed server left is nobody's.
    fs::remove_file(&path).ok();
    let socket = UnixListener::bind(&path).map_err(ProgramError::io("listen at", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .map_err(ProgramError::io("protect", &path))?;
    let trust = Trust::parse(&bundle.authority_pem, &bundle.revoked_pem)?;
    let fingerprint = trust.authorities().first().map(|der| Fingerprint::of(der));
    let fingerprint =
        fingerprint.ok_or_else(|| ProgramError::usage("no authority is known", "enrol anew"))?;
    let (server, identity, address) = (Arc::clone(server), keyring.identity(), config.public_address());
    Ok(tokio::spawn(async move {
        while let Some(Ok((mut asker, _))) = stop.run_until_cancelled(socket.accept()).await {
            let made = server.new_host_key(&identity, &address, fingerprint, REGISTRATION_LIFETIME).await;
            let answer = match made {
                Ok(key) => format!("{}\n", *key.reveal()),
                Err(error) => format!("error: {error}\n"),
            };
            // Who asked may have gone: that is fine.
            asker.write_all(answer.as_bytes()).await.ok();
        }
        fs::remove_file(&path).ok();
    }))
}

/// Asks a running site server for a registration key for a host.
///
/// # Errors
/// No site server runs here, or it cannot keep the key.
pub async fn host_key(config: &SiteConfig) -> Result<String, ProgramError> {
    let path = config.socket();
    let wrong = |e: std::io::Error| config.not_asked(&path, &e);
    let mut socket = UnixStream::connect(&path).await.map_err(wrong)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.map_err(wrong)?;
    match answer.trim().strip_prefix("error: ") {
        Some(what) => Err(ProgramError::usage(what, "look into the site server's log")),
        None => Ok(answer.trim().to_owned()),
    }
}
