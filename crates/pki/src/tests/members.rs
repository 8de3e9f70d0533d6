//! Members of a vault: roles, requests, revocation, renewal, the sealed key, the one file.

use std::{fs, os::unix::fs::PermissionsExt, time::SystemTime};

use rcgen::{CertificateParams, KeyPair, SanType};
use uuid::Uuid;

use super::DAY;
use crate::*;

fn host() -> Identity {
    Identity { role: Role::Host, id: Uuid::from_u128(5), name: "alpha.example".to_owned() }
}

fn der(pem: &str) -> Vec<u8> {
    crate::certificate::all_of("CERTIFICATE", pem).unwrap().remove(0)
}

fn signed(authority: &Authority, lifetime: Lifetime) -> (KeyRequest, Signed) {
    let request = KeyRequest::generate().unwrap();
    let applicant = Applicant::parse(&request.csr_pem).unwrap();
    let signed = authority.sign(&applicant, &host(), &["10.0.0.5", "alpha.lan"], lifetime).unwrap();
    (request, signed)
}

fn bundle(authority: &Authority, revoked_pem: String) -> Bundle {
    let (request, signed) = signed(authority, Lifetime::of_member(SystemTime::now()));
    let (key_pem, cert_pem) = (request.key_pem, signed.cert_pem);
    Bundle { key_pem, cert_pem, authority_pem: authority.cert_pem().to_owned(), revoked_pem }
}

#[test]
fn a_members_certificate_says_role_id_and_name() {
    let authority = Authority::create("CA").unwrap();
    let (_, signed) = signed(&authority, Lifetime::starting_now(DAY));
    let trust = Trust::parse(authority.cert_pem(), "").unwrap();
    let identity = trust.judge_member(&der(&signed.cert_pem), SystemTime::now()).unwrap();
    assert_eq!(identity, host());
    assert_eq!(identity.uri(), "urn:farshore:host:00000000-0000-0000-0000-000000000005");
}

#[test]
fn what_a_request_says_of_itself_is_never_taken_over() {
    let authority = Authority::create("CA").unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["vault.example".to_owned()]).unwrap();
    let vault = Identity { role: Role::Vault, ..host() };
    params.subject_alt_names.push(SanType::URI(vault.uri().as_str().try_into().unwrap()));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let applicant = Applicant::parse(&csr).unwrap();
    let cert = authority.sign(&applicant, &host(), &[], Lifetime::starting_now(DAY)).unwrap();
    assert_eq!(cert.facts.identity().unwrap(), &host());
    let der = der(&cert.cert_pem);
    assert!(!crate::certificate::is_authority(&der));
    assert!(!String::from_utf8_lossy(&der).contains("vault"));
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let request = KeyRequest::generate().unwrap();
    let der = pem_der(&request.csr_pem);
    let mut changed = der.clone();
    *changed.last_mut().unwrap() ^= 1;
    let text = rewrap(&request.csr_pem, &der, &changed);
    assert!(matches!(Applicant::parse(&text).unwrap_err(), PkiError::UnsoundRequest { .. }));
    assert!(Applicant::parse("nonsense").is_err());
    assert!(Applicant::parse(&"A".repeat(REQUEST_BYTES_MAX + 1)).unwrap_err().to_string().contains("more"));
}

fn pem_der(pem: &str) -> Vec<u8> {
    crate::certificate::all_of("CERTIFICATE REQUEST", pem).unwrap().remove(0)
}

fn rewrap(pem: &str, was: &[u8], is: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(STANDARD.decode(body.trim()).unwrap(), was);
    let wrapped = STANDARD.encode(is);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{wrapped}\n-----END CERTIFICATE REQUEST-----\n")
}

#[test]
fn a_certificate_without_a_role_is_no_members() {
    let authority = Authority::create("CA").unwrap();
    let issued = authority.issue("alpha.example", &[], Lifetime::starting_now(DAY)).unwrap();
    let trust = Trust::parse(authority.cert_pem(), "").unwrap();
    let error = trust.judge_member(&der(&issued.cert_pem), SystemTime::now()).unwrap_err();
    assert!(matches!(error, PkiError::NoRole { .. }), "{error}");
}

