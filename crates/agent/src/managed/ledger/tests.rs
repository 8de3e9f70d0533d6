//! What the ledger takes, keeps and refuses.

use std::collections::BTreeSet;

use farshore_control::{
    Compression, Endpoint, InitialCopy, Intent, KeepPoints, Settings, Version, Wire,
    request::{Action, Answer},
    sync::Cursor,
};
use farshore_types::{SiteId, VaultId};
use uuid::Uuid;

use super::*;

const ME: HostId = HostId(Uuid::from_u128(1));
const OTHER: HostId = HostId(Uuid::from_u128(2));
const MACHINE: MachineId = MachineId(Uuid::from_u128(7));

fn term(number: u64, vault: u128) -> Term {
    Term { number, vault: VaultId(Uuid::from_u128(vault)) }
}

fn epoch(number: u64, token: u128) -> Epoch {
    Epoch { number, token }
}

fn endpoint(host: HostId) -> Endpoint {
    Endpoint { host, name: format!("{}.example", host.0.as_u128()), address: "127.0.0.1:1".to_owned() }
}

fn settings() -> Settings {
    Settings {
        copy_frequency_secs: 30,
        app_consistent_secs: None,
        retention: KeepPoints { every_point_secs: 1, hourly_secs: 0, daily_secs: 0, points_max: 10 },
        compression: Compression::Auto,
        replica_compression: true,
        small_writes: true,
        wire: Wire::Certificate,
        bandwidth: None,
        bandwidth_windows: Vec::new(),
        resync_window: None,
    }
}

fn protection(epoch: Epoch, source: HostId) -> Body {
    Body::Protection(Box::new(Protection {
        machine: MACHINE,
        name: "web1".to_owned(),
        epoch,
        source: endpoint(source),
        target: endpoint(if source == ME { OTHER } else { ME }),
        intent: Intent::Replicate,
        initial: InitialCopy::Now,
        resync: 0,
        excluded: BTreeSet::new(),
        settings: settings(),
        place: None,
        networks: BTreeMap::new(),
        networks_back: BTreeMap::new(),
        addresses: Vec::new(),
        twin: None,
        life: None,
    }))
}

fn document(key: Key, generation: u64, body: Body) -> Document {
    let version = Version { term: term(1, 1), generation };
    Document::new(key, version, [ME, OTHER].into(), body)
}

fn protected(generation: u64, epoch: Epoch, source: HostId) -> Document {
    document(Key::Protection(MACHINE), generation, protection(epoch, source))
}

fn answer(term: Term, mut documents: Vec<Document>) -> Documents {
    documents.iter_mut().for_each(|document| document.version.term = term);
    let cursor = Cursor { term, sequence: 1 };
    Documents { term, cursor, documents, more: false, clock_ms: None }
}

fn ledger() -> Ledger {
    Ledger::restored(ME, Kept::default())
}

fn restart(ledger: &Ledger) -> Ledger {
    let text = serde_json::to_string(&ledger.kept()).unwrap();
    Ledger::restored(ME, serde_json::from_str(&text).unwrap())
}

#[test]
fn what_an_answer_leaves_out_stays() {
    let mut ledger = ledger();
    ledger.take(&answer(term(1, 1), vec![protected(1, epoch(1, 1), ME)]));
    let taken = ledger.take(&answer(term(1, 1), Vec::new()));
    assert!(!taken.dirty);
    let taken = ledger.take(&answer(term(2, 2), Vec::new()));
    assert!(taken.dirty && taken.changed.is_empty(), "only the term is news");
    assert!(restart(&ledger).protection(MACHINE).is_some());
}

#[test]
fn a_lower_term_and_a_second_vault_of_the_same_term_are_not_heard() {
    let mut ledger = ledger();
    ledger.take(&answer(term(2, 2), vec![protected(1, epoch(1, 1), ME)]));
    let removed = document(Key::Protection(MACHINE), 9, Body::Removed { why: String::new(), owner: None });
    for speaker in [term(1, 1), term(2, 3)] {
        let taken = ledger.take(&answer(speaker, vec![removed.clone()]));
        assert!(taken.unheard.is_some() && !taken.dirty, "{speaker:?}");
        assert!(ledger.protection(MACHINE).is_some());
    }
    let ledger = restart(&ledger);
    assert_eq!(ledger.term(), Some(term(2, 2)), "the term outlives a restart");
}

#[test]
fn an_epoch_never_goes_back_even_where_the_document_is_gone() {
    let mut ledger = ledger();
    ledger.take(&answer(term(1, 1), vec![protected(1, epoch(3, 3), ME)]));
    let mut ledger = restart(&ledger);
    let taken = ledger.take(&answer(term(2, 2), vec![protected(2, epoch(2, 2), OTHER)]));
    assert_eq!(taken.refused.len(), 1);
    assert_eq!(ledger.lineage(MACHINE).unwrap().epoch, epoch(3, 3));
    assert_eq!(ledger.protection(MACHINE).unwrap().source.host, ME);
}

