//! Alerts: what they were raised with, and what is so now.

use farshore_health::Subject;
use farshore_vault::{Core, rows::AlertRow};

use crate::views::AlertView;

/// An alert as it is shown.
pub(in crate::vault) fn alert(core: &Core, row: &AlertRow) -> AlertView {
    let (of, subject) = match row.subject {
        Subject::Protection(id) => ("protection", id.0),
        Subject::Host(id) => ("host", id.0),
        Subject::Site(id) => ("site", id.0),
    };
    AlertView {
        id: row.id,
        of: of.to_owned(),
        subject,
        name: row.name.clone(),
        level: row.reason.level,
        code: row.reason.code.clone(),
        what: core.alert_text(row),
        advice: row.reason.advice.clone(),
        since_ms: row.since_ms,
        raised_ms: row.raised_ms,
        resolved_ms: row.resolved_ms,
        acknowledged_by: row.acknowledged.as_ref().map(|note| note.by.clone()),
        acknowledged_ms: row.acknowledged.as_ref().map(|note| note.at_ms),
    }
}