#[test]
fn one_revoked_certificate_is_refused_and_its_successor_of_the_same_key_is_not() {
    let authority = Authority::create("CA").unwrap();
    let now = SystemTime::now();
    let request = KeyRequest::generate().unwrap();
    let applicant = Applicant::parse(&request.csr_pem).unwrap();
    let sign = || authority.sign(&applicant, &host(), &[], Lifetime::of_member(now)).unwrap();
    let (old, new) = (sign(), sign());
    let revoked = [Revoked { serial: old.facts.serial.clone(), at: 1_800_000_000 }];
    let list = authority.revocation_list(1, &revoked, now).unwrap();
    let trust = Trust::parse(authority.cert_pem(), &list).unwrap();
    let error = trust.judge(&der(&old.cert_pem), now).unwrap_err();
    assert!(matches!(&error, PkiError::Revoked { name } if name == "alpha.example"), "{error}");
    assert!(trust.judge(&der(&new.cert_pem), now).is_ok());
}

#[test]
fn the_number_of_the_list_only_rises() {
    let authority = Authority::create("CA").unwrap();
    let now = SystemTime::now();
    let serial = |text: &str| Revoked { serial: text.parse().unwrap(), at: 1_800_000_000 };
    let trust = |number, revoked: &[Revoked]| {
        Trust::parse(authority.cert_pem(), &authority.revocation_list(number, revoked, now).unwrap()).unwrap()
    };
    let held = trust(300, &[serial("aa")]);
    assert_eq!(held.number(), 300);
    assert!(held.check_successor(&trust(301, &[])).is_ok());
    assert!(held.check_successor(&trust(300, &[serial("aa")])).is_ok());
    assert!(held.check_successor(&trust(300, &[])).is_err(), "the same number, less revoked");
    let error = held.check_successor(&trust(299, &[serial("aa")])).unwrap_err().to_string();
    assert!(error.contains("number 299 is not taken: number 300 is held"), "{error}");
    assert!(held.check_successor(&Trust::parse(authority.cert_pem(), "").unwrap()).is_err());
}

#[test]
fn a_list_of_another_authority_is_refused() {
    let (one, two) = (Authority::create("CA").unwrap(), Authority::create("CA").unwrap());
    let list = two.revocation_list(1, &[], SystemTime::now()).unwrap();
    let error = Trust::parse(one.cert_pem(), &list).unwrap_err();
    assert!(error.to_string().contains("no known authority signed"), "{error}");
    let both = format!("{}{}", one.cert_pem(), two.cert_pem());
    assert!(Trust::parse(&both, &list).is_ok(), "while authorities change");
    assert!(Trust::parse("", "").is_err() && Trust::parse(one.cert_pem(), "nonsense").is_err());
}

#[test]
fn a_member_in_contact_outlasts_ninety_days_without_a_vault() {
    let authority = Authority::create("CA").unwrap();
    let now = SystemTime::now();
    let (_, signed) = signed(&authority, Lifetime::of_member(now));
    let last_fresh =
        (0..).map(|days| now + days * DAY).take_while(|t| signed.facts.renewal(*t) == Renewal::Fresh);
    let last_fresh = last_fresh.last().unwrap();
    assert!(last_fresh > now + 30 * DAY, "it is not renewed all the time");
    assert!(signed.facts.check_time(last_fresh + ALONE_MIN).is_ok());
    assert_eq!(signed.facts.renewal(now + 68 * DAY), Renewal::Due);
    assert_eq!(signed.facts.renewal(now + 145 * DAY), Renewal::Late);
    assert_eq!(signed.facts.renewal(now + 300 * DAY), Renewal::Late);
}

#[test]
fn members_let_in_on_one_day_renew_on_different_days() {
    let authority = Authority::create("CA").unwrap();
    let now = SystemTime::now();
    let day = |facts: &Facts| (0..).find(|day| facts.renewal(now + *day * DAY) != Renewal::Fresh).unwrap();
    let days: Vec<u32> =
        (0..40).map(|_| day(&signed(&authority, Lifetime::of_member(now)).1.facts)).collect();
    assert!(days.iter().all(|day| (49..=68).contains(day)), "{days:?}");
    let different: std::collections::BTreeSet<_> = days.iter().collect();
    assert!(different.len() > 5, "{days:?}");
}

#[test]
fn an_authority_that_ends_is_told_of_long_before() {
    let authority = Authority::create("CA").unwrap();
    let (now, year) = (SystemTime::now(), 365 * DAY);
    let facts = Facts::of(&authority.cert_der().unwrap()).unwrap();
    assert!(!facts.authority_is_late(now + 17 * year));
    assert!(facts.authority_is_late(now + 18 * year + 30 * DAY) && facts.authority_is_late(now + 30 * year));
}

