//! The end that has connected. It knows by the vault, or its configuration, whom it wants.

use super::{Binding, Next, Speaker, check_binding, count, unexpected};
use crate::{Context, KerberosError, Mechanism, Message, Principal};

/// The end that has connected.
pub struct Initiator {
    context: Box<dyn Context>,
    wanted: Principal,
    binding: Binding,
    tokens: u32,
    complete: bool,
}

impl Initiator {
    /// Begins towards `wanted` over the channel of `binding`; what it gives is sent. May wait
    /// for the network.
    ///
    /// # Errors
    /// [`KerberosError`]: no keytab, no ticket, no such peer.
    pub fn begin(
        mechanism: &dyn Mechanism,
        wanted: &Principal,
        binding: Binding,
    ) -> Result<(Initiator, Message), KerberosError> {
        let mut context = mechanism.initiate(wanted)?;
        let step = context.step(&[])?;
        let token = step.token.ok_or(KerberosError::Malformed { what: "a mechanism without a token" })?;
        if step.complete {
            // The peer has proved nothing.
            return Err(KerberosError::NotMutual);
        }
        let (wanted, tokens) = (wanted.clone(), 0);
        Ok((Initiator { context, wanted, binding, tokens, complete: false }, Message::Token(token)))
    }

    /// Takes the acceptor's message.
    ///
    /// # Errors
    /// [`KerberosError`]; it is over then.
    pub fn receive(&mut self, message: Message) -> Result<Next<()>, KerberosError> {
        match message {
            Message::Token(token) if !self.complete => self.step(&token),
            Message::Binding(sealed) if self.complete => {
                check_binding(&mut *self.context, &sealed, Speaker::Acceptor, &self.binding)?;
                Ok(Next::Done(None, ()))
            }
            Message::Binding(_) => unexpected(message, "a binding before its context"),
            other => unexpected(other, "a token where the binding is due"),
        }
    }

    fn step(&mut self, token: &[u8]) -> Result<Next<()>, KerberosError> {
        count(&mut self.tokens)?;
        let step = self.context.step(token)?;
        if !step.complete {
            return Ok(step.token.map_or(Next::Wait, |token| Next::Send(Message::Token(token))));
        }
        // With a token left for the peer its context is not complete yet, and it would have to
        // be sent before the binding; Kerberos with mutual authentication never has one.
        if step.token.is_some() {
            return Err(KerberosError::Malformed { what: "a token after the last one" });
        }
        let found = self.context.peer()?;
        if found != self.wanted.as_str() {
            return Err(KerberosError::OtherPrincipal { wanted: self.wanted.to_string(), found });
        }
        self.complete = true;
        let sealed = self.context.wrap(&Speaker::Initiator.statement(&self.binding))?;
        Ok(Next::Send(Message::Binding(sealed)))
    }
}
