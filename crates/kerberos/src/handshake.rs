//! The two ends of a handshake. Each takes a message and says what comes next; a message out
//! of its order ends it. This module must never wait for anything but the mechanism.

mod acceptor;
mod initiator;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    Context, KerberosError, Message,
    bug::{self, Bug},
    limits::{BINDING_BYTES, TOKENS_MAX},
};

pub use acceptor::{Acceptor, Arrival, Assigned};
pub use initiator::Initiator;

/// First bytes of what is sealed: neither other programs' sealed bytes nor those of another
/// version of this handshake can be taken for it.
const CONTEXT: &[u8] = b"farshore kerberos channel binding 1 ";

/// A value that both ends of one channel have, and no end of any other.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding(pub [u8; BINDING_BYTES]);

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding(..)")
    }
}

/// What follows a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Nothing yet: a message is waited for.
    Wait,
    /// This is sent, then one is waited for.
    Send(Message),
    /// It is over, and well. What is given is sent first.
    Done(Option<Message>, T),
}

/// Who speaks: what one has said cannot be sent back to it.
#[derive(Clone, Copy)]
enum Speaker {
    Initiator,
    Acceptor,
}

impl Speaker {
    fn statement(self, binding: &Binding) -> Vec<u8> {
        let mark: &[u8] = match self {
            Speaker::Initiator => b"initiator ",
            Speaker::Acceptor => b"acceptor ",
        };
        [CONTEXT, mark, &binding.0].concat()
    }
}

/// Whether the peer has sealed this channel.
fn check_binding(
    context: &mut dyn Context,
    sealed: &[u8],
    speaker: Speaker,
    binding: &Binding,
) -> Result<(), KerberosError> {
    let said = context.unwrap(sealed)?;
    match said == speaker.statement(binding) || bug::is(Bug::BindingNotChecked) {
        true => Ok(()),
        false => Err(KerberosError::OtherChannel),
    }
}

/// Counts a token that arrived.
fn count(tokens: &mut u32) -> Result<(), KerberosError> {
    *tokens += 1;
    match *tokens > TOKENS_MAX {
        true => Err(KerberosError::Malformed { what: "too many tokens" }),
        false => Ok(()),
    }
}

/// A message that nobody waits for.
fn unexpected<T>(message: Message, wanted: &'static str) -> Result<T, KerberosError> {
    Err(match message {
        Message::Refusal { what, advice } => KerberosError::Refused { what, advice },
        Message::Token(_) | Message::Binding(_) => KerberosError::Malformed { what: wanted },
    })
}
