//! Answers for people and for programs.

use std::io::Write;

use comfy_table::{Table, presets::NOTHING};
use farshore_health::{Health, MAINTENANCE, Reason};
use farshore_vault::{Finding, Severity};
use serde::Serialize;

use super::Output;

/// Writes to standard output. Whoever closes it has read enough.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes to standard error.
pub(crate) fn complain(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// A list, as a table or as JSON.
pub(crate) fn list<T: Serialize>(output: Output, all: &[T], heads: &[&str], row: impl Fn(&T) -> Vec<String>) {
    print(&list_text(output, all, heads, row));
}

/// A list as text.
pub(crate) fn list_text<T: Serialize>(
    output: Output,
    all: &[T],
    heads: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> String {
    match output {
        Output::Json => format!("{:#}\n", serde_json::json!(all)),
        Output::Table => table(heads, all.iter().map(row)),
    }
}

/// A table without lines.
pub(crate) fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heads.iter().map(|head| head.to_uppercase()));
    rows.for_each(|row| {
        table.add_row(row);
    });
    format!("{table}\n")
}

/// One thing with what is known of it, a line each, or JSON.
pub(crate) fn record(output: Output, value: &impl Serialize, heads: &[&str], row: Vec<String>) {
    let width = heads.iter().map(|head| head.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        heads.iter().zip(row).map(|(head, value)| format!("{head:width$}  {value}")).collect();
    one(output, value, &lines.join("\n"));
}

/// Why something is not well, for people; programs have it in the value.
pub(crate) fn reasons(output: Output, name: &str, health: &Health) {
    if output == Output::Table {
        for reason in &health.reasons {
            print(&reason_line(name, reason));
        }
    }
}

/// One reason, as a line.
pub(crate) fn reason_line(name: &str, reason: &Reason) -> String {
    format!("  {name}: {} ({})\n", reason.what, reason.advice)
}

/// How well something can be.
pub(crate) const LEVELS: [&str; 3] = ["normal", "warning", "critical"];

/// Health in a word.
pub(crate) fn health(health: &Health) -> String {
    let rests = health.reasons.first().is_some_and(|reason| reason.code == MAINTENANCE);
    if rests { MAINTENANCE.to_owned() } else { LEVELS[health.level as usize].to_owned() }
}

/// A text, or a dash where there is none.
pub(crate) fn or_dash(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "-".to_owned())
}

/// One value, or a sentence about it.
pub(crate) fn one(output: Output, value: &impl Serialize, text: &str) {
    match output {
        Output::Json => print(&format!("{:#}\n", serde_json::json!(value))),
        Output::Table => print(&format!("{text}\n")),
    }
}

/// What was found before something is done, to standard error.
pub(crate) fn findings(findings: &[Finding]) {
    for finding in findings {
        let word = if finding.severity == Severity::Error { "error" } else { "warning" };
        complain(&format!("{word}: {}\n  {}\n", finding.what, finding.advice));
    }
}

/// So many of something.
pub(crate) fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..UNITS.len() - 1).take_while(|power| bytes >> (10 * (power + 1)) > 0).count();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let scaled = bytes as f64 / f64::from(1u32 << (10 * u32::try_from(power.min(3)).unwrap_or(0)));
    match power {
        0 => format!("{bytes} B"),
        4 => format!("{:.1} TiB", scaled / 1024.0),
        power => format!("{scaled:.1} {}", UNITS[power]),
    }
}

/// Milliseconds as people say them.
pub(crate) fn time(ms: u64) -> String {
    match ms / 1000 {
        0..=9 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        secs @ 10..=119 => format!("{secs} s"),
        secs @ 120..=7199 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| count(n, "error")), ["0 errors", "1 error", "2 errors"]);
    }

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(
            [5, 2048, 3 << 20, 5 << 30, 7 << 40].map(size),
            ["5 B", "2.0 KiB", "3.0 MiB", "5.0 GiB", "7.0 TiB"]
        );
        assert_eq!([1500, 61_000, 600_000, 8_000_000].map(time), ["1.5 s", "61 s", "10 min", "2 h"]);
    }
}
