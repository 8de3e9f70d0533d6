//! Digests of disk content and of whole points.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// BLAKE3 of one cluster's content, cut to 128 bits.
///
/// All zero means *the cluster reads as zeros*, so that a hole in a file of digests is
/// already right. A last cluster that the disk only partly fills is padded with zeros.
/// 128 bits leave a collision to someone who does 2^64 work to harm only his own copy.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; Digest::LEN]);

impl Digest {
    /// Bytes of a digest.
    pub const LEN: usize = 16;

    /// The digest that stands for a cluster of zeros.
    pub const ZERO: Digest = Digest([0; Digest::LEN]);

    /// Digest of one cluster's bytes (padded by the caller); zeros give [`Digest::ZERO`].
    #[must_use]
    pub fn of(cluster: &[u8]) -> Digest {
        if is_zero(cluster) {
            return Digest::ZERO;
        }
        let full = blake3::hash(cluster);
        let mut cut = [0; Digest::LEN];
        cut.copy_from_slice(&full.as_bytes()[..Digest::LEN]);
        Digest(cut)
    }

    /// Whether this stands for a cluster of zeros.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Digest::ZERO
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Whether every byte is zero. Compares in wide steps: it runs over all data read.
fn is_zero(bytes: &[u8]) -> bool {
    let (head, words, tail) = (&bytes[..bytes.len().min(64)], bytes.chunks_exact(64), bytes.len() % 64);
    head.iter().all(|b| *b == 0)
        && words.clone().all(|w| w.iter().fold(0u8, |acc, b| acc | b) == 0)
        && bytes[bytes.len() - tail..].iter().all(|b| *b == 0)
}

/// Digest that names a whole recovery point: it chains every change since the first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RootDigest(pub [u8; 32]);

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a root digest is 64 hexadecimal digits")]
pub struct DigestParseError;

impl RootDigest {
    /// What the first point's chain starts from.
    pub const NONE: RootDigest = RootDigest([0; 32]);
}

impl std::str::FromStr for RootDigest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, DigestParseError> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(DigestParseError);
        }
        let mut out = [0; 32];
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| DigestParseError)?;
        }
        Ok(RootDigest(out))
    }
}

impl fmt::Display for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl Serialize for RootDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RootDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_length_have_the_zero_digest() {
        for len in [0, 1, 63, 64, 65, 4096, 65536] {
            assert!(Digest::of(&vec![0; len]).is_zero(), "{len}");
        }
    }

    #[test]
    fn one_bit_anywhere_makes_a_digest_that_is_not_zero() {
        for at in [0, 1, 63, 64, 127, 4095, 65535] {
            let mut cluster = vec![0; 65536];
            cluster[at] = 1;
            assert!(!Digest::of(&cluster).is_zero(), "{at}");
        }
    }

    #[test]
    fn a_root_digest_survives_its_text() {
        let root = RootDigest([0xa5; 32]);
        assert_eq!(root.to_string().parse(), Ok(root));
        assert_eq!("zz".parse::<RootDigest>(), Err(DigestParseError));
    }
}
