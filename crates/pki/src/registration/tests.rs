//! Keys as people copy them, and claims as they come.

use super::*;

const NOW: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn issuer() -> Identity {
    Identity { role: Role::Site, id: Uuid::from_u128(7), name: "site.example".to_owned() }
}

fn made() -> (RegistrationKey, Registration) {
    let fingerprint = Fingerprint([9; 32]);
    Registration::make(Role::Host, &issuer(), "site.example:7443", fingerprint, NOW, REGISTRATION_LIFETIME)
}

fn claim<'a>(key: &'a RegistrationKey, key_digest: &'a str) -> Claim<'a> {
    Claim { role: Role::Host, secret: &key.secret, key_digest }
}

fn used(at_ms: u64) -> Use {
    Use { at_ms, id: Uuid::from_u128(1), name: "alpha".to_owned(), key_digest: "mine".to_owned() }
}

#[test]
fn a_key_survives_its_text_and_the_line_breaks_of_a_mail() {
    let (key, _) = made();
    let text = key.reveal();
    assert_eq!(text.parse::<RegistrationKey>().unwrap(), key);
    let broken: Vec<String> =
        text.chars().collect::<Vec<_>>().chunks(40).map(|c| c.iter().collect()).collect();
    assert_eq!(format!(" {}\n", broken.join("\r\n  ")).parse::<RegistrationKey>().unwrap(), key);
}

#[test]
fn every_changed_or_missing_character_of_a_key_is_noticed() {
    let text = made().0.reveal();
    for at in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed.parse::<RegistrationKey>().is_err(), "{at}");
        assert!(text[..at].parse::<RegistrationKey>().is_err(), "{at}");
    }
}

#[test]
fn a_key_of_a_later_version_asks_for_an_update() {
    let text = made().0.reveal().replacen("fsreg1", "fsreg2", 1);
    let error = text.parse::<RegistrationKey>().unwrap_err().to_string();
    assert!(error.contains("newer version") && error.contains("update"), "{error}");
    assert_eq!("hello".parse::<RegistrationKey>().unwrap_err(), RegistrationKeyError::Foreign);
}

#[test]
fn neither_the_issuers_record_nor_a_log_has_the_secret() {
    let (key, record) = made();
    let secret = key.secret.reveal();
    let kept = serde_json::to_string(&record).unwrap();
    assert!(!kept.contains(secret.as_str()) && !format!("{key:?} {record:?}").contains(secret.as_str()));
    assert_eq!(serde_json::from_str::<Registration>(&kept).unwrap(), record);
}

#[test]
fn a_key_holds_for_five_days_and_not_longer() {
    let (key, record) = made();
    assert_eq!(record.admit(&claim(&key, "mine"), NOW + 5 * DAY_MS).unwrap(), Admission::First);
    let error = record.admit(&claim(&key, "mine"), NOW + 5 * DAY_MS + 1).unwrap_err();
    assert!(error.to_string().contains("expired on 20"), "{error}");
}

#[test]
fn a_key_enrols_once_but_its_holder_may_ask_again() {
    let (key, mut record) = made();
    record.mark_used(used(NOW + 1));
    let again = record.admit(&claim(&key, "mine"), NOW + 2).unwrap();
    assert_eq!(again, Admission::Again(used(NOW + 1)));
    let error = record.admit(&claim(&key, "another"), NOW + 2).unwrap_err();
    assert!(error.to_string().contains("used by 'alpha' on 20"), "{error}");
    assert!(record.admit(&claim(&key, "mine"), NOW + 2 * DAY_MS).is_err(), "not for ever");
}

#[test]
fn the_last_minutes_holder_may_ask_again_after_the_end() {
    let (key, mut record) = made();
    record.mark_used(used(record.expires_ms));
    assert!(record.admit(&claim(&key, "mine"), record.expires_ms + 60_000).is_ok());
}

#[test]
fn who_has_not_the_secret_learns_nothing_else() {
    let (_, mut record) = made();
    record.mark_used(used(NOW));
    let (other, _) = made();
    let error = record.admit(&claim(&other, "mine"), NOW + 9 * DAY_MS).unwrap_err();
    assert_eq!(error, RegistrationError::WrongSecret);
}

#[test]
fn a_revoked_holder_cannot_come_back_by_its_old_key() {
    let (key, mut record) = made();
    record.mark_used(used(NOW));
    record.withdrawn = true;
    assert_eq!(record.admit(&claim(&key, "mine"), NOW + 1).unwrap_err(), RegistrationError::Withdrawn);
}

#[test]
fn a_clock_that_went_back_is_named() {
    let (key, record) = made();
    let error = record.admit(&claim(&key, "mine"), NOW - DAY_MS).unwrap_err().to_string();
    assert!(error.contains("not valid before 20") && error.contains("clock"), "{error}");
    assert!(record.admit(&claim(&key, "mine"), NOW - 60_000).is_ok(), "a minute is nothing");
}

#[test]
fn a_key_for_a_site_is_none_for_a_host() {
    let (key, record) = made();
    let wrong = Claim { role: Role::Site, ..claim(&key, "mine") };
    let error = record.admit(&wrong, NOW).unwrap_err().to_string();
    assert!(error.contains("is for a host") && error.contains("this is a site server"), "{error}");
}
