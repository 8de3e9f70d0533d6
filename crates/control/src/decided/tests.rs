//! Documents of one key, as vaults wrote them that did not know all of each other.

use std::collections::BTreeMap;

use farshore_protection::Life;
use farshore_types::{Epoch, HostId, MachineId, VaultId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{Compression, Endpoint, InitialCopy, Intent, KeepPoints, Key, Settings, Term, Wire};

fn version(term: u64, vault: u128, generation: u64) -> Version {
    Version { term: Term { number: term, vault: VaultId(Uuid::from_u128(vault)) }, generation }
}

fn body(limit: u64, intent: Intent) -> Body {
    let end = |n: u128| Endpoint {
        host: HostId(Uuid::from_u128(n)),
        name: format!("h{n}"),
        address: format!("h{n}:7411"),
    };
    Body::Protection(Box::new(Protection {
        machine: MachineId(Uuid::from_u128(7)),
        name: "m7".to_owned(),
        epoch: Epoch { number: 1, token: 1 },
        source: end(1),
        target: end(2),
        intent,
        initial: InitialCopy::Now,
        resync: 0,
        excluded: std::collections::BTreeSet::new(),
        settings: Settings {
            copy_frequency_secs: 30,
            app_consistent_secs: None,
            retention: KeepPoints { every_point_secs: 1, hourly_secs: 1, daily_secs: 1, points_max: 1 },
            compression: Compression::Auto,
            replica_compression: true,
            small_writes: true,
            wire: Wire::Certificate,
            bandwidth: Some(limit),
            bandwidth_windows: Vec::new(),
            resync_window: None,
        },
        place: None,
        networks: BTreeMap::new(),
        networks_back: BTreeMap::new(),
        addresses: Vec::new(),
        twin: None,
        life: None,
    }))
}

fn first(version: Version, body: Body) -> Document {
    let key = Key::Protection(MachineId(Uuid::from_u128(7)));
    Document::new(key, version, [HostId(Uuid::from_u128(1))].into(), body)
}

fn then(before: &Document, version: Version, body: Body) -> Document {
    first(version, body).after(before)
}

fn says(document: &Document) -> Option<(u64, Intent)> {
    match &document.body {
        Body::Protection(body) => Some((body.settings.bandwidth.unwrap_or_default(), body.intent)),
        _ => None,
    }
}

#[test]
fn what_was_only_written_anew_is_beaten_by_what_was_decided_after_it() {
    let old = first(version(1, 1, 4), body(1, Intent::Replicate));
    let later = then(&old, version(1, 1, 5), body(2, Intent::Replicate));
    let anew = then(&old, version(2, 2, 5), body(1, Intent::Replicate));
    let united = anew.united(&later);
    assert_eq!(says(&united), Some((2, Intent::Replicate)));
    assert_eq!(united.version, version(2, 2, 5), "and it is written above both");
    assert_eq!(says(&later.united(&anew)), Some((2, Intent::Replicate)));
}

#[test]
fn each_part_is_as_it_was_decided_last() {
    let old = first(version(1, 1, 4), body(1, Intent::Replicate));
    let later = then(&old, version(1, 1, 5), body(2, Intent::Replicate));
    let paused = then(&old, version(2, 2, 5), body(1, Intent::Pause));
    assert_eq!(says(&paused.united(&later)), Some((2, Intent::Pause)));
    let changed = then(&old, version(2, 2, 5), body(3, Intent::Replicate));
    assert_eq!(says(&changed.united(&later)), Some((3, Intent::Replicate)));
}

#[test]
fn an_end_that_was_not_known_stays_and_a_new_beginning_goes_before_an_old_end() {
    let removed = || Body::Removed { why: "disabled".to_owned(), owner: None };
    let old = first(version(1, 1, 4), body(1, Intent::Replicate));
    let ended = then(&old, version(1, 1, 5), removed());
    let anew = then(&old, version(2, 2, 5), body(1, Intent::Pause));
    assert_eq!(says(&anew.united(&ended)), None, "paused by somebody who did not know");
    let ended_too = then(&anew, version(2, 2, 6), removed());
    let again = then(&ended_too, version(2, 2, 7), body(1, Intent::Replicate));
    assert!(says(&again.united(&ended)).is_some());
}

#[test]
fn the_machine_is_where_the_higher_epoch_says() {
    let old = first(version(1, 1, 4), body(1, Intent::Replicate));
    let Body::Protection(mut turned) = body(1, Intent::Replicate) else { unreachable!() };
    (turned.source, turned.target) = (turned.target, turned.source);
    turned.epoch = Epoch { number: 2, token: 2 };
    let turned = then(&old, version(1, 1, 5), Body::Protection(turned));
    let Body::Protection(mut moved) = body(1, Intent::Replicate) else { unreachable!() };
    moved.target.host = HostId(Uuid::from_u128(3));
    let moved = then(&old, version(2, 2, 5), Body::Protection(moved));
    let Body::Protection(united) = moved.united(&turned).body else { unreachable!() };
    assert_eq!((united.epoch.number, united.source.host), (2, HostId(Uuid::from_u128(2))));
}

/// Vaults that are restored from what earlier ones wrote, and change something or nothing.
fn histories() -> impl Strategy<Value = Vec<Document>> {
    let step = (any::<prop::sample::Index>(), any::<bool>(), prop::option::of((0u64..4, any::<bool>())));
    prop::collection::vec(step, 1..12).prop_map(|steps| {
        let mut all = vec![first(version(1, 1, 1), body(0, Intent::Replicate))];
        for (from, restored, change) in steps {
            let before = &all[from.index(all.len())];
            // Within a term nothing is forgotten.
            let of_term = |document: &&Document| document.version.term == before.version.term;
            let before = if restored { before } else { all.iter().rfind(of_term).unwrap_or(before) }.clone();
            let vault = all.len() as u128 + 1;
            let term = if restored {
                version(before.version.term.number + 1, vault, 0).term
            } else {
                before.version.term
            };
            let now = match (change, &before.body) {
                (None, body) => body.clone(),
                (Some((limit, paused)), _) => {
                    body(limit, if paused { Intent::Pause } else { Intent::Replicate })
                }
            };
            all.push(then(&before, before.version.next(term), now));
        }
        all
    })
}

proptest! {
    #[test]
    fn in_whatever_order_documents_are_learned_what_comes_of_it_is_the_same(all in histories(), order in any::<prop::sample::Index>()) {
        let fold = |all: &[Document]| {
            all[1..].iter().fold(all[0].clone(), |united, document| united.united(document))
        };
        let mut turned = all.clone();
        turned.rotate_left(order.index(all.len()));
        let (one, other) = (fold(&all), fold(&turned));
        prop_assert_eq!(&one.body, &other.body);
        prop_assert_eq!(&one.decided, &other.decided);
        let twice = one.united(&other);
        prop_assert_eq!(&twice.body, &one.body);
    }
}

/// A body whose life is this one.
fn living(life: &Life) -> Body {
    let Body::Protection(mut protection) = body(1, Intent::Replicate) else { unreachable!() };
    protection.epoch = life.epoch;
    protection.life = Some(life.clone());
    Body::Protection(protection)
}

fn life_of(document: &Document) -> Option<&Life> {
    let Body::Protection(body) = &document.body else { return None };
    body.life.as_ref()
}

#[test]
fn the_life_that_went_further_is_learned_whoever_wrote_it_anew_and_a_later_pause_stays() {
    let [here, there] = [1, 2].map(|n| HostId(Uuid::from_u128(n)));
    let begun = Life::begin(here, there, Epoch { number: 1, token: 1 });
    let before = first(version(1, 1, 1), living(&begun));
    let over = Life { version: 5, issued: Epoch { number: 2, token: 9 }, ..begun.clone() };
    let further = then(&before, version(1, 1, 2), living(&over));
    // A vault that was restored from of before that has paused it, under its higher term.
    let anew = then(&before, version(2, 2, 9), living(&Life { paused: true, ..begun.clone() }));
    for united in [anew.united(&further), further.united(&anew)] {
        assert_eq!(life_of(&united), Some(&Life { paused: true, ..over.clone() }));
    }
    let before_lives = then(&before, version(2, 2, 9), body(1, Intent::Replicate));
    assert_eq!(life_of(&before_lives.united(&further)), Some(&over));
}
