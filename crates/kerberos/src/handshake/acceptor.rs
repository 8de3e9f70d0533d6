//! The end that was connected to. Whoever comes is judged by the principal that it proves.

use super::{Binding, Next, Speaker, check_binding, count, unexpected};
use crate::{
    Context, KerberosError, Mechanism, Message,
    bug::{self, Bug},
};

/// Which hosts may come, and by which principals.
pub trait Assigned: Send + Sync {
    /// The host that a principal was assigned to; none: it is nobody's here.
    fn host_of(&self, principal: &str) -> Option<String>;
}

/// The end that was connected to.
pub struct Acceptor {
    context: Box<dyn Context>,
    binding: Binding,
    tokens: u32,
    complete: bool,
}

/// Who has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The host's name.
    pub host: String,
    /// The principal that it has proved.
    pub principal: String,
}

impl Acceptor {
    /// Waits for an initiator on the channel of `binding`.
    ///
    /// # Errors
    /// [`KerberosError`]: no keytab, or none with this host's principal.
    pub fn begin(mechanism: &dyn Mechanism, binding: Binding) -> Result<Acceptor, KerberosError> {
        Ok(Acceptor { context: mechanism.accept()?, binding, tokens: 0, complete: false })
    }

    /// Takes the initiator's message; `assigned` says who may come.
    ///
    /// # Errors
    /// [`KerberosError`]; it is over then, and the peer is told by
    /// [`KerberosError::as_refusal`].
    pub fn receive(
        &mut self,
        message: Message,
        assigned: &dyn Assigned,
    ) -> Result<Next<Arrival>, KerberosError> {
        match message {
            Message::Token(token) if !self.complete => self.step(&token, assigned),
            Message::Binding(sealed) if self.complete => {
                check_binding(&mut *self.context, &sealed, Speaker::Initiator, &self.binding)?;
                self.admit(assigned)
            }
            Message::Binding(_) => unexpected(message, "a binding before its context"),
            Message::Refusal { .. } => unexpected(message, ""),
            Message::Token(_) => Err(KerberosError::Unbound),
        }
    }

    fn step(&mut self, token: &[u8], assigned: &dyn Assigned) -> Result<Next<Arrival>, KerberosError> {
        count(&mut self.tokens)?;
        let step = self.context.step(token)?;
        let reply = step.token.map(Message::Token);
        self.complete = step.complete;
        if step.complete && reply.is_none() {
            return Err(KerberosError::NotMutual);
        }
        if step.complete && bug::is(Bug::BindingLeftOut) {
            let Next::Done(_, arrival) = self.admit(assigned)? else { return Ok(Next::Wait) };
            return Ok(Next::Done(reply, arrival));
        }
        Ok(reply.map_or(Next::Wait, Next::Send))
    }

    /// Only who is bound to this channel learns whether it would be let in.
    fn admit(&mut self, assigned: &dyn Assigned) -> Result<Next<Arrival>, KerberosError> {
        let principal = self.context.peer()?;
        let host = match assigned.host_of(&principal) {
            Some(host) => host,
            None if bug::is(Bug::AssignmentNotChecked) => "anybody".to_owned(),
            None => return Err(KerberosError::NotAssigned { principal }),
        };
        let sealed = self.context.wrap(&Speaker::Acceptor.statement(&self.binding))?;
        Ok(Next::Done(Some(Message::Binding(sealed)), Arrival { host, principal }))
    }

    /// What it means that the initiator left at this stage.
    #[must_use]
    pub fn left(&self) -> KerberosError {
        match self.complete {
            true => KerberosError::Unbound,
            false => KerberosError::Malformed { what: "the end of the connection" },
        }
    }
}
