//! The recovery key: shown once at the vault's beginning, printed and kept by people, and
//! typed in on the day that the vault is lost. So every group of its text checks itself,
//! and a typo is named by its group, not answered with "wrong key".

use std::{fmt, str::FromStr};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::random;

/// Without I, L, O and U: what people mistake for something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 10;
/// Characters of a group that carry something; one more checks them.
const DATA: usize = 4;
/// Bytes of the secret: 200 bits, exactly ten groups of four characters of five bits.
const BYTES: usize = 25;

const _: () = assert!(GROUPS * DATA * 5 == BYTES * 8);

/// The secret that opens the authority's sealed key.
///
/// Its text is ten groups of five characters: `K7QM2-…`. Small letters, spaces instead of
/// dashes, and O, I or L for 0 and 1 are understood.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey(Zeroizing<[u8; BYTES]>);

/// A text that is no recovery key.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RecoveryKeyError {
    /// Groups are missing, or there are too many.
    #[error("a recovery key has {GROUPS} groups of 5 characters, and {found} were given: type all of them")]
    Groups {
        /// How many there are.
        found: usize,
    },
    /// A group is too short or too long.
    #[error("group {group} ('{text}') has {length} characters instead of 5: look at it again")]
    Length {
        /// Which, from 1.
        group: usize,
        /// What was typed.
        text: String,
        /// How long it is.
        length: usize,
    },
    /// A character that no group has.
    #[error("group {group} ('{text}') has a '{found}', which no recovery key has: look at it again")]
    Character {
        /// Which, from 1.
        group: usize,
        /// What was typed.
        text: String,
        /// The character.
        found: char,
    },
    /// A group does not fit its own last character.
    #[error("group {group} ('{text}') has a typo, or stands in another place: look at it again")]
    Typo {
        /// Which, from 1.
        group: usize,
        /// What was typed.
        text: String,
    },
}

impl RecoveryKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> RecoveryKey {
        RecoveryKey(Zeroizing::new(random::bytes()))
    }

    /// The text to be shown once.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = String::new();
        for (at, group) in self.values().chunks(DATA).enumerate() {
            text.push_str(if at == 0 { "" } else { "-" });
            text.extend(
                group.iter().chain([&check(at, group)]).map(|v| char::from(ALPHABET[usize::from(*v)])),
            );
        }
        Zeroizing::new(text)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// The secret in units of five bits.
    fn values(&self) -> Vec<u8> {
        let bit = |at: usize| self.0[at / 8] >> (7 - at % 8) & 1;
        (0..GROUPS * DATA).map(|v| (0..5).fold(0, |value, b| value << 1 | bit(v * 5 + b))).collect()
    }

    fn of_values(values: &[u8]) -> RecoveryKey {
        let mut bytes = Zeroizing::new([0; BYTES]);
        for at in 0..BYTES * 8 {
            bytes[at / 8] |= (values[at / 5] >> (4 - at % 5) & 1) << (7 - at % 8);
        }
        RecoveryKey(bytes)
    }
}

impl FromStr for RecoveryKey {
    type Err = RecoveryKeyError;

    fn from_str(text: &str) -> Result<RecoveryKey, RecoveryKeyError> {
        let is_gap = |c: char| c.is_whitespace() || "-\u{2010}\u{2011}\u{2013}".contains(c);
        let groups: Vec<&str> = text.split(is_gap).filter(|group| !group.is_empty()).collect();
        if groups.len() != GROUPS {
            return Err(RecoveryKeyError::Groups { found: groups.len() });
        }
        let mut values = Zeroizing::new(Vec::with_capacity(GROUPS * DATA));
        for (at, group) in groups.into_iter().enumerate() {
            values.extend(parse_group(at, group)?);
        }
        Ok(RecoveryKey::of_values(&values))
    }
}

fn parse_group(at: usize, text: &str) -> Result<Vec<u8>, RecoveryKeyError> {
    let (group, shown) = (at + 1, || text.to_owned());
    let length = text.chars().count();
    if length != DATA + 1 {
        return Err(RecoveryKeyError::Length { group, text: shown(), length });
    }
    let value = |c: char| value_of(c).ok_or(c);
    let mut values = text
        .chars()
        .map(value)
        .collect::<Result<Vec<u8>, char>>()
        .map_err(|found| RecoveryKeyError::Character { group, text: shown(), found })?;
    if values.pop() != Some(check(at, &values)) {
        return Err(RecoveryKeyError::Typo { group, text: shown() });
    }
    Ok(values)
}

