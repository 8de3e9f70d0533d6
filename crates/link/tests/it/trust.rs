//! Who is believed, and what the other is told.

use std::time::{Duration, SystemTime};

use farshore_link::{Endpoint, LinkError, Session, SessionOptions, Timing};
use farshore_pki::{Authority, Lifetime};

use crate::world::{EPOCH, Site, a_day, greeting, identity};

fn expired() -> Lifetime {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Lifetime { from: now - 3 * day, until: now - day }
}

async fn refused(site: &Site, endpoint: &Endpoint, authority: &Authority, lifetime: Lifetime) -> LinkError {
    let (source, _dir) = identity(authority, "source.example", lifetime);
    Session::connect(endpoint, &source, greeting(EPOCH), SessionOptions::default())
        .await
        .map(|_| site.address.clone())
        .unwrap_err()
}

#[tokio::test]
async fn a_source_of_another_authority_is_told_so() {
    let site = Site::start(Timing::default()).await;
    let stranger = Authority::create("Another CA").unwrap();
    let error = refused(&site, &site.endpoint(), &stranger, a_day()).await;
    let LinkError::Untrusted { why, advice, .. } = &error else { panic!("{error}") };
    assert!(why.contains("target.example") && why.contains("not signed by this host's authority"), "{why}");
    assert!(advice.contains("one authority") && !error.is_recoverable());
    site.stop().await;
}

#[tokio::test]
async fn a_source_learns_that_its_own_certificate_expired_before_it_connects() {
    let site = Site::start(Timing::default()).await;
    let error = refused(&site, &site.endpoint(), &site.authority, expired()).await;
    let LinkError::Identity(cause) = &error else { panic!("{error}") };
    assert!(cause.to_string().contains("certificate of source.example expired on 20"), "{cause}");
    site.stop().await;
}

#[tokio::test]
async fn a_target_with_an_expired_certificate_is_named_with_the_date() {
    let site = Site::start_as(Timing::default(), expired()).await;
    let error = refused(&site, &site.endpoint(), &site.authority, a_day()).await;
    let LinkError::Untrusted { why, .. } = &error else { panic!("{error}") };
    assert!(why.contains("the certificate of target.example") && why.contains("expired on 20"), "{why}");
    site.stop().await;
}

#[tokio::test]
async fn another_host_at_the_targets_address_is_not_believed() {
    let site = Site::start(Timing::default()).await;
    let endpoint = Endpoint { server_name: "elsewhere.example".to_owned(), ..site.endpoint() };
    let error = refused(&site, &endpoint, &site.authority, a_day()).await;
    let LinkError::Untrusted { why, .. } = &error else { panic!("{error}") };
    assert!(why.contains("not one of elsewhere.example"), "{why}");
    site.stop().await;
}

#[tokio::test]
async fn nobody_listening_is_worth_another_try() {
    let site = Site::start(Timing::default()).await;
    let endpoint = site.endpoint();
    let authority = Authority::create("CA").unwrap();
    site.stop().await;
    let (source, _dir) = identity(&authority, "source.example", a_day());
    let error =
        Session::connect(&endpoint, &source, greeting(EPOCH), SessionOptions::default()).await.unwrap_err();
    assert!(error.is_recoverable() && error.to_string().contains("no agent listens there"), "{error}");
}
