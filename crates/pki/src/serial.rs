//! The number by which an authority knows a certificate, and by which it revokes it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::random;

/// Bytes of the numbers that we give: too many to guess or to meet twice.
const BYTES: usize = 16;
/// Most bytes of any certificate's number (RFC 5280).
const BYTES_MAX: usize = 20;

/// A certificate's number, without leading zeros. Its text is hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A new random number. It never begins with a zero, nor with a bit that would make it
    /// negative, so that every parser sees the same bytes.
    pub(crate) fn random() -> Serial {
        let mut bytes = random::bytes::<BYTES>();
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Serial(bytes.to_vec())
    }

    pub(crate) fn of(bytes: &[u8]) -> Serial {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Serial(bytes[zeros..].to_vec())
    }

    /// A number from 0 to 255 that is as random as the serial.
    pub(crate) fn spread(&self) -> u8 {
        self.0.last().copied().unwrap_or_default()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.to_string()
    }
}

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Serial, String> {
        text.parse()
    }
}

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Serial, String> {
        let bytes = random::from_hex(text).filter(|bytes| bytes.len() <= BYTES_MAX);
        bytes.map(|bytes| Serial::of(&bytes)).ok_or_else(|| format!("'{text}' is no certificate's number"))
    }
}
