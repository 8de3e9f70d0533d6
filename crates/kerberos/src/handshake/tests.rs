//! The handshake without a key distribution centre: a mechanism of a few lines, and peers who
//! leave out, repeat, swap and make up what they send.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    Arrival, Assigned, Mechanism, Principal, Step,
    bug::plant,
    limits::{REFUSAL_BYTES_MAX, TOKEN_BYTES_MAX},
};

const SOURCE: &str = "farshore/source@TEST";
const TARGET: &str = "farshore/target@TEST";
const HERE: Binding = Binding([7; BINDING_BYTES]);
const ELSEWHERE: Binding = Binding([8; BINDING_BYTES]);

/// A realm in which names are believed; tokens and seals are texts that say what they are.
/// Each context has a number, and each token and each seal is taken once.
#[derive(Default)]
struct Realm {
    contexts: u32,
    seen: BTreeSet<Vec<u8>>,
}

#[derive(Clone)]
struct Host {
    principal: Principal,
    realm: Arc<Mutex<Realm>>,
}

struct End {
    host: Host,
    /// Whom it wants; then whom it has.
    peer: Option<String>,
    /// Which context.
    number: u32,
    initiates: bool,
}

fn hosts() -> (Host, Host) {
    let realm = Arc::<Mutex<Realm>>::default();
    let host = |name: &str| Host { principal: name.parse().unwrap(), realm: Arc::clone(&realm) };
    (host(SOURCE), host(TARGET))
}

impl Mechanism for Host {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    fn initiate(&self, peer: &Principal) -> Result<Box<dyn Context>, KerberosError> {
        let mut realm = self.realm.lock().unwrap();
        realm.contexts += 1;
        let peer = Some(peer.to_string());
        Ok(Box::new(End { host: self.clone(), peer, number: realm.contexts, initiates: true }))
    }

    fn accept(&self) -> Result<Box<dyn Context>, KerberosError> {
        Ok(Box::new(End { host: self.clone(), peer: None, number: 0, initiates: false }))
    }
}

impl End {
    fn once(&self, bytes: &[u8]) -> Result<(), KerberosError> {
        match self.host.realm.lock().unwrap().seen.insert(bytes.to_vec()) {
            true => Ok(()),
            false => Err(KerberosError::Replayed),
        }
    }

    fn seal(&self, initiates: bool) -> String {
        format!("sealed {} {initiates} ", self.number)
    }
}

impl Context for End {
    fn step(&mut self, token: &[u8]) -> Result<Step, KerberosError> {
        let malformed = || KerberosError::Malformed { what: "a token that is none" };
        let own = self.host.principal.to_string();
        if self.initiates && token.is_empty() {
            let token = format!("hello {} {own} {}", self.number, self.peer.as_ref().unwrap());
            return Ok(Step { token: Some(token.into_bytes()), complete: false });
        }
        let text = std::str::from_utf8(token).map_err(|_| malformed())?;
        let parts: Vec<&str> = text.split(' ').collect();
        match parts[..] {
            ["hello", number, from, to] if !self.initiates && to == own => {
                self.once(token)?;
                (self.number, self.peer) = (number.parse().map_err(|_| malformed())?, Some(from.to_owned()));
                Ok(Step { token: Some(format!("welcome {number} {own}").into_bytes()), complete: true })
            }
            ["welcome", number, from] if self.initiates && number == self.number.to_string() => {
                self.peer = Some(from.to_owned());
                Ok(Step { token: None, complete: true })
            }
            _ => Err(malformed()),
        }
    }

    fn wrap(&mut self, bytes: &[u8]) -> Result<Vec<u8>, KerberosError> {
        Ok([self.seal(self.initiates).as_bytes(), bytes].concat())
    }

    fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, KerberosError> {
        self.once(sealed)?;
        let bytes = sealed.strip_prefix(self.seal(!self.initiates).as_bytes());
        bytes.map(<[u8]>::to_vec).ok_or(KerberosError::OtherChannel)
    }

    fn peer(&self) -> Result<String, KerberosError> {
        Ok(self.peer.clone().unwrap_or_default())
    }
}

