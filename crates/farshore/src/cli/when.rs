//! Instants as people write them. This module must never know what they are for.

use jiff::{Span, SpanRelativeTo, Timestamp};

/// An instant, in milliseconds since the Unix epoch; a span counts from now by this host's clock.
pub(super) fn from_now(text: &str) -> Result<u64, String> {
    when(text, crate::vault::wall_ms())
}

fn when(text: &str, now_ms: u64) -> Result<u64, String> {
    // As the API takes it, and as the command did once.
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(ms);
    }
    let ms = match text.strip_prefix('+') {
        Some(span) => after(span).and_then(|ms| now_ms.checked_add(ms)),
        None => text.parse::<Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok()),
    };
    ms.ok_or_else(|| "use an instant such as 2026-11-28T22:00:00Z, or a span from now such as +8h".to_owned())
}

fn after(span: &str) -> Option<u64> {
    let span: Span = span.parse().ok()?;
    let ms = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.as_millis();
    u64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_taken_as_people_write_it() {
        let now = 1_795_900_000_000;
        for (text, ms) in [
            ("2026-11-28T22:00:00Z", 1_795_903_200_000),
            ("2026-11-28T23:00:00+01:00", 1_795_903_200_000),
            ("+8h", now + 8 * 3_600_000),
            ("+1h30m", now + 5_400_000),
            ("+2d", now + 2 * 86_400_000),
            ("1795903200000", 1_795_903_200_000),
        ] {
            assert_eq!(when(text, now), Ok(ms), "{text}");
        }
        for wrong in
            ["", "+", "8h", "+-8h", "tomorrow", "2026-11-28", "2026-11-28T22:00:00", "1969-12-31T23:00:00Z"]
        {
            assert!(when(wrong, now).is_err(), "{wrong}");
        }
    }
}
