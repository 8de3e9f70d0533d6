//! Times of the week by the source's local clock, and which limit holds at one. This module
//! must never ask what time it is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A minute of the local day: 00:00 to 24:00. As text `HH:MM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, pattern = "^[0-9]{1,2}:[0-9]{2}$"))]
#[serde(try_from = "String", into = "String")]
pub struct Minute(u16);

impl Minute {
    /// The end of a day.
    pub const MIDNIGHT: Minute = Minute(DAY_MINUTES);

    /// From minutes since midnight, 0 to 1440.
    #[must_use]
    pub fn new(minutes: u16) -> Option<Minute> {
        (minutes <= DAY_MINUTES).then_some(Minute(minutes))
    }

    /// Minutes since midnight.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Minute {
    type Err = String;

    fn from_str(text: &str) -> Result<Minute, String> {
        let wrong = || format!("'{text}' is no time of the day: expected HH:MM, 00:00 to 24:00");
        let (hours, minutes) = text.trim().split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str| {
            let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours).ok_or_else(wrong)?, number(minutes).ok_or_else(wrong)?);
        let minute = Minute::new(hours * 60 + minutes).filter(|_| minutes < 60);
        minute.ok_or_else(wrong)
    }
}

/// Days of the week: bit 0 is Monday. As text `mon-fri`, `sat,sun` or `daily`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Days = Days(0x7f);

    /// From bits, of which at least one of the lower seven is set and the eighth is not.
    #[must_use]
    pub fn new(bits: u8) -> Option<Days> {
        (1..=0x7f).contains(&bits).then_some(Days(bits))
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether `day` is one of them: 0 is Monday.
    #[must_use]
    pub fn has(self, day: u8) -> bool {
        day < 7 && self.0 & (1 << day) != 0
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Days::ALL {
            return f.write_str("daily");
        }
        let (mut day, mut first) = (0, true);
        while day < 7 {
            let last = (day..7).take_while(|d| self.has(*d)).last();
            if let Some(last) = last {
                let comma = if first { "" } else { "," };
                first = false;
                let (from, to) = (NAMES[usize::from(day)], NAMES[usize::from(last)]);
                if day == last {
                    write!(f, "{comma}{from}")?;
                } else {
                    write!(f, "{comma}{from}-{to}")?;
                }
                day = last;
            }
            day += 1;
        }
        Ok(())
    }
}

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Days, String> {
        let wrong = || format!("'{text}' names no days: expected such as mon-fri, sat,sun or daily");
        if text.trim() == "daily" {
            return Ok(Days::ALL);
        }
        let place = |name: &str| NAMES.iter().position(|known| *known == name.trim()).ok_or_else(wrong);
        let mut bits = 0;
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (place(from)?, place(to)?);
            // A range may go round the week's end, such as sat-mon.
            let count = (to + 7 - from) % 7 + 1;
            bits |= (0..count).fold(0, |bits, step| bits | 1u8 << ((from + step) % 7));
        }
        Days::new(bits).ok_or_else(wrong)
    }
}

/// A part of every day. With its end before its beginning it goes over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Window {
    /// From this minute on.
    pub from: Minute,
    /// Up to this one.
    pub until: Minute,
}

/// Another bandwidth limit at some time of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RateWindow {
    /// Days on which it begins.
    pub days: Days,
    /// From this minute of those days on.
    pub from: Minute,
    /// Up to this one; before `from`: of the next day.
    pub until: Minute,
    /// Most bytes a second; none: no limit.
    #[serde(default)]
    pub bandwidth: Option<u64>,
}

impl RateWindow {
    /// Whether it holds at a minute (0 to 1439) of a local day (0 is Monday).
    #[must_use]
    pub fn covers(&self, day: u8, minute: u16) -> bool {
        let (from, until) = (self.from.get(), self.until.get());
        if from < until {
            return self.days.has(day) && (from..until).contains(&minute);
        }
        let yesterday = (day + 6) % 7;
        (self.days.has(day) && minute >= from) || (self.days.has(yesterday) && minute < until)
    }
}

/// The limit in bytes a second at a minute (0 to 1439) of a local day (0 is Monday): that of
/// the first window that covers it, else `otherwise`. None: no limit.
#[must_use]
pub fn limit_at(windows: &[RateWindow], otherwise: Option<u64>, day: u8, minute: u16) -> Option<u64> {
    let window = windows.iter().find(|window| window.covers(day, minute));
    window.map_or(otherwise, |window| window.bandwidth)
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    )*};
}

as_text!(Minute, Days);
