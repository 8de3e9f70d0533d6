//! What site servers ask of the vault: documents, by a long poll; their reports taken; hosts
//! introduced; their own certificates renewed; the warm copy handed out. A site server speaks for its own site alone.

use std::time::Duration;

use axum::{Router, extract::State, routing::post};
use farshore_channel::{Json, Peer, Refusal};
use farshore_control::{
    Term,
    copy::{CopyAsk, CopyPiece, SITE_COPY_PATH},
    enrolment::{Enrolled, Enrolment, INTRODUCE_PATH, Introduction, RENEW_PATH, Renewal, Renewed},
    hello::{HelloReply, SITE_ENROL_PATH, SITE_HELLO_PATH, SiteHello},
    sync::{Documents, POLL_SECS_MAX, Poll, SITE_POLL_PATH, SITE_REPORT_PATH, SiteReply, SiteReport},
};
use farshore_pki::Role;
use farshore_types::SiteId;
use farshore_vault::Core;
use tokio::time::{Instant, timeout_at};

use super::{
    copies::Copies,
    desk::Desk,
    issuer::{Issuer, refused},
};

#[derive(Clone)]
struct Members {
    desk: Desk,
    issuer: Issuer,
    copies: Copies,
}

/// The routes for who has a certificate.
pub(crate) fn router(desk: Desk, issuer: Issuer, copies: Copies) -> Router {
    Router::new()
        .route(SITE_POLL_PATH, post(poll))
        .route(SITE_REPORT_PATH, post(report))
        .route(INTRODUCE_PATH, post(introduce))
        .route(RENEW_PATH, post(renew))
        .route(SITE_ENROL_PATH, post(enrol_host))
        .route(SITE_HELLO_PATH, post(hello))
        .route(SITE_COPY_PATH, post(copy))
        .with_state(Members { desk, issuer, copies })
}

/// The site for which a peer speaks.
fn site_of(peer: &Peer) -> Result<SiteId, Refusal> {
    peer.require(Role::Site)?;
    Ok(SiteId(peer.identity.id))
}

/// Answers at once where there is something new, else when there is, or when the time is up.
async fn poll(
    State(members): State<Members>,
    peer: Peer,
    Json(asked): Json<Poll>,
) -> Result<Json<Documents>, Refusal> {
    let site = site_of(&peer)?;
    let until = Instant::now() + Duration::from_secs(asked.wait_secs.min(POLL_SECS_MAX));
    let mut news = members.desk.news();
    loop {
        // Before the look: what comes after it wakes.
        news.borrow_and_update();
        let again = asked.clone();
        let found = members.desk.look(move |core, _, at| core.poll(site, &again, at.wall_ms)).await;
        let documents = match (found.and_then(std::convert::identity), asked.term) {
            (Ok(documents), _) => documents,
            (Err(problem), followed) => {
                if let Some(term) = followed.filter(|_| problem.code == "superseded") {
                    // This vault is to know it too: a conflict of terms ends by a person alone.
                    let hear = move |books: &mut super::desk::Books<'_>| {
                        let before = books.core.superseded_by();
                        books.core.hear_of(term);
                        tell_if_superseded(books.core, before);
                        Ok(())
                    };
                    members.desk.change(hear).await.map_err(refused)?;
                }
                return Err(refused(problem));
            }
        };
        let is_new = asked.cursor.is_none_or(|cursor| cursor.term != documents.term);
        if is_new || !documents.documents.is_empty() {
            return Ok(Json(documents));
        }
        match timeout_at(until, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Ok(Json(documents)),
        }
    }
}

async fn report(
    State(members): State<Members>,
    peer: Peer,
    Json(report): Json<SiteReport>,
) -> Result<Json<SiteReply>, Refusal> {
    peer.require_member(Role::Site, report.site.0)?;
    let take = move |books: &mut super::desk::Books<'_>| {
        let (at, before) = (books.at, books.core.superseded_by());
        let reply = books.core.site_report(&report, &at);
        tell_if_superseded(books.core, before);
        reply
    };
    members.desk.change(take).await.map(Json).map_err(refused)
}

/// Says once, and at each start, that another vault commands.
pub(super) fn tell_if_superseded(core: &Core, before: Option<Term>) {
    if let (None, Some(term)) = (before, core.superseded_by()) {
        tracing::warn!(
            term = term.number,
            own = core.term().number,
            "another vault is followed: this one commands nothing any more; use that one, and stop this one"
        );
    }
}

async fn introduce(
    State(members): State<Members>,
    peer: Peer,
    Json(asked): Json<Introduction>,
) -> Result<Json<Enrolled>, Refusal> {
    let site = site_of(&peer)?;
    members.issuer.introduce(site, asked).await.map(Json)
}

async fn renew(
    State(members): State<Members>,
    peer: Peer,
    Json(asked): Json<Renewal>,
) -> Result<Json<Renewed>, Refusal> {
    site_of(&peer)?;
    members.issuer.renew(&peer, &asked).await.map(Json)
}

async fn enrol_host(
    State(members): State<Members>,
    peer: Peer,
    Json(asked): Json<Enrolment>,
) -> Result<Json<Enrolled>, Refusal> {
    let site = site_of(&peer)?;
    members.issuer.enrol_host(site, asked).await.map(Json)
}

async fn hello(
    State(members): State<Members>,
    peer: Peer,
    Json(hello): Json<SiteHello>,
) -> Result<Json<HelloReply>, Refusal> {
    peer.require_member(Role::Site, hello.site.0)?;
    members.issuer.hello(hello).await.map(Json)
}

async fn copy(
    State(members): State<Members>,
    peer: Peer,
    Json(asked): Json<CopyAsk>,
) -> Result<Json<CopyPiece>, Refusal> {
    peer.require_member(Role::Site, asked.site.0)?;
    members.copies.piece(&asked).await.map(Json)
}
