//! What a site server serves, merges, notices, and refuses.

mod chance;
mod world;

use std::time::Duration;

use farshore_control::{
    Key, Order,
    report::ReportReply,
    request::{Answer, Ending, Outcome},
    sync::{Poll, SiteReply},
};
use farshore_types::RequestId;
use uuid::Uuid;

use super::{Event, HOST_SILENT, IN_CONTACT, SILENCE_TOLD, VAULT_SILENT};
use world::{HOST, OTHER, Of, Site, deletion, document, report, term};

const S: fn(u64) -> Duration = Duration::from_secs;

fn ask(cursor: Option<farshore_control::sync::Cursor>) -> Poll {
    Poll { cursor, term: None, wait_secs: 0 }
}

#[test]
fn documents_go_to_their_hosts_once_by_cursor_and_again_after_a_restart() {
    let mut site = Site::new();
    assert_eq!(site.core.poll(HOST, &ask(None), S(0)), None, "no vault has spoken");
    site.vault_says(term(1), vec![document(1, 1, &[HOST]), document(2, 1, &[OTHER])], S(1));
    let first = site.core.poll(HOST, &ask(None), S(2)).unwrap();
    assert_eq!(first.documents, [document(1, 1, &[HOST])]);
    assert_eq!(site.core.poll(HOST, &ask(Some(first.cursor)), S(3)), None);
    site.vault_says(term(1), vec![document(1, 2, &[HOST])], S(4));
    let second = site.core.poll(HOST, &ask(Some(first.cursor)), S(5)).unwrap();
    assert_eq!(second.documents, [document(1, 2, &[HOST])]);
    site.restart(S(6));
    let again = site.core.poll(HOST, &ask(Some(second.cursor)), S(7)).unwrap();
    assert_eq!(again.documents, [document(1, 2, &[HOST])], "another run counts anew");
}

#[test]
fn a_site_server_that_lost_its_disk_has_everything_again_from_the_vault_and_its_hosts() {
    let mut site = Site::new();
    let all = || vec![document(1, 4, &[HOST]), document(2, 1, &[OTHER])];
    site.vault_says(term(2), all(), S(1));
    let before = site.core.poll(HOST, &ask(None), S(2)).unwrap();
    site.lose_disk(S(3));
    // Its hosts go on with what they hold, and what they say is kept for the vault.
    assert_eq!(site.core.poll(HOST, &ask(Some(before.cursor)), S(3)), None);
    site.core.take_report(HOST, report(HOST, 8), S(3));
    assert_eq!(site.core.question(0).cursor, None, "it asks the vault for everything");
    site.vault_says(term(2), all(), S(4));
    let again = site.core.poll(HOST, &ask(Some(before.cursor)), S(5)).unwrap();
    assert_eq!(again.documents, before.documents, "nobody's counting of before hides anything");
    assert_eq!(site.core.report(500, S(5))[0].1.sequence, 8);
}

#[test]
fn what_the_vault_leaves_out_is_kept_and_a_lower_term_is_not_followed() {
    let mut site = Site::new();
    site.vault_says(term(2), vec![document(1, 1, &[HOST])], S(1));
    site.vault_says(term(2), Vec::new(), S(2));
    for speaker in [term(1), farshore_control::Term { number: 2, ..term(9) }] {
        assert!(!site.vault_says(speaker, vec![document(1, 9, &[OTHER])], S(3)));
        let event = site.core.take_events().pop();
        assert!(matches!(event, Some(Event::NotFollowed { .. })), "{event:?}");
    }
    site.restart(S(4));
    assert_eq!(
        site.core.poll(HOST, &ask(None), S(5)).unwrap().documents,
        [document(1, 1, &[HOST]).of(term(2))]
    );
    site.vault_says(term(3), Vec::new(), S(6));
    let served = site.core.poll(HOST, &ask(None), S(7)).unwrap();
    assert_eq!((served.term, served.documents.len()), (term(3), 1), "kept over a change of vault");
}

