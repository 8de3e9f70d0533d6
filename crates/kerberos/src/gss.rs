//! The real mechanism: the system's Kerberos library through GSSAPI. Its calls block, for as
//! long as a key distribution centre takes, so they belong on threads of their own. This
//! module must never let in whom the library let in by half: mutual, sealed, in order.

mod explain;

use std::path::PathBuf;

use libgssapi::{
    context::{ClientCtx, CtxFlags, SecurityContext, ServerCtx},
    credential::{Cred, CredUsage},
    error::Error,
    name::Name,
    oid::{GSS_MECH_KRB5, GSS_NT_KRB5_PRINCIPAL, OidSet},
};

use crate::{Context, Environment, KerberosError, Mechanism, Principal, Step};
use explain::Explain;

/// What a context must be to count: both are proved, and what is sealed is read by the peer
/// alone, once.
const NEEDED: CtxFlags = CtxFlags::GSS_C_MUTUAL_FLAG
    .union(CtxFlags::GSS_C_INTEG_FLAG)
    .union(CtxFlags::GSS_C_CONF_FLAG)
    .union(CtxFlags::GSS_C_REPLAY_FLAG);

/// Kerberos as one principal, by a keytab.
#[derive(Clone, Debug)]
pub struct Gss {
    principal: Principal,
    keytab: PathBuf,
}

impl Gss {
    /// As `principal`, whose keys are in `keytab`. The process must have been started with
    /// `environment`.
    ///
    /// # Errors
    /// [`KerberosError::NotStartedFor`].
    pub fn new(
        principal: Principal,
        keytab: PathBuf,
        environment: &Environment,
    ) -> Result<Gss, KerberosError> {
        match environment.is_in_force() {
            true => Ok(Gss { principal, keytab }),
            false => Err(KerberosError::NotStartedFor { path: keytab }),
        }
    }

    fn explain(&self, peer: Option<&Principal>) -> Explain {
        Explain { own: self.principal.clone(), keytab: self.keytab.clone(), peer: peer.cloned() }
    }

    fn credential(&self, usage: CredUsage) -> Result<Cred, Error> {
        let name = name_of(&self.principal)?;
        let mechanisms = OidSet::singleton(GSS_MECH_KRB5)?;
        Cred::acquire(Some(&name), None, usage, Some(&mechanisms))
    }
}

fn name_of(principal: &Principal) -> Result<Name, Error> {
    Name::new(principal.as_str().as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL))?.canonicalize(Some(GSS_MECH_KRB5))
}

impl Mechanism for Gss {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    fn initiate(&self, peer: &Principal) -> Result<Box<dyn Context>, KerberosError> {
        let explain = self.explain(Some(peer));
        let credential = self.credential(CredUsage::Initiate).map_err(|e| explain.own(e))?;
        let target = name_of(peer).map_err(|e| explain.peer(e))?;
        let flags = NEEDED.union(CtxFlags::GSS_C_SEQUENCE_FLAG);
        let context = ClientCtx::new(Some(credential), target, flags, Some(GSS_MECH_KRB5));
        Ok(Box::new(End { context, explain }))
    }

    fn accept(&self) -> Result<Box<dyn Context>, KerberosError> {
        let explain = self.explain(None);
        let credential = self.credential(CredUsage::Accept).map_err(|e| explain.own(e))?;
        Ok(Box::new(End { context: ServerCtx::new(Some(credential)), explain }))
    }
}

/// One end of a context.
struct End<C> {
    context: C,
    explain: Explain,
}

impl<C: SecurityContext> End<C> {
    fn took(&self, token: Option<Vec<u8>>) -> Result<Step, KerberosError> {
        let complete = self.context.is_complete();
        if complete {
            let flags = self.context.flags().map_err(|e| self.explain.peer(e))?;
            if !flags.contains(NEEDED) || flags.contains(CtxFlags::GSS_C_ANON_FLAG) {
                return Err(KerberosError::NotMutual);
            }
        }
        Ok(Step { token, complete })
    }

    fn sealed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, KerberosError> {
        Ok(self.context.wrap(true, bytes).map_err(|e| self.explain.peer(e))?.to_vec())
    }

    fn opened(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KerberosError> {
        match self.context.unwrap(sealed) {
            Ok(bytes) => Ok(bytes.to_vec()),
            // Under another context's key, or a second time.
            Err(error) if explain::is_refused_seal(&error) => Err(KerberosError::OtherChannel),
            Err(error) => Err(self.explain.peer(error)),
        }
    }
}

fn shown(name: &Name) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&name.display_name()?).into_owned())
}

impl Context for End<ClientCtx> {
    fn step(&mut self, token: &[u8]) -> Result<Step, KerberosError> {
        let token = (!token.is_empty()).then_some(token);
        let next = self.context.step(token, None).map_err(|e| self.explain.peer(e))?;
        self.took(next.map(|token| token.to_vec()).filter(|token| !token.is_empty()))
    }

    fn wrap(&mut self, bytes: &[u8]) -> Result<Vec<u8>, KerberosError> {
        self.sealed(bytes)
    }

    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KerberosError> {
        self.opened(sealed)
    }

    fn peer(&self) -> Result<String, KerberosError> {
        self.context.target_name().and_then(|name| shown(&name)).map_err(|e| self.explain.peer(e))
    }
}

impl Context for End<ServerCtx> {
    fn step(&mut self, token: &[u8]) -> Result<Step, KerberosError> {
        let next = self.context.step(token, None).map_err(|e| self.explain.peer(e))?;
        self.took(next.map(|token| token.to_vec()).filter(|token| !token.is_empty()))
    }

    fn wrap(&mut self, bytes: &[u8]) -> Result<Vec<u8>, KerberosError> {
        self.sealed(bytes)
    }

    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KerberosError> {
        self.opened(sealed)
    }

    fn peer(&self) -> Result<String, KerberosError> {
        self.context.source_name().and_then(|name| shown(&name)).map_err(|e| self.explain.peer(e))
    }
}
