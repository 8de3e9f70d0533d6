//! Enrolment at a site server, what survives a cut, and what goes on by itself after it.

mod site;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use farshore_agent::{
    Agent, AgentError,
    managed::Timing,
    membership::{Enrolled, Membership, Wanted, enrol, parse_key},
};
use farshore_control::{Body, HostDocument, HostReport, Key, TrustDocument, enrolment::Reach};
use farshore_hypervisor::simulated::Simulated;
use farshore_pki::{Bundle, IDENTITY, RegistrationKey, Role};
use farshore_types::{HostId, SiteId};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use crate::world::config;
use site::Site;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn wanted(key: &RegistrationKey) -> Wanted {
    let reach = Reach { name: "alpha.example".to_owned(), ..Reach::default() };
    Wanted { key: parse_key(&key.reveal()).unwrap(), reach, anew: false }
}

async fn enrolled(dir: &Path, key: &RegistrationKey) -> Enrolled {
    enrol(dir, &wanted(key)).await.unwrap()
}

fn fault(error: &AgentError) -> String {
    let fault = error.fault();
    format!("{} | {}", fault.what, fault.advice)
}

/// An agent that serves as the member of a directory.
struct Member {
    agent: Arc<Agent>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Member {
    fn start(dir: &Path) -> Member {
        let timing = Timing {
            poll: Duration::from_secs(1),
            retry: Duration::from_millis(50),
            retry_most: Duration::from_millis(200),
            report: Duration::from_millis(300),
            report_gap: Duration::from_millis(50),
            cycle_gap: Duration::from_millis(50),
            look: Duration::from_millis(300),
        };
        let config = config(dir);
        let membership = Membership::load(&config.identity_dir).unwrap().unwrap();
        let agent = Agent::new(config).serving().with_hypervisor(Arc::new(Simulated::new()));
        let agent = Arc::new(agent.member(membership, timing).unwrap());
        let stop = CancellationToken::new();
        let (served, token) = (Arc::clone(&agent), stop.clone());
        let task = tokio::spawn(async move { farshore_agent::serve(served, None, token).await.unwrap() });
        Member { agent, stop, task: AbortOnDropHandle::new(task) }
    }

    fn membership(&self) -> &Membership {
        self.agent.membership().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_enrolled_host_hears_its_site_server_and_is_heard() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    let identity = enrolled(&dir.path().join("identity"), &site.key(Role::Host)).await.identity;
    assert_eq!((identity.role, identity.name.as_str()), (Role::Host, "alpha.example"));
    let host = HostId(identity.id);
    let member = Member::start(dir.path());
    assert_eq!(member.membership().host(), host);
    let document = HostDocument { name: "alpha".to_owned(), ..HostDocument::default() };
    site.vault.put(Key::Host(host), &[host], Body::Host(document));
    let holds = |report: &HostReport| report.holds.contains_key(&Key::Host(host));
    site.vault.until(host, "it says that it holds the document", holds).await;
    member.stop().await;
}

#[tokio::test]
async fn what_an_enrolment_leaves_is_its_owners_alone_and_complete() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    let key = site.key(Role::Host);
    let first = enrolled(dir.path(), &key).await;
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            entry.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    assert_eq!(names, [IDENTITY, "membership.json"]);
    let again = enrolled(dir.path(), &key).await;
    assert_eq!((&again.identity, again.already), (&first.identity, true));
    assert_eq!(site.asked(), 1, "nothing was asked for again");
}

#[tokio::test]
async fn an_enrolment_that_was_cut_goes_on_with_the_same_key_and_id() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    let key = site.key(Role::Host);
    // The issuer has let it in, and the last step cannot be done.
    fs::create_dir(dir.path().join(IDENTITY)).unwrap();
    let error = enrol(dir.path(), &Wanted { anew: true, ..wanted(&key) }).await.unwrap_err();
    assert!(fault(&error).contains(IDENTITY), "{error}");
    fs::remove_dir(dir.path().join(IDENTITY)).unwrap();
    let cut = Membership::load(dir.path()).err().unwrap();
    assert!(fault(&cut).contains("repeat `farshore-agent enrol`"), "{cut}");
    let id = site.ids()[0];
    assert_eq!(enrolled(dir.path(), &key).await.identity.id, id);
    assert_eq!(site.ids(), [id], "one host, one id");
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    site.lose_answers(2);
    let enrolled = enrolled(dir.path(), &site.key(Role::Host)).await;
    assert_eq!(site.ids(), [enrolled.identity.id]);
    assert_eq!(site.asked(), 3);
}