struct Only(&'static str);

impl Assigned for Only {
    fn host_of(&self, principal: &str) -> Option<String> {
        (principal == self.0).then(|| "source.example".to_owned())
    }
}

const SOURCE_ALONE: Only = Only(SOURCE);

fn begin(source: &Host, binding: Binding) -> (Initiator, Message) {
    Initiator::begin(source, &TARGET.parse().unwrap(), binding).unwrap()
}

fn sent<T: fmt::Debug>(next: Next<T>) -> Message {
    match next {
        Next::Send(message) => message,
        other => panic!("nothing is sent: {other:?}"),
    }
}

/// As far as the initiator's binding, which is given with both ends.
fn until_bound(
    source: &Host,
    target: &Host,
    here: Binding,
    there: Binding,
) -> (Initiator, Acceptor, Message) {
    let (mut initiator, hello) = begin(source, here);
    let mut acceptor = Acceptor::begin(target, there).unwrap();
    let welcome = sent(acceptor.receive(hello, &SOURCE_ALONE).unwrap());
    let bound = sent(initiator.receive(welcome).unwrap());
    (initiator, acceptor, bound)
}

fn arrival() -> Arrival {
    Arrival { host: "source.example".to_owned(), principal: SOURCE.to_owned() }
}

#[test]
fn both_hosts_know_each_other_over_this_channel() {
    let (source, target) = hosts();
    let (mut initiator, mut acceptor, bound) = until_bound(&source, &target, HERE, HERE);
    let Next::Done(Some(answer), who) = acceptor.receive(bound, &SOURCE_ALONE).unwrap() else { panic!() };
    assert_eq!(who, arrival());
    assert_eq!(initiator.receive(answer).unwrap(), Next::Done(None, ()));
}

/// Somebody in the middle has two channels, and passes all messages on.
fn through_a_middleman() -> Result<Next<Arrival>, KerberosError> {
    let (source, target) = hosts();
    let (_, mut acceptor, bound) = until_bound(&source, &target, ELSEWHERE, HERE);
    acceptor.receive(bound, &SOURCE_ALONE)
}

#[test]
fn a_middleman_is_found_out() {
    assert!(matches!(through_a_middleman(), Err(KerberosError::OtherChannel)));
    let _bug = plant(Bug::BindingNotChecked);
    assert!(through_a_middleman().is_ok(), "the check above is what finds him out");
}

#[test]
fn a_middleman_is_found_out_by_the_initiator_too() {
    let (source, target) = hosts();
    let (mut initiator, mut acceptor, bound) = until_bound(&source, &target, HERE, HERE);
    acceptor.receive(bound, &SOURCE_ALONE).unwrap();
    // Its answer, as if it had come over another channel.
    let seal = format!("sealed 1 {} ", false);
    let other = [seal.as_bytes(), &Speaker::Acceptor.statement(&ELSEWHERE)].concat();
    assert!(matches!(initiator.receive(Message::Binding(other)), Err(KerberosError::OtherChannel)));
}

/// A peer that has a good ticket and leaves the binding out.
fn without_a_binding() -> Result<Next<Arrival>, KerberosError> {
    let (source, target) = hosts();
    let (_, hello) = begin(&source, HERE);
    let mut acceptor = Acceptor::begin(&target, HERE).unwrap();
    acceptor.receive(hello, &SOURCE_ALONE)
}

#[test]
fn who_leaves_the_binding_out_is_not_let_in() {
    let first = without_a_binding().unwrap();
    assert!(matches!(first, Next::Send(Message::Token(_))), "nothing is settled by the ticket: {first:?}");
    let (source, target) = hosts();
    let (_, mut acceptor, _) = until_bound(&source, &target, HERE, HERE);
    let more = acceptor.receive(Message::Token(b"and so on".to_vec()), &SOURCE_ALONE);
    assert!(matches!(more, Err(KerberosError::Unbound)));
    assert!(matches!(acceptor.left(), KerberosError::Unbound));
    let _bug = plant(Bug::BindingLeftOut);
    assert!(matches!(without_a_binding().unwrap(), Next::Done(..)), "the order above is what keeps it out");
}

#[test]
fn a_binding_before_its_context_is_refused() {
    let (source, target) = hosts();
    let mut acceptor = Acceptor::begin(&target, HERE).unwrap();
    let early = acceptor.receive(Message::Binding(b"x".to_vec()), &SOURCE_ALONE);
    assert!(matches!(early, Err(KerberosError::Malformed { .. })));
    let (mut initiator, _) = begin(&source, HERE);
    let early = initiator.receive(Message::Binding(b"x".to_vec()));
    assert!(matches!(early, Err(KerberosError::Malformed { .. })));
}

#[test]
fn a_token_is_taken_once() {
    let (source, target) = hosts();
    let (_, hello) = begin(&source, HERE);
    Acceptor::begin(&target, HERE).unwrap().receive(hello.clone(), &SOURCE_ALONE).unwrap();
    let again = Acceptor::begin(&target, HERE).unwrap().receive(hello, &SOURCE_ALONE);
    assert!(matches!(again, Err(KerberosError::Replayed)));
}

#[test]
fn what_one_end_said_cannot_be_sent_back_to_it() {
    let (source, target) = hosts();
    let (mut initiator, _, bound) = until_bound(&source, &target, HERE, HERE);
    assert!(matches!(initiator.receive(bound), Err(KerberosError::OtherChannel)));
    assert_ne!(Speaker::Initiator.statement(&HERE), Speaker::Acceptor.statement(&HERE));
}

fn as_a_stranger() -> Result<Next<Arrival>, KerberosError> {
    let (source, target) = hosts();
    let (_, mut acceptor, bound) = until_bound(&source, &target, HERE, HERE);
    acceptor.receive(bound, &Only("farshore/another@TEST"))
}

#[test]
fn a_principal_that_was_not_assigned_is_named_and_not_let_in() {
    let error = as_a_stranger().unwrap_err();
    assert!(error.to_string().contains(SOURCE) && error.advice().contains("vault"), "{error}");
    let _bug = plant(Bug::AssignmentNotChecked);
    assert!(as_a_stranger().is_ok(), "the check above is what keeps it out");
}

#[test]
fn another_host_than_the_one_meant_is_not_believed() {
    let (source, _) = hosts();
    let (mut initiator, _) = begin(&source, HERE);
    let error = initiator.receive(Message::Token(b"welcome 1 farshore/other@TEST".to_vec())).unwrap_err();
    assert!(matches!(&error, KerberosError::OtherPrincipal { .. }), "{error}");
    assert!(error.to_string().contains("farshore/other@TEST answers, farshore/target@TEST was meant"));
}

#[test]
fn a_refusal_is_told_with_its_advice() {
    let (source, _) = hosts();
    let (mut initiator, _) = begin(&source, HERE);
    let refusal = KerberosError::ClockSkew { why: "too great".to_owned() }.as_refusal().unwrap();
    let error = initiator.receive(refusal).unwrap_err();
    assert!(error.to_string().contains("clocks") && error.advice().contains("synchronise"), "{error}");
    assert!(error.as_refusal().is_none(), "a refusal is not answered");
}

#[test]
fn what_is_on_the_targets_disks_is_not_told_to_strangers() {
    let error = KerberosError::NoKeytab { path: "/etc/secret".into(), why: "denied".to_owned() };
    let Some(Message::Refusal { what, advice }) = error.as_refusal() else { panic!() };
    assert!(!format!("{what}{advice}").contains("secret"), "{what} {advice}");
}

#[test]
fn tokens_are_made_up_cut_and_endless_in_vain() {
    let (source, target) = hosts();
    let (_, hello) = begin(&source, HERE);
    let Message::Token(hello) = hello else { panic!() };
    for len in 0..hello.len() {
        let mut acceptor = Acceptor::begin(&target, HERE).unwrap();
        // A name that is cut is another's name, which is not this host's, or not assigned.
        let taken = acceptor.receive(Message::Token(hello[..len].to_vec()), &SOURCE_ALONE);
        assert!(!matches!(taken, Ok(Next::Done(..))), "{len}");
    }
    let mut tokens = 0;
    while count(&mut tokens).is_ok() {}
    assert_eq!(tokens, TOKENS_MAX + 1);
    assert!(Message::Token(vec![0; TOKEN_BYTES_MAX + 1]).encode().is_err());
    let long = Message::Refusal { what: "x".repeat(9000), advice: String::new() };
    assert_eq!(long.encode().unwrap().len(), crate::HEAD_BYTES + REFUSAL_BYTES_MAX);
}
