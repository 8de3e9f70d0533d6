//! Kerberos as this host: which principal it has by its configuration, whose principals count
//! by its configuration and its vault, and that the process was started for it. This module
//! must never decide which machines use it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::process::CommandExt,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use farshore_kerberos::{Environment, Gss, KerberosError, Mechanism, Principal};
use farshore_link::{Assignments, Endpoint, Kerberos, KerberosDial};

use crate::{Agent, AgentError, Config, config, replicas::blocking};

/// Set in a process that was started anew for Kerberos, so that this is not tried for ever.
const STARTED: &str = "FARSHORE_STARTED_FOR_KERBEROS";
/// Where the library keeps what it has seen, in the state directory.
const REPLAYS: &str = "kerberos";

/// Kerberos, as far as this host has it.
pub(crate) struct KerberosRole {
    config: Option<config::Kerberos>,
    environment: Option<Environment>,
    /// Made when first needed.
    made: Mutex<Option<(Kerberos, Arc<Gss>)>>,
    assignments: Assignments,
}

fn environment(config: &Config) -> Option<Environment> {
    let kerberos = config.kerberos.as_ref()?;
    Some(Environment::new(&kerberos.keytab, &config.state_dir.join(REPLAYS)))
}

/// Starts this process anew where the library must be told of a keytab: it reads the
/// environment, which nobody may change while threads run. Returns where nothing is to be
/// done.
///
/// # Errors
/// Where the program cannot be started again.
pub(crate) fn start_for(config: &Config) -> Result<(), AgentError> {
    let Some(environment) = environment(config) else { return Ok(()) };
    if environment.is_in_force() || env::var_os(STARTED).is_some() {
        return Ok(());
    }
    let replays = config.state_dir.join(REPLAYS);
    fs::create_dir_all(&replays).map_err(AgentError::io("create", &replays))?;
    let program = env::current_exe().map_err(AgentError::io("find", "this program"))?;
    let mut again = Command::new(&program);
    again.args(env::args_os().skip(1)).envs(environment.variables()).env(STARTED, "1");
    Err(AgentError::io("start", program)(again.exec()))
}

fn told(error: &KerberosError) -> AgentError {
    AgentError::Request { what: error.to_string(), advice: error.advice().to_owned() }
}

/// Whether this host can be known by Kerberos, where it is configured.
///
/// # Errors
/// What stands in the way: the keytab, as a rule.
pub(crate) async fn check(agent: &Agent) -> Result<(), AgentError> {
    let Some((_, mechanism)) = agent.kerberos().made()? else { return Ok(()) };
    blocking(move || mechanism.accept().map(drop)).await.map_err(|error| told(&error))
}

impl KerberosRole {
    pub(crate) fn new(config: &Config) -> KerberosRole {
        let role = KerberosRole {
            config: config.kerberos.clone(),
            environment: environment(config),
            made: Mutex::default(),
            assignments: Assignments::default(),
        };
        role.assign(Vec::new());
        role
    }

    /// Whether this host has a principal.
    pub(crate) fn is_configured(&self) -> bool {
        self.config.is_some()
    }

    /// Takes the hosts and principals that the vault says; where it says nothing of a host,
    /// the configuration does. A principal that two hosts have is nobody's.
    pub(crate) fn assign(&self, vaults: Vec<(String, String)>) {
        let named: BTreeSet<String> = vaults.iter().map(|(host, _)| host.clone()).collect();
        let own = self.config.iter().flat_map(|config| &config.peers);
        let own = own.filter(|(host, _)| !named.contains(*host));
        let own: Vec<_> = own.map(|(host, principal)| (host.clone(), principal.to_string())).collect();
        let (mut hosts, mut doubtful) = (BTreeMap::new(), BTreeSet::new());
        for (host, principal) in vaults.into_iter().chain(own) {
            if hosts.insert(principal.clone(), host.clone()).is_some_and(|other| other != host) {
                doubtful.insert(principal);
            }
        }
        hosts.retain(|principal, _| !doubtful.contains(principal));
        self.assignments.set(hosts);
    }

