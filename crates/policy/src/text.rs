//! Values as people write them. Whatever is written here is read here again as the same
//! value. This module must never know which setting a value is for.

use crate::{Minute, RateWindow};

/// Words for "not set".
const NONE: [&str; 3] = ["off", "none", "unlimited"];

/// Seconds: `90`, `30s`, `5m`, `1h30m`, `7d`.
pub(crate) mod secs {
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

    pub(crate) fn write(secs: &u64) -> String {
        let mut rest = *secs;
        let mut out = String::new();
        for (unit, size) in UNITS {
            if rest >= size {
                out.push_str(&format!("{}{unit}", rest / size));
                rest %= size;
            }
        }
        if out.is_empty() { "0s".to_owned() } else { out }
    }

    pub(crate) fn read(text: &str) -> Result<u64, String> {
        let wrong = || format!("'{text}' is no period: expected such as 30s, 5m, 1h30m or 7d");
        if let Ok(secs) = super::digits(text) {
            return Ok(secs);
        }
        let (mut total, mut number) = (0u64, String::new());
        for letter in text.trim().chars() {
            if letter.is_ascii_digit() {
                number.push(letter);
                continue;
            }
            let (_, size) = UNITS.iter().find(|(unit, _)| *unit == letter).ok_or_else(wrong)?;
            let part = super::digits(&std::mem::take(&mut number)).map_err(|_| wrong())?;
            let part = part.checked_mul(*size).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
        }
        if number.is_empty() && !text.trim().is_empty() { Ok(total) } else { Err(wrong()) }
    }
}

/// Bytes a second: `65536`, `10MB/s`, `100Mbit`.
pub(crate) mod rate {
    /// Longer names first, so that none is taken for the end of another.
    const UNITS: [(&str, u64); 10] = [
        ("kbit", 125),
        ("Mbit", 125_000),
        ("Gbit", 125_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    /// Units that are written.
    const WRITTEN: [(&str, u64); 6] = [
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("kB", 1_000),
        ("KiB", 1 << 10),
    ];

    pub(crate) fn write(rate: &u64) -> String {
        let unit = WRITTEN.iter().find(|(_, size)| *rate > 0 && rate.is_multiple_of(*size));
        unit.map_or_else(|| format!("{rate}B/s"), |(name, size)| format!("{}{name}/s", rate / size))
    }

    pub(crate) fn read(text: &str) -> Result<u64, String> {
        let wrong = || format!("'{text}' is no rate: expected such as 10MB/s or 100Mbit");
        let plain = text.trim().strip_suffix("/s").unwrap_or(text.trim());
        let unit = UNITS.iter().find_map(|(name, size)| Some((plain.strip_suffix(name)?, *size)));
        let (number, size) = unit.unwrap_or((plain, 1));
        super::digits(number).ok().and_then(|n| n.checked_mul(size)).ok_or_else(wrong)
    }
}

/// A count.
pub(crate) mod count {
    pub(crate) fn write(count: &u64) -> String {
        count.to_string()
    }

    pub(crate) fn read(text: &str) -> Result<u64, String> {
        super::digits(text)
    }
}

/// Yes or no: `on`, `off`.
pub(crate) mod switch {
    pub(crate) fn write(on: &bool) -> String {
        if *on { "on" } else { "off" }.to_owned()
    }

    pub(crate) fn read(text: &str) -> Result<bool, String> {
        match text.trim() {
            "on" | "yes" | "true" => Ok(true),
            "off" | "no" | "false" => Ok(false),
            _ => Err(format!("'{text}' is neither on nor off")),
        }
    }
}

/// A period or `off`.
pub(crate) mod secs_or_off {
    pub(crate) fn write(secs: &Option<u64>) -> String {
        secs.as_ref().map_or_else(|| "off".to_owned(), super::secs::write)
    }

    pub(crate) fn read(text: &str) -> Result<Option<u64>, String> {
        super::unless_none(text, super::secs::read)
    }
}

/// A rate or `unlimited`.
pub(crate) mod rate_or_none {
    pub(crate) fn write(rate: &Option<u64>) -> String {
        rate.as_ref().map_or_else(|| "unlimited".to_owned(), super::rate::write)
    }

    pub(crate) fn read(text: &str) -> Result<Option<u64>, String> {
        super::unless_none(text, super::rate::read)
    }
}

/// A part of the day, `22:00-06:00`, or `any`.
pub(crate) mod window {
    use crate::Window;

    pub(crate) fn write(window: &Option<Window>) -> String {
        window.map_or_else(|| "any".to_owned(), |w| format!("{}-{}", w.from, w.until))
    }

    pub(crate) fn read(text: &str) -> Result<Option<Window>, String> {
        if text.trim() == "any" {
            return Ok(None);
        }
        super::unless_none(text, |text| super::ends(text).map(|(from, until)| Window { from, until }))
    }
}

/// Windows with limits: `mon-fri 08:00-18:00 10MB/s; daily 22:00-06:00 unlimited`, or `none`.
pub(crate) mod windows {
    use super::RateWindow;

    pub(crate) fn one(window: &RateWindow) -> String {
        let RateWindow { days, from, until, bandwidth } = window;
        format!("{days} {from}-{until} {}", super::rate_or_none::write(bandwidth))
    }

    pub(crate) fn write(windows: &[RateWindow]) -> String {
        if windows.is_empty() {
            return "none".to_owned();
        }
        windows.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn read(text: &str) -> Result<Vec<RateWindow>, String> {
        if super::NONE.contains(&text.trim()) {
            return Ok(Vec::new());
        }
        text.split(';').map(read_one).collect()
    }

    fn read_one(text: &str) -> Result<RateWindow, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, ends, rate] = words.as_slice() else {
            return Err(format!("'{text}' is no window: expected such as mon-fri 08:00-18:00 10MB/s"));
        };
        let (from, until) = super::ends(ends)?;
        Ok(RateWindow { days: days.parse()?, from, until, bandwidth: super::rate_or_none::read(rate)? })
    }
}

/// How the first copy is made: `now`, `at 22:00`, `offline`, `existing`.
pub(crate) mod initial {
    use crate::InitialMethod;