#[test]
fn an_equal_epoch_of_another_owner_is_a_conflict_that_outlives_a_restart() {
    let mut ledger = ledger();
    ledger.take(&answer(term(1, 1), vec![protected(1, epoch(3, 3), ME)]));
    let taken = ledger.take(&answer(term(1, 1), vec![protected(2, epoch(3, 4), OTHER)]));
    assert!(taken.dirty);
    let mut ledger = restart(&ledger);
    let lineage = ledger.lineage(MACHINE).unwrap();
    assert!(lineage.may_write(ME, &epoch(3, 3)).is_err() && lineage.may_write(OTHER, &epoch(3, 4)).is_err());
    ledger.take(&answer(term(1, 1), vec![protected(3, epoch(4, 5), ME)]));
    assert!(ledger.lineage(MACHINE).unwrap().may_write(ME, &epoch(4, 5)).is_ok(), "the winner was declared");
}

#[test]
fn revocations_are_united_whoever_speaks() {
    let trust = |number: u64, pem: &str| {
        let (authority_pem, revoked_pem) = ("CA".to_owned(), pem.to_owned());
        Body::Trust(TrustDocument { authority_pem, revoked_pem, revoked_number: number })
    };
    let key = Key::Trust(SiteId(Uuid::nil()));
    let mut ledger = ledger();
    ledger.take(&answer(term(1, 1), vec![document(key.clone(), 1, trust(5, "five"))]));
    // A vault that was restored from before the last revocation.
    ledger.take(&answer(term(2, 2), vec![document(key, 2, trust(4, "four"))]));
    let held = ledger.trust().unwrap();
    assert_eq!((held.revoked_number, held.revoked_pem.as_str()), (5, "five"));
}

fn request(id: u128) -> Document {
    let id = RequestId(Uuid::from_u128(id));
    let request = Request { id, expires_ms: None, action: Action::Definition { machine: MACHINE } };
    document(Key::Request(id), 1, Body::Request(request))
}

#[test]
fn a_request_is_done_once_however_often_it_comes() {
    let (id, mut ledger) = (RequestId(Uuid::from_u128(5)), ledger());
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    assert_eq!(ledger.open_requests().len(), 1);
    ledger.begin(id);
    let mut ledger = restart(&ledger);
    assert!(ledger.open_requests()[0].1, "it was begun");
    ledger.end(id, Ending::Done { answer: Answer::Done });
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    assert!(ledger.open_requests().is_empty());
    let mut ledger = restart(&ledger);
    assert_eq!(ledger.outcomes().count(), 1, "kept until it is acknowledged");
    assert!(ledger.acknowledge(&[id]) && !ledger.acknowledge(&[id]));
    let mut ledger = restart(&ledger);
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    assert!(ledger.open_requests().is_empty(), "nor after that");
    assert_eq!(ledger.outcomes().count(), 0);
    let removed = document(Key::Request(id), 2, Body::Removed { why: "done".to_owned(), owner: None });
    ledger.take(&answer(term(1, 1), vec![removed]));
    assert!(ledger.holder().get(&Key::Request(id)).is_none(), "nothing is left of it");
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    assert!(ledger.open_requests().is_empty(), "a copy from before its end");
}

#[test]
fn a_request_that_was_withdrawn_is_not_begun() {
    let (id, mut ledger) = (RequestId(Uuid::from_u128(5)), ledger());
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    let removed =
        document(Key::Request(id), 2, Body::Removed { why: "changed my mind".to_owned(), owner: None });
    ledger.take(&answer(term(1, 1), vec![removed]));
    assert!(ledger.open_requests().is_empty());
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    assert!(ledger.open_requests().is_empty(), "a copy from before");
}

#[test]
fn a_restored_vault_that_asks_again_gets_an_answer_and_nothing_is_deleted_twice() {
    let (id, mut ledger) = (RequestId(Uuid::from_u128(5)), ledger());
    ledger.take(&answer(term(1, 1), vec![request(5)]));
    ledger.begin(id);
    ledger.end(id, Ending::Done { answer: Answer::Done });
    ledger.acknowledge(&[id]);
    let mut ledger = restart(&ledger);
    let anew = |document: Document| {
        let version = document.version.next(term(2, 2));
        Document { version, ..document }
    };
    ledger.take(&answer(term(2, 2), vec![anew(request(5))]));
    assert_eq!(ledger.open_requests().len(), 1, "what changes nothing is done again");
    let action = Action::DeleteReplica { machine: MACHINE, epoch: Epoch { number: 1, token: 1 } };
    let id = RequestId(Uuid::from_u128(6));
    let deletion = Request { id, expires_ms: Some(1), action };
    let deletion = document(Key::Request(id), 1, Body::Request(deletion));
    ledger.take(&answer(
        term(2, 2),
        vec![Document { version: deletion.version.next(term(2, 2)), ..deletion.clone() }],
    ));
    ledger.begin(id);
    ledger.end(id, Ending::Done { answer: Answer::Done });
    ledger.acknowledge(&[id]);
    ledger
        .take(&answer(term(3, 3), vec![Document { version: deletion.version.next(term(3, 3)), ..deletion }]));
    assert!(ledger.open_requests().iter().all(|(request, _)| request.id != id));
    assert!(ledger.outcomes().any(|outcome| outcome.id == id && outcome.result == Ending::Expired));
}