/// Rule R7: what deletes is served from the vault's mouth alone.
#[test]
fn a_deletion_is_never_served_from_what_was_kept() {
    let mut site = Site::new();
    site.vault_says(term(1), vec![document(1, 1, &[HOST]), deletion(5, &[HOST])], S(1));
    let served = site.core.poll(HOST, &ask(None), S(2)).unwrap();
    assert!(served.documents.iter().any(|d| d.key == deletion(5, &[HOST]).key) && served.clock_ms.is_some());
    let late = site.core.poll(HOST, &ask(None), S(1) + IN_CONTACT).unwrap();
    assert_eq!((late.documents.len(), late.clock_ms), (1, None), "the contact is too long ago");
    site.core.vault_failed();
    let served = site.core.poll(HOST, &ask(None), S(3)).unwrap();
    assert_eq!((served.documents.len(), served.clock_ms), (1, None));
    let cursor = served.cursor;
    // The contact is back, but not everything was heard yet: it may have been withdrawn.
    site.vault_says_more(term(1), Vec::new(), S(4));
    assert_eq!(site.core.poll(HOST, &ask(Some(cursor)), S(4)), None);
    site.vault_says(term(1), Vec::new(), S(5));
    let served = site.core.poll(HOST, &ask(Some(cursor)), S(5)).unwrap();
    assert_eq!(served.documents, [deletion(5, &[HOST])], "the vault had nothing against it");
    site.restart(S(6));
    site.vault_says(term(1), Vec::new(), S(7));
    assert_eq!(site.core.poll(HOST, &ask(None), S(8)).unwrap().documents.len(), 1, "it was not kept");
}

#[test]
fn of_each_host_the_newest_report_goes_up_until_the_vault_has_it() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    site.core.take_report(HOST, report(HOST, 1), S(2));
    site.core.take_report(HOST, report(HOST, 3), S(3));
    site.core.take_report(HOST, report(HOST, 2), S(4));
    let up = site.core.report(500, S(5));
    assert_eq!((up.len(), up[0].0, up[0].1.sequence), (1, 2000, 3), "an older one says nothing new");
    // The answer is lost; a newer report came meanwhile.
    site.core.take_report(HOST, report(HOST, 4), S(6));
    assert_eq!(site.core.report(500, S(7))[0].1.sequence, 4);
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, ReportReply::default())] });
    assert!(!site.core.has_reports());
    site.vault_says(term(2), Vec::new(), S(8));
    assert!(site.core.has_reports(), "another vault may know nothing");
}

fn outcome(id: u128, result: Ending) -> Outcome {
    Outcome { id: RequestId(Uuid::from_u128(id)), host: HOST, result }
}

#[test]
fn an_outcome_stays_until_the_vault_has_it_and_the_host_is_told_so() {
    let (mut site, done) = (Site::new(), Ending::Done { answer: Answer::Done });
    site.vault_says(term(1), Vec::new(), S(1));
    let mut told = report(HOST, 1);
    told.outcomes = vec![outcome(5, done.clone())];
    assert!(site.core.take_report(HOST, told.clone(), S(2)).unwrap().acknowledged.is_empty());
    // It is not told any more, for whatever reason: the vault gets it all the same.
    site.core.take_report(HOST, report(HOST, 2), S(3));
    assert_eq!(site.core.report(500, S(4))[0].1.outcomes, [outcome(5, done)]);
    let id = RequestId(Uuid::from_u128(5));
    let reply = ReportReply { acknowledged: vec![id], ..ReportReply::default() };
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, reply)] });
    told.sequence = 3;
    assert_eq!(site.core.take_report(HOST, told, S(5)).unwrap().acknowledged, [id]);
    assert!(site.core.report(500, S(6))[0].1.outcomes.is_empty(), "not told twice");
    assert!(site.core.take_report(HOST, report(HOST, 4), S(7)).unwrap().acknowledged.is_empty());
}