#[tokio::test]
async fn another_key_changes_an_enrolled_host_only_when_that_is_wanted() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    let first = enrolled(dir.path(), &site.key(Role::Host)).await.identity;
    let other = site.key(Role::Host);
    let error = enrol(dir.path(), &wanted(&other)).await.unwrap_err();
    assert!(fault(&error).contains("enrolled already, as host alpha.example"), "{}", fault(&error));
    assert_eq!(site.asked(), 1, "the other key is not used up");
    let second = enrol(dir.path(), &Wanted { anew: true, ..wanted(&other) }).await.unwrap();
    assert_ne!(second.identity.id, first.id);
    assert!(enrolled(dir.path(), &other).await.already);
}

#[tokio::test]
async fn another_installation_at_the_address_gets_nothing_and_is_named() {
    let (site, other, dir) = (Site::start().await, Site::start().await, tempfile::tempdir().unwrap());
    let key = RegistrationKey { address: other.address(), ..site.key(Role::Host) };
    let error = enrol(dir.path(), &wanted(&key)).await.unwrap_err();
    assert!(fault(&error).contains("fingerprint"), "{}", fault(&error));
    assert_eq!(other.asked(), 0);
    assert!(!Bundle::exists(dir.path()));
}

#[tokio::test]
async fn keys_that_cannot_be_are_named_with_what_to_do() {
    let site = Site::start().await;
    let text = fault(&parse_key("hello").unwrap_err());
    assert!(text.contains("no registration key") && text.contains("copy the key again"), "{text}");
    let text = fault(&parse_key(&site.key(Role::Site).reveal()).unwrap_err());
    assert!(text.contains("for a site server, and this is a host"), "{text}");
    let used = site.key(Role::Host);
    enrolled(tempfile::tempdir().unwrap().path(), &used).await;
    let dir = tempfile::tempdir().unwrap();
    let text = fault(&enrol(dir.path(), &wanted(&used)).await.unwrap_err());
    assert!(text.contains("was used by 'alpha.example'") && text.contains("make a new one"), "{text}");
}

#[tokio::test]
async fn a_member_follows_whom_the_vault_trusts() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    let identity = enrolled(&dir.path().join("identity"), &site.key(Role::Host)).await.identity;
    let member = Member::start(dir.path());
    let TrustDocument { authority_pem, .. } = site.trust();
    let revoked_pem = site.authority().revocation_list(8, &[], SystemTime::now()).unwrap();
    let trust = TrustDocument { authority_pem, revoked_pem, revoked_number: 8 };
    site.vault.put(Key::Trust(SiteId(Uuid::nil())), &[HostId(identity.id)], Body::Trust(trust));
    eventually("the list is in force", || member.membership().keyring().revoked_number() == 8).await;
    let kept = Membership::load(&dir.path().join("identity")).unwrap().unwrap();
    assert_eq!(kept.keyring().revoked_number(), 8, "and durable");
    member.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_by_itself_long_before_its_end() {
    let (site, dir) = (Site::start().await, tempfile::tempdir().unwrap());
    // Renewal begins between the 50th and the 67th day, as the serial number has it.
    site.issue_as_of(SystemTime::now() - 70 * DAY);
    let identity = enrolled(&dir.path().join("identity"), &site.key(Role::Host)).await.identity;
    let old = Bundle::load(&dir.path().join("identity")).unwrap();
    site.issue_as_of(SystemTime::now());
    let member = Member::start(dir.path());
    let serial = member.membership().keyring().facts().serial;
    eventually("it is renewed", || member.membership().keyring().facts().serial != serial).await;
    let new = Bundle::load(&dir.path().join("identity")).unwrap();
    assert!(new.key_pem != old.key_pem && new.cert_pem != old.cert_pem);
    assert_eq!(member.membership().keyring().identity(), identity);
    site.vault.report_of(HostId(identity.id)).await;
    member.stop().await;
}
