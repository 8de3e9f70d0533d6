//! Alerts: what they were raised with, and what is so now.

use farshore_health::{Level, Subject};
use farshore_vault::{Core, Problem, ProblemKind, rows::AlertRow};
use uuid::Uuid;

use crate::{vault::api::AlertFilter, views::AlertView};

/// Those that a filter lets through, the newest first.
///
/// # Errors
/// A filter that means nothing, in words.
pub(in crate::vault) fn alerts(core: &Core, filter: &AlertFilter) -> Result<Vec<AlertView>, String> {
    let one_of = |what: &str, value: &Option<String>, known: &[&str]| match value {
        Some(value) if !known.contains(&value.as_str()) => {
            Err(format!("{what}={value} is not known: it is one of {}", known.join(", ")))
        }
        _ => Ok(()),
    };
    one_of("state", &filter.state, &["open", "resolved", "all"])?;
    one_of("level", &filter.level, &["warning", "critical"])?;
    one_of("of", &filter.of, &["protection", "host", "site"])?;
    let state = filter.state.as_deref().unwrap_or("open");
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let about = |view: &AlertView| {
        let wanted = filter.about.as_deref();
        wanted.is_none_or(|wanted| wanted == view.name || wanted == view.subject.to_string())
    };
    let noted =
        |row: &AlertRow| filter.acknowledged.is_none_or(|wanted| wanted == row.acknowledged.is_some());
    let mut found: Vec<AlertView> = (core.alerts())
        .filter(|row| state == "all" || (state == "open") == row.is_open())
        .filter(|row| is(&filter.code, &row.reason.code) && noted(row))
        .map(|row| view(core, row))
        .filter(|view| is(&filter.level, word(view.level)) && is(&filter.of, &view.of) && about(view))
        .collect();
    found.sort_by_key(|view| (std::cmp::Reverse(view.raised_ms), view.id));
    Ok(found)
}

/// One of them.
///
/// # Errors
/// There is none of that id.
pub(in crate::vault) fn alert(core: &Core, id: Uuid) -> Result<AlertView, Problem> {
    core.alert(id).map(|row| view(core, row)).ok_or_else(|| Problem {
        kind: ProblemKind::NotFound,
        code: "alert-unknown".to_owned(),
        what: format!("there is no alert {id}"),
        advice: "list them: farshore alert list --state all".to_owned(),
        details: Vec::new(),
    })
}

fn view(core: &Core, row: &AlertRow) -> AlertView {
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

fn word(level: Level) -> &'static str {
    match level {
        Level::Normal => "normal",
        Level::Warning => "warning",
        Level::Critical => "critical",
    }
}
