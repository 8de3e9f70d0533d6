//! Epochs (who may write) and the points named by them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::RootDigest;

/// Lineage of one protection: its number says which owner is newer, its token tells two
/// owners apart that were issued the same number (rule R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Rises by one with every change of owner; the first is 1.
    pub number: u64,
    /// Random; equal numbers with other tokens are a conflict, never an order.
    #[serde(with = "token")]
    pub token: u128,
}

/// A token as text: JSON's readers take no number of 128 bits whole. Records of before wrote
/// it as one, and are read.
mod token {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(token: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{token:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        d.deserialize_any(Token)
    }

    struct Token;

    impl de::Visitor<'_> for Token {
        type Value = u128;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an epoch's token: hexadecimal digits, or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u128, E> {
            u128::from_str_radix(text, 16).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u128, E> {
            Ok(u128::from(number))
        }

        fn visit_u128<E: de::Error>(self, number: u128) -> Result<u128, E> {
            Ok(number)
        }
    }
}

/// How an arriving epoch relates to the one held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochOrder {
    /// The arriving owner was superseded.
    Older,
    /// The same lineage.
    Same,
    /// The arriving owner supersedes.
    Newer,
    /// Equal numbers, two owners: nothing may be written until a person decides.
    Conflict,
}

impl Epoch {
    /// Where `arriving` stands as seen by the holder of `self`.
    #[must_use]
    pub fn order_of(&self, arriving: &Epoch) -> EpochOrder {
        match arriving.number.cmp(&self.number) {
            std::cmp::Ordering::Less => EpochOrder::Older,
            std::cmp::Ordering::Greater => EpochOrder::Newer,
            std::cmp::Ordering::Equal if arriving.token == self.token => EpochOrder::Same,
            std::cmp::Ordering::Equal => EpochOrder::Conflict,
        }
    }
}

/// Name of a recovery point: the epoch's number and a number that only rises.
/// Clocks never order points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId {
    /// Number of the epoch under which the point was sealed.
    pub epoch: u64,
    /// Rises by at least one from point to point, across epochs too.
    pub number: u64,
}

/// The text does not name a point.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' does not name a recovery point: expected EPOCH-NUMBER, such as 1-42")]
pub struct PointParseError(pub String);

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl FromStr for PointId {
    type Err = PointParseError;

    fn from_str(text: &str) -> Result<Self, PointParseError> {
        let wrong = || PointParseError(text.to_owned());
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && !part.is_empty();
        let (epoch, number) = text.split_once('-').ok_or_else(wrong)?;
        if !digits(epoch) || !digits(number) {
            return Err(wrong());
        }
        Ok(PointId {
            epoch: epoch.parse().map_err(|_| wrong())?,
            number: number.parse().map_err(|_| wrong())?,
        })
    }
}

impl Serialize for PointId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for PointId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("Name of a recovery point: the epoch's number, a dash, the point's number."))
            .pattern(Some("^[0-9]+-[0-9]+$"))
            .into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for PointId {}

/// A point together with the digest of its content: equal references mean equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PointRef {
    /// The point's name.
    pub id: PointId,
    /// Chains all changes up to and with this point.
    pub root: RootDigest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_with_other_tokens_conflict() {
        let held = Epoch { number: 4, token: 1 };
        let order = |number, token| held.order_of(&Epoch { number, token });
        assert_eq!(order(3, 1), EpochOrder::Older);
        assert_eq!(order(4, 1), EpochOrder::Same);
        assert_eq!(order(4, 2), EpochOrder::Conflict);
        assert_eq!(order(5, 2), EpochOrder::Newer);
    }

    #[test]
    fn a_point_name_survives_its_text_and_nothing_else_passes() {
        let id = PointId { epoch: 3, number: 70 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "1-", "-1", "1-2-3", "+1-2", "a-b", "1-99999999999999999999"] {
            assert!(bad.parse::<PointId>().is_err(), "{bad}");
        }
    }
}