#[test]
fn an_inventory_is_asked_for_once_and_goes_up_once() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    let mut told = report(HOST, 1);
    told.inventory_digest = "x".to_owned();
    assert!(site.core.take_report(HOST, told.clone(), S(2)).unwrap().wants_inventory);
    (told.sequence, told.inventory) = (2, Some(farshore_control::Inventory::default()));
    assert!(!site.core.take_report(HOST, told.clone(), S(3)).unwrap().wants_inventory);
    (told.sequence, told.inventory) = (3, None);
    site.core.take_report(HOST, told.clone(), S(4));
    assert!(site.core.report(500, S(5))[0].1.inventory.is_some(), "it was told by an earlier one");
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, ReportReply::default())] });
    told.sequence = 4;
    site.core.take_report(HOST, told, S(6));
    assert!(site.core.report(500, S(7))[0].1.inventory.is_none());
    let wants = ReportReply { wants_inventory: true, ..ReportReply::default() };
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, wants)] });
    assert!(site.core.has_reports());
    assert!(site.core.report(500, S(8))[0].1.inventory.is_some());
}

#[test]
fn a_vault_that_is_learning_gets_the_hosts_documents() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    site.core.take_report(HOST, report(HOST, 1), S(2));
    site.core.report(500, S(2));
    let wants = ReportReply { wants_documents: true, ..ReportReply::default() };
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, wants)] });
    assert!(site.core.take_report(HOST, report(HOST, 2), S(3)).unwrap().wants_documents);
    let mut told = report(HOST, 3);
    told.documents = vec![document(1, 1, &[HOST])];
    assert!(!site.core.take_report(HOST, told, S(4)).unwrap().wants_documents);
    site.core.take_report(HOST, report(HOST, 4), S(5));
    let up = site.core.report(500, S(6));
    assert_eq!((up[0].1.sequence, up[0].1.documents.len()), (4, 1), "kept until the vault has them");
    site.core.reported(&SiteReply { term: term(1), hosts: vec![(HOST, ReportReply::default())] });
    assert!(site.core.report(500, S(7)).is_empty());
}

#[test]
fn silence_is_noticed_once_and_its_end_too() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    site.core.take_report(HOST, report(HOST, 1), S(1));
    site.core.take_events();
    site.core.tick(S(1) + HOST_SILENT);
    site.core.tick(S(2) + HOST_SILENT);
    assert_eq!(site.core.take_events(), [Event::HostSilent(HOST)]);
    site.core.tick(S(1) + VAULT_SILENT);
    assert_eq!(site.core.take_events(), [Event::VaultSilent]);
    assert_eq!(site.core.problems(S(100)).len(), 2);
    assert_eq!(site.core.next_tick(), None);
    site.core.take_report(HOST, report(HOST, 2), S(101));
    site.vault_says(term(1), Vec::new(), S(101));
    assert_eq!(site.core.take_events(), [Event::HostBack(HOST), Event::VaultBack]);
    assert!(site.core.problems(S(101)).is_empty());
}

#[test]
fn a_superseded_vault_is_told_of_the_higher_term_by_way_of_the_hosts() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    let poll = Poll { cursor: None, term: Some(term(4)), wait_secs: 0 };
    site.core.poll(HOST, &poll, S(2));
    assert_eq!(site.core.question(0).term, Some(term(4)));
    assert_eq!(site.core.term().unwrap().order_of(&term(1)), Order::Same, "it follows only a vault");
    assert!(site.core.documents().all(|document| matches!(document.key, Key::Host(_))));
}

#[test]
fn a_silent_vault_is_noticed_here_and_told_to_it_when_it_is_back() {
    let mut site = Site::new();
    site.vault_says(term(1), Vec::new(), S(1));
    let silent = S(1) + VAULT_SILENT;
    site.core.tick(silent - S(1));
    assert!(site.core.own_problems(silent).is_empty() && !site.core.problems(silent).iter().any(is_vault));
    site.core.tick(silent);
    assert!(site.core.problems(silent).iter().any(is_vault), "it is shown here");
    site.vault_says(term(1), Vec::new(), S(301));
    let back = S(301);
    let told = site.core.own_problems(back);
    assert_eq!(told.len(), 1);
    assert!(told[0].code == "vault-was-silent" && told[0].what.contains("300 s"), "{told:?}");
    assert!(!site.core.problems(back).iter().any(is_vault));
    assert!(site.core.own_problems(back + SILENCE_TOLD).is_empty(), "not for ever");
}

fn is_vault(problem: &farshore_control::report::Problem) -> bool {
    problem.code == "vault-silent"
}
