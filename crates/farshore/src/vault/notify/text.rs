//! Notices in words. Pure.

use farshore_health::{Level, Subject};
use farshore_vault::rows::{Event, NoticeRow};

/// The subject of a mail about some notices.
pub(super) fn title(notices: &[NoticeRow]) -> String {
    match notices {
        [one] => {
            format!("[farshore] {}: {} {}: {}", word(one), kind(one), one.alert.name, one.alert.reason.what)
        }
        many => {
            let count = |event: Event| many.iter().filter(|row| row.event == event).count();
            let (new, over) = (count(Event::Raised) + count(Event::Worsened), count(Event::Resolved));
            format!("[farshore] {new} alerts, {over} resolved")
        }
    }
}

/// What a mail says.
pub(super) fn body(notices: &[NoticeRow]) -> String {
    notices.iter().map(|row| format!("{}\n\n", paragraph(row))).collect()
}

fn paragraph(row: &NoticeRow) -> String {
    let reason = &row.alert.reason;
    let end = match row.event {
        Event::Resolved => "This is over; nothing is to be done.".to_owned(),
        Event::Raised | Event::Worsened => format!("What to do: {}.", reason.advice),
    };
    format!(
        "{}: {} '{}'\n  {} ({})\n  {end}\n  Alert {}, notice {}, {} ms since 1970",
        word(row),
        kind(row),
        row.alert.name,
        reason.what,
        reason.code,
        row.alert.id,
        row.id,
        row.at_ms,
    )
}

fn word(row: &NoticeRow) -> &'static str {
    match (row.event, row.level()) {
        (Event::Resolved, _) => "RESOLVED",
        (Event::Worsened, _) => "WORSE",
        (Event::Raised, Level::Critical) => "CRITICAL",
        (Event::Raised, _) => "WARNING",
    }
}

pub(super) fn kind(row: &NoticeRow) -> &'static str {
    match row.alert.subject {
        Subject::Protection(_) => "protection",
        Subject::Host(_) => "host",
        Subject::Site(_) => "site",
    }
}
