//! What a handshake needs of Kerberos. This module must never know a library.

use crate::{KerberosError, Principal};

/// Makes contexts as one host.
pub trait Mechanism: Send + Sync {
    /// The host's own principal.
    fn principal(&self) -> &Principal;

    /// Begins a context towards a peer. May wait for the network.
    ///
    /// # Errors
    /// [`KerberosError`]: no keytab, no ticket, no such peer.
    fn initiate(&self, peer: &Principal) -> Result<Box<dyn Context>, KerberosError>;

    /// Begins a context that a peer initiates.
    ///
    /// # Errors
    /// [`KerberosError`]: no keytab, or none with this host's principal.
    fn accept(&self) -> Result<Box<dyn Context>, KerberosError>;
}

/// One end of a context. Its calls may block.
pub trait Context: Send {
    /// Takes the peer's token (empty: there is none yet) and gives the next one.
    ///
    /// # Errors
    /// [`KerberosError`]; the context is of no use any more.
    fn step(&mut self, token: &[u8]) -> Result<Step, KerberosError>;

    /// Seals bytes for the peer alone.
    ///
    /// # Errors
    /// [`KerberosError`].
    fn wrap(&mut self, bytes: &[u8]) -> Result<Vec<u8>, KerberosError>;

    /// Opens what the peer has sealed; the same bytes are not opened twice.
    ///
    /// # Errors
    /// [`KerberosError`]: it is not the peer's, or not of this context.
    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KerberosError>;

    /// The peer's name, as it was proved; asked only of a complete context.
    ///
    /// # Errors
    /// [`KerberosError`].
    fn peer(&self) -> Result<String, KerberosError>;
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For the peer.
    pub token: Option<Vec<u8>>,
    /// Whether the context is complete: both have proved who they are, and share a key.
    pub complete: bool,
}