#[test]
fn another_hosts_request_is_none_of_ours() {
    let mut ledger = ledger();
    let theirs = Document { hosts: [OTHER].into(), ..request(5) };
    ledger.take(&answer(term(1, 1), vec![theirs]));
    assert!(ledger.open_requests().is_empty());
}

/// By the policy, points come and go; what a failed-over machine can be taken back to stays, however
/// the policy is changed meanwhile.
#[test]
fn history_stays_from_a_failover_until_the_other_way_has_a_point() {
    use farshore_protection::{Copying, Kind, Life, Stage};

    use crate::managed::wanted::{Pruning, pruning};
    let with = |generation: u64, life: Life| {
        let Body::Protection(mut body) = protection(life.epoch, life.source) else { unreachable!() };
        body.life = Some(life);
        let mut ledger = ledger();
        let body = document(Key::Protection(MACHINE), generation, Body::Protection(body));
        ledger.take(&answer(term(1, 1), vec![body]));
        pruning(&ledger, MACHINE)
    };
    let steady = Life { copying: Copying::Steady, ..Life::begin(OTHER, ME, epoch(1, 1)) };
    assert!(matches!(with(1, steady.clone()), Pruning::By(_)));
    let failed_over = |kind, copying| {
        let stage = Stage::FailedOver { kind, at: None, kept: BTreeSet::new() };
        Life { stage, copying, ..Life::begin(ME, OTHER, epoch(2, 2)) }
    };
    assert_eq!(with(2, failed_over(Kind::Unplanned, Copying::Off)), Pruning::Never);
    assert_eq!(with(2, failed_over(Kind::Planned, Copying::Steady)), Pruning::Never);
    let committed = Life { stage: Stage::Committed, ..failed_over(Kind::Unplanned, Copying::Off) };
    assert_eq!(with(3, committed.clone()), Pruning::Never);
    let reversed = Life { stage: Stage::Replicating, copying: Copying::Resync, ..committed };
    assert_eq!(with(4, reversed.clone()), Pruning::Never, "the other way has no point yet");
    assert!(matches!(with(5, Life { copying: Copying::Steady, ..reversed }), Pruning::By(_)));
    // What comes here from a machine that was moved there by plan is thinned out as ever.
    let over = failed_over(Kind::Planned, Copying::Steady);
    let here = Life { source: OTHER, target: ME, ..over };
    assert!(matches!(with(6, here), Pruning::By(_)));
}

#[test]
fn in_maintenance_only_the_last_cycle_of_a_machine_that_leaves_is_sent() {
    use farshore_control::{HostDocument, report::SourcePhase};
    use farshore_protection::{Copying, Facts, Input, Life, Operation, Order};

    use crate::managed::wanted::{Role, source};

    let life = Life { copying: Copying::Steady, ..Life::begin(ME, OTHER, epoch(1, 1)) };
    let order = Order::confirmed_at(Operation::PlannedFailover, life.version, 9);
    let leaves = life.step(&Input::Order(Box::new(order)), &Facts::well()).unwrap().life;
    let host = HostDocument { name: "one".to_owned(), maintenance: true, ..HostDocument::default() };
    let role = |generation, life: &Life| {
        let Body::Protection(body) = protection(epoch(1, 1), ME) else { unreachable!() };
        let body = Body::Protection(Box::new(Protection { life: Some(life.clone()), ..*body }));
        let documents = vec![
            document(Key::Host(ME), 1, Body::Host(host.clone())),
            document(Key::Protection(MACHINE), generation, body),
        ];
        let mut ledger = ledger();
        ledger.take(&answer(term(1, 1), documents));
        source(&ledger, ledger.protection(MACHINE).unwrap(), 0, true).unwrap()
    };
    assert_eq!(role(1, &life), Role::Rest(epoch(1, 1), SourcePhase::Paused));
    assert!(matches!(role(2, &leaves), Role::Run(_)), "it would be off until the maintenance ends");
}