    pub(crate) fn write(method: &InitialMethod) -> String {
        match method {
            InitialMethod::Now => "now".to_owned(),
            InitialMethod::At { minute } => format!("at {minute}"),
            InitialMethod::Offline => "offline".to_owned(),
            InitialMethod::Existing => "existing".to_owned(),
        }
    }

    pub(crate) fn read(text: &str) -> Result<InitialMethod, String> {
        match text.trim() {
            "now" => Ok(InitialMethod::Now),
            "offline" => Ok(InitialMethod::Offline),
            "existing" => Ok(InitialMethod::Existing),
            other => {
                let time = other.strip_prefix("at ").and_then(|time| time.parse().ok());
                let minute = time.filter(|minute| *minute != crate::Minute::MIDNIGHT);
                let wrong = || format!("'{text}' is none of now, at HH:MM, offline and existing");
                Ok(InitialMethod::At { minute: minute.ok_or_else(wrong)? })
            }
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $kind:ty { $($variant:ident = $word:literal),* }) => {
        $(#[$doc])*
        pub(crate) mod $name {
            pub(crate) fn write(value: &$kind) -> String {
                match value { $(<$kind>::$variant => $word,)* }.to_owned()
            }

            pub(crate) fn read(text: &str) -> Result<$kind, String> {
                match text.trim() {
                    $($word => Ok(<$kind>::$variant),)*
                    _ => Err(format!("'{text}' is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}

words!(
    /// Compression.
    compression: farshore_control::Compression { Auto = "auto", On = "on", Off = "off" }
);
words!(
    /// Authentication.
    wire: farshore_control::Wire { Certificate = "certificate", Kerberos = "kerberos" }
);
words!(
    /// The replica at disabling.
    on_disable: crate::OnDisable { Keep = "keep", Delete = "delete" }
);

fn digits(text: &str) -> Result<u64, String> {
    let plain = text.trim();
    let number = plain.bytes().all(|b| b.is_ascii_digit()).then(|| plain.parse().ok()).flatten();
    number.ok_or_else(|| format!("'{text}' is no whole number"))
}

fn unless_none<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if NONE.contains(&text.trim()) { Ok(None) } else { read(text).map(Some) }
}

fn ends(text: &str) -> Result<(Minute, Minute), String> {
    let wrong = || format!("'{text}' is no part of a day: expected such as 22:00-06:00");
    let (from, until) = text.trim().split_once('-').ok_or_else(wrong)?;
    Ok((from.parse()?, until.parse()?))
}
