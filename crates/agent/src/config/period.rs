//! A length of time as people write it in a configuration: `30s`, `5m`, `1h`. This module
//! must never know what a length is used for.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A length of time, written as a whole number and a unit: `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

/// The text is no length of time.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not a length of time: write a whole number and ms, s, m, h or d, such as 30s")]
pub struct PeriodError(String);

/// Milliseconds of each unit; the longest that divides a length is shown.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Period {
    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Period {
        Period(Duration::from_secs(secs))
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Period, PeriodError> {
        let wrong = || PeriodError(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        Ok(Period(Duration::from_millis(number.checked_mul(*millis).ok_or_else(wrong)?)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().rev().find(fits).unwrap_or(&("s", 1000));
        write!(f, "{}{name}", millis / unit)
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Period, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_survives_its_text_in_the_longest_unit_that_fits() {
        for (text, shown) in
            [("30s", "30s"), ("90m", "90m"), ("120m", "2h"), ("1500ms", "1500ms"), ("0s", "0s")]
        {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for bad in ["", "30", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999999s", "999999999999999999d"]
        {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