    /// For taking sessions; none: this host is known by certificates alone.
    pub(crate) fn accepting(&self) -> Result<Option<(Kerberos, Assignments)>, AgentError> {
        Ok(self.made()?.map(|(kerberos, _)| (kerberos, self.assignments.clone())))
    }

    /// For opening sessions with a host.
    ///
    /// # Errors
    /// Where this host or that one has no principal.
    pub(crate) fn dial(&self, to: Endpoint, deadline: Duration) -> Result<KerberosDial, AgentError> {
        let Some((kerberos, _)) = self.made()? else {
            return Err(AgentError::Request {
                what: "Kerberos is wanted, and this host has no principal".to_owned(),
                advice:
                    "set [kerberos] in its configuration (see docs/kerberos.md), or let the policy choose \
                         certificates"
                        .to_owned(),
            });
        };
        let host = &to.server_name;
        let Some(principal) = self.assignments.principal_of(host) else {
            return Err(AgentError::Request {
                what: format!("Kerberos is wanted, and host '{host}' has no principal"),
                advice: "give it one with `farshore host address HOST HOST:PORT --principal \
                         farshore/HOST@REALM`; without a vault, in [kerberos.peers]"
                    .to_owned(),
            });
        };
        let wrong = |error: farshore_types::PrincipalError| AgentError::Request {
            what: format!("host '{host}': {error}"),
            advice: "correct it at the vault".to_owned(),
        };
        let wanted: Principal = principal.parse().map_err(wrong)?;
        Ok(KerberosDial::new(to, wanted, kerberos, self.assignments.clone(), deadline))
    }

    fn made(&self) -> Result<Option<(Kerberos, Arc<Gss>)>, AgentError> {
        let (Some(config), Some(environment)) = (&self.config, &self.environment) else { return Ok(None) };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let gss = Gss::new(config.principal.clone(), config.keytab.clone(), environment);
            let gss = Arc::new(gss.map_err(|error| told(&error))?);
            *made = Some((Kerberos::new(Arc::clone(&gss) as Arc<dyn Mechanism>)?, gss));
        }
        Ok(made.clone())
    }
}

#[cfg(test)]
mod tests {
    use farshore_kerberos::Assigned;

    use super::*;

    fn role() -> KerberosRole {
        let text = "[kerberos]\nprincipal = 'farshore/here@A'\n[kerberos.peers]\n\
            b = 'farshore/b@A'\nc = 'farshore/c@A'\n";
        KerberosRole::new(&Config::parse(text).unwrap().0)
    }

    fn vaults(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(host, principal)| ((*host).to_owned(), (*principal).to_owned())).collect()
    }

    #[test]
    fn the_vault_has_the_say_where_it_says_something() {
        let role = role();
        let host_of = |principal: &str| role.assignments.host_of(principal);
        assert_eq!(host_of("farshore/b@A").as_deref(), Some("b"));
        role.assign(vaults(&[("b", "farshore/new@A")]));
        assert_eq!(host_of("farshore/new@A").as_deref(), Some("b"));
        assert_eq!((host_of("farshore/b@A"), host_of("farshore/c@A").as_deref()), (None, Some("c")));
    }

    #[test]
    fn a_principal_of_two_hosts_is_nobodys() {
        let role = role();
        role.assign(vaults(&[("d", "farshore/d@A"), ("e", "farshore/d@A"), ("f", "farshore/f@A")]));
        assert_eq!(role.assignments.host_of("farshore/d@A"), None);
        assert!(role.assignments.host_of("farshore/f@A").is_some());
    }

    #[test]
    fn a_process_that_was_not_started_for_it_says_so() {
        let error = role().accepting().err().unwrap().fault();
        assert!(error.what.contains("started without") && error.advice.contains("anew"), "{error:?}");
    }
}
