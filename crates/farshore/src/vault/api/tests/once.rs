//! What is sent twice is done once, and what two do at a time is not lost.

use axum::{body::Body, http::Method};
use farshore_pki::{RegistrationKey, Role};
use farshore_types::SiteId;
use serde_json::{Value, json};

use super::world::{Reply, World, host_id};
use crate::vault::{desk::Books, papers::IssuedRow};

async fn post(world: &World, path: &str, key: &str) -> Reply {
    let request = world.request(Method::POST, path).header("idempotency-key", key);
    world.send(request.body(Body::empty()).unwrap()).await
}

async fn registered(world: &World, path: &str, key: &str) -> RegistrationKey {
    let reply = post(world, path, key).await;
    assert!(reply.status.is_success(), "{reply:?}");
    reply.body["key"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn of_registrations_that_are_asked_for_again_one_holds() {
    let world = World::with_machines(0).await;
    let site = SiteId(world.get("sites/east").await["id"].as_str().unwrap().parse().unwrap());
    let place = move |books: &mut Books<'_>| {
        books.papers.put_place(site, "east:7401");
        Ok(())
    };
    world.desk.change(place).await.unwrap();
    for path in ["sites/east/registration", "sites/east/host-registration"] {
        let first = registered(&world, path, path).await;
        let again = registered(&world, path, path).await;
        assert_ne!(first.id, again.id, "a key is shown once");
        let look = move |papers: &crate::vault::papers::Papers| {
            [first.id, again.id].map(|id| papers.registration(id).unwrap().0.withdrawn)
        };
        let withdrawn = world.desk.look(move |_, papers, _| look(papers)).await.unwrap();
        assert_eq!(withdrawn, [true, false], "{path}");
        // Without a key, each is one of its own.
        world.ok(Method::POST, path, &Value::Null).await;
        let still = world.desk.look(move |_, papers, _| papers.registration(again.id).unwrap().0.withdrawn);
        assert!(!still.await.unwrap());
    }
    let other = post(&world, "sites/west/registration", "sites/east/registration").await;
    assert_eq!((other.status.as_u16(), &other.body["code"]), (409, &json!("idempotency-key")));
    let empty = post(&world, "sites/west/registration", "").await;
    assert_eq!((empty.status.as_u16(), &empty.body["code"]), (422, &json!("idempotency-key")));
}

#[tokio::test]
async fn a_revocation_that_is_sent_again_revokes_nothing_that_was_issued_since() {
    let world = World::with_machines(0).await;
    let issue = |serial: &'static str| {
        world.desk.change(move |books: &mut Books<'_>| {
            books.papers.put_issued(&IssuedRow {
                serial: serial.parse().unwrap(),
                role: Role::Host,
                holder: host_id(0).0,
                name: "host0".to_owned(),
                until: i64::MAX,
                revoked: None,
            });
            Ok(())
        })
    };
    issue("0a").await.unwrap();
    assert_eq!(post(&world, "hosts/host0/revocation", "one").await.body["certificates"], 1);
    issue("0b").await.unwrap();
    assert_eq!(post(&world, "hosts/host0/revocation", "one").await.body["certificates"], 1, "as before");
    assert_eq!(post(&world, "hosts/host0/revocation", "two").await.body["certificates"], 1, "that of since");
    assert_eq!(post(&world, "hosts/host0/revocation", "three").await.body["certificates"], 0);
}

#[tokio::test]
async fn who_changes_what_somebody_has_changed_meanwhile_is_told() {
    let world = World::with_machines(0).await;
    let version = |policy: &Value| policy["version"].as_str().unwrap().to_owned();
    let seen = version(&world.get("policies/gold").await);
    let path = format!("policies/gold?version={seen}");
    world.ok(Method::PATCH, &path, &json!({ "copy_frequency_secs": 10 })).await;
    let now = version(&world.get("policies/gold").await);
    assert_ne!(seen, now);
    let change = json!({ "copy_frequency_secs": 60 });
    let told = world.refused(Method::PATCH, &path, &change, "changed-meanwhile").await;
    assert!(told["detail"].as_str().unwrap().contains(&now), "{told}");
    world.ok(Method::PATCH, &format!("policies/gold?version={now}"), &change).await;
    world.ok(Method::PATCH, "policies/gold", &json!({ "copy_frequency_secs": 30 })).await;
    assert_eq!(version(&world.get("policies/gold").await), seen, "it says the same again");
}
