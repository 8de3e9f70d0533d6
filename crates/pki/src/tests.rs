//! Certificates as a host would meet them: whole, old, early, mixed up, missing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use super::*;

mod members;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn host(authority: &Authority, dir: &Path, lifetime: Lifetime) {
    authority.issue("target.example", &["127.0.0.1"], lifetime).unwrap().save(dir).unwrap();
}

#[test]
fn an_authority_survives_its_files_and_goes_on_issuing() {
    let (ca, a) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Authority::create("Site CA").unwrap().save(ca.path()).unwrap();
    let loaded = Authority::load(ca.path()).unwrap();
    host(&loaded, a.path(), Lifetime::starting_now(DAY));
    let credentials = Credentials::load(a.path()).unwrap();
    credentials.check_time(SystemTime::now()).unwrap();
    assert_eq!(credentials.facts.name, "target.example");
    for key in [ca.path().join(CA_KEY), a.path().join(HOST_KEY)] {
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn an_authority_is_never_overwritten() {
    let ca = tempfile::tempdir().unwrap();
    Authority::create("one").unwrap().save(ca.path()).unwrap();
    let error = Authority::create("two").unwrap().save(ca.path()).unwrap_err();
    assert!(matches!(error, PkiError::Exists { .. }), "{error}");
}

#[test]
fn dates_are_named_with_whose_certificate_they_are() {
    let authority = Authority::create("Site CA").unwrap();
    let (now, a) = (SystemTime::now(), tempfile::tempdir().unwrap());
    host(&authority, a.path(), Lifetime { from: now - 3 * DAY, until: now - DAY });
    let error = Credentials::load(a.path()).unwrap().check_time(now).unwrap_err().to_string();
    assert!(error.starts_with("the certificate of target.example expired on 20"), "{error}");
    host(&authority, a.path(), Lifetime { from: now + DAY, until: now + 2 * DAY });
    let error = Credentials::load(a.path()).unwrap().check_time(now).unwrap_err().to_string();
    assert!(error.contains("is not valid before 20") && error.contains("clocks"), "{error}");
}

#[test]
fn files_of_two_issues_do_not_mix() {
    let (one, two) = (Authority::create("One").unwrap(), Authority::create("Two").unwrap());
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    host(&one, a.path(), Lifetime::starting_now(DAY));
    host(&two, b.path(), Lifetime::starting_now(DAY));
    fs::copy(b.path().join(CA_CERT), a.path().join(CA_CERT)).unwrap();
    let error = Credentials::load(a.path()).unwrap_err();
    assert!(matches!(&error, PkiError::WrongAuthority { authority, .. } if authority == "Two"), "{error}");
    fs::copy(b.path().join(HOST_KEY), a.path().join(HOST_KEY)).unwrap();
    let error = Credentials::load(a.path()).unwrap_err();
    assert!(matches!(error, PkiError::KeyMismatch { .. }), "{error}");
}

#[test]
fn an_authority_of_the_same_name_is_still_another() {
    let (one, two) = (Authority::create("CA").unwrap(), Authority::create("CA").unwrap());
    let a = tempfile::tempdir().unwrap();
    host(&one, a.path(), Lifetime::starting_now(DAY));
    fs::write(a.path().join(CA_CERT), two.cert_pem()).unwrap();
    assert!(matches!(Credentials::load(a.path()).unwrap_err(), PkiError::WrongAuthority { .. }));
}

#[test]
fn a_missing_or_foreign_file_is_named() {
    let a = tempfile::tempdir().unwrap();
    let error = Credentials::load(a.path()).unwrap_err().to_string();
    assert!(error.contains("ca.pem is missing"), "{error}");
    host(&Authority::create("CA").unwrap(), a.path(), Lifetime::starting_now(DAY));
    fs::write(a.path().join(HOST_CERT), "nonsense").unwrap();
    let error = Credentials::load(a.path()).unwrap_err().to_string();
    assert!(error.contains("host.pem holds no certificate"), "{error}");
    fs::copy(a.path().join(HOST_KEY), a.path().join(HOST_CERT)).unwrap();
    let error = Credentials::load(a.path()).unwrap_err().to_string();
    assert!(error.contains("it holds a PRIVATE KEY"), "{error}");
}

#[test]
fn no_certificate_is_issued_for_an_address_alone() {
    let authority = Authority::create("CA").unwrap();
    assert!(authority.issue("10.0.0.1", &[], Lifetime::starting_now(DAY)).is_err());
    assert!(authority.issue("", &[], Lifetime::starting_now(DAY)).is_err());
}
