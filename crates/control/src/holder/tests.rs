//! Documents as they really arrive: late, twice, out of order, from two vaults.

use farshore_types::{HostId, VaultId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::HostDocument;

fn host(n: u128) -> HostId {
    HostId(Uuid::from_u128(n))
}

fn document(term: u64, vault: u128, generation: u64, name: &str) -> Document {
    let version = Version { term: Term { number: term, vault: VaultId(Uuid::from_u128(vault)) }, generation };
    let body = Body::Host(HostDocument { name: name.to_owned(), ..HostDocument::default() });
    Document::new(Key::Host(host(1)), version, [host(1)].into(), body)
}

#[test]
fn an_earlier_vault_says_nothing_new_even_about_new_things() {
    let mut holder = Holder::default();
    assert_eq!(holder.take(&document(2, 2, 1, "new"), None), Verdict::Taken);
    let other = Document { key: Key::Host(host(2)), ..document(1, 1, 50, "old") };
    assert!(matches!(holder.take(&other, None), Verdict::Stale { .. }));
    let rival = Document { key: Key::Host(host(2)), ..document(2, 3, 50, "rival") };
    assert!(matches!(holder.take(&rival, None), Verdict::Conflict { .. }));
    assert_eq!(holder.documents().count(), 1);
}

#[test]
fn nothing_goes_because_it_is_not_mentioned_and_only_what_was_removed_is_forgotten() {
    let mut holder = Holder::default();
    holder.take(&document(1, 1, 1, "h"), None);
    assert!(!holder.forget_removed(&Key::Host(host(1))));
    let removed =
        Document { body: Body::Removed { why: "gone".to_owned(), owner: None }, ..document(1, 1, 2, "h") };
    assert_eq!(holder.take(&removed, None), Verdict::Taken);
    assert!(holder.forget_removed(&Key::Host(host(1))));
}

#[test]
fn a_body_of_another_kind_is_refused() {
    let odd =
        Document { key: Key::Request(farshore_types::RequestId(Uuid::nil())), ..document(1, 1, 1, "h") };
    assert!(matches!(Holder::default().take(&odd, None), Verdict::Refused { .. }));
}

proptest! {
    /// In whatever order and however often documents of one vault arrive, the newest is held.
    #[test]
    fn any_order_of_arrival_ends_with_the_newest(order in proptest::collection::vec(1u64..20, 1..60)) {
        let mut holder = Holder::default();
        for generation in &order {
            holder.take(&document(1, 1, *generation, &generation.to_string()), None);
        }
        let newest = order.iter().max().copied();
        prop_assert_eq!(holder.get(&Key::Host(host(1))).map(|d| d.version.generation), newest);
    }
}