fn value_of(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let found = ALPHABET.iter().position(|known| char::from(*known) == c)?;
    u8::try_from(found).ok()
}

/// The character that a group ends with: a sum over the field of 32 elements, each place
/// with a factor of its own. So one wrong character is always found, two that changed
/// places too, and a group in another's place.
fn check(at: usize, values: &[u8]) -> u8 {
    let mut sum = u8::try_from(at).unwrap_or(0);
    for value in values {
        sum = double(sum ^ value);
    }
    sum
}

/// Times x in the field of 32 elements with x⁵ = x² + 1.
fn double(value: u8) -> u8 {
    let shifted = value << 1;
    if shifted & 32 == 0 { shifted } else { shifted ^ 0b10_0101 }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: [u8; BYTES]) -> RecoveryKey {
        RecoveryKey(Zeroizing::new(bytes))
    }

    proptest! {
        #[test]
        fn a_key_survives_its_text_however_it_is_typed(bytes: [u8; BYTES]) {
            let key = key(bytes);
            let text = key.reveal();
            prop_assert_eq!(&text.parse::<RecoveryKey>().unwrap(), &key);
            let sloppy = text.to_lowercase().replace('-', "  ").replace('0', "o").replace('1', "l");
            prop_assert_eq!(&sloppy.parse::<RecoveryKey>().unwrap(), &key);
        }

        #[test]
        fn one_wrong_character_is_always_found_in_its_group(bytes: [u8; BYTES], at in 0..50usize, by in 1..32usize) {
            let mut chars: Vec<char> = key(bytes).reveal().chars().filter(|c| *c != '-').collect();
            let was = value_of(chars[at]).unwrap();
            chars[at] = char::from(ALPHABET[(usize::from(was) + by) % 32]);
            let groups: Vec<String> = chars.chunks(5).map(|g| g.iter().collect()).collect();
            let expected = RecoveryKeyError::Typo { group: at / 5 + 1, text: groups[at / 5].clone() };
            prop_assert_eq!(groups.join("-").parse::<RecoveryKey>().unwrap_err(), expected);
        }

        #[test]
        fn neighbours_that_changed_places_are_found(bytes: [u8; BYTES], group in 0..10usize, at in 0..4usize) {
            let mut chars: Vec<char> = key(bytes).reveal().chars().collect();
            let at = group * 6 + at;
            prop_assume!(chars[at] != chars[at + 1]);
            chars.swap(at, at + 1);
            let text: String = chars.into_iter().collect();
            let found = text.parse::<RecoveryKey>().unwrap_err();
            let named = matches!(found, RecoveryKeyError::Typo { group: g, .. } if g == group + 1);
            prop_assert!(named, "{}", found);
        }
    }

    #[test]
    fn groups_in_another_order_are_found() {
        let text = key([7; BYTES]).reveal();
        let mut groups: Vec<&str> = text.split('-').collect();
        groups.swap(2, 7);
        let error = groups.join("-").parse::<RecoveryKey>().unwrap_err();
        assert!(error.to_string().starts_with("group 3 ("), "{error}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let text = RecoveryKey::generate().reveal();
        let error = text[6..].parse::<RecoveryKey>().unwrap_err().to_string();
        assert!(error.contains("10 groups") && error.contains("9 were given"), "{error}");
        let error = text[1..].parse::<RecoveryKey>().unwrap_err().to_string();
        assert!(error.starts_with("group 1 (") && error.contains("4 characters instead of 5"), "{error}");
        let error = format!("U{}", &text[1..]).parse::<RecoveryKey>().unwrap_err().to_string();
        assert!(error.contains("'U'"), "{error}");
    }

    #[test]
    fn a_key_does_not_show_itself_in_logs() {
        assert_eq!(format!("{:?}", RecoveryKey::generate()), "RecoveryKey(…)");
    }
}