#[test]
fn the_sealed_key_opens_with_its_recovery_key_alone() {
    let authority = Authority::create("CA").unwrap();
    let key = RecoveryKey::generate();
    let sealed = authority.seal(&key).unwrap();
    assert!(!sealed.contains("PRIVATE") && authority.seal(&key).unwrap() != sealed);
    let typed: RecoveryKey = key.reveal().to_lowercase().parse().unwrap();
    let opened = Authority::unseal(authority.cert_pem(), &sealed, &typed).unwrap();
    let (_, cert) = signed(&opened, Lifetime::starting_now(DAY));
    let trust = Trust::parse(authority.cert_pem(), "").unwrap();
    assert!(trust.judge(&der(&cert.cert_pem), SystemTime::now()).is_ok());

    let unseal = |text: &str, key: &RecoveryKey| Authority::unseal(authority.cert_pem(), text, key);
    let error = unseal(&sealed, &RecoveryKey::generate()).unwrap_err();
    assert!(matches!(error, PkiError::WrongSealingKey { .. }), "{error}");
    let other = Authority::create("CA").unwrap();
    assert!(Authority::unseal(other.cert_pem(), &sealed, &key).is_err(), "bound to its certificate");
    for at in (8..sealed.len() - 1).step_by(7) {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(unseal(&String::from_utf8(changed).unwrap(), &key).is_err(), "{at}");
    }
    assert!(unseal("fsseal1.AAAA", &key).unwrap_err().to_string().contains("too short"));
}

#[test]
fn a_vault_starts_by_the_secret_file_of_its_machine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unlock.key");
    let authority = Authority::create("CA").unwrap();
    let sealed = authority.seal(&UnlockKey::load_or_create(&path).unwrap()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    Authority::unseal(authority.cert_pem(), &sealed, &UnlockKey::load(&path).unwrap()).unwrap();
    fs::write(&path, "short").unwrap();
    let error = UnlockKey::load_or_create(&path).err().unwrap().to_string();
    assert!(error.contains("holds no unlock key"), "never replaced: {error}");
}

#[test]
fn everything_of_a_member_is_one_file() {
    let (authority, dir) = (Authority::create("CA").unwrap(), tempfile::tempdir().unwrap());
    let list = authority.revocation_list(7, &[], SystemTime::now()).unwrap();
    let bundle = bundle(&authority, list);
    bundle.save(dir.path()).unwrap();
    let path = dir.path().join(IDENTITY);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Bundle::load(dir.path()).unwrap().check(SystemTime::now()).unwrap().trust.number(), 7);
    let credentials = Credentials::load(dir.path()).unwrap();
    assert_eq!(credentials.facts.identity().unwrap(), &host());
    assert_eq!((credentials.ca_der, credentials.trust.number()), (der(authority.cert_pem()), 7));
}

#[test]
fn parts_that_do_not_belong_together_are_never_written() {
    let (one, two) = (Authority::create("One").unwrap(), Authority::create("Two").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let good = bundle(&one, String::new());
    let foreign = Bundle { authority_pem: two.cert_pem().to_owned(), ..good.clone() };
    assert!(matches!(foreign.save(dir.path()).unwrap_err(), PkiError::WrongAuthority { .. }));
    let mixed = Bundle { key_pem: KeyRequest::generate().unwrap().key_pem, ..good };
    assert!(matches!(mixed.save(dir.path()).unwrap_err(), PkiError::KeyMismatch { .. }));
    assert!(!Bundle::exists(dir.path()));
}

#[test]
fn numbers_of_certificates_have_a_text() {
    let serial: Serial = "00ff10".parse().unwrap();
    assert_eq!(serial.to_string(), "ff10", "leading zeros mean nothing");
    assert!("xyz".parse::<Serial>().is_err() && "abc".parse::<Serial>().is_err());
    let text = serde_json::to_string(&serial).unwrap();
    assert_eq!(serde_json::from_str::<Serial>(&text).unwrap(), serial);
    assert!(serde_json::from_str::<Serial>("\"zz\"").is_err());
}

#[test]
fn a_fingerprint_is_what_other_tools_print() {
    let authority = Authority::create("CA").unwrap();
    let fingerprint = authority.fingerprint().unwrap();
    let colons: Vec<String> = fingerprint.0.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(colons.join(":").parse::<Fingerprint>().unwrap(), fingerprint);
    assert!(Trust::parse(authority.cert_pem(), "").unwrap().has(&fingerprint));
}
