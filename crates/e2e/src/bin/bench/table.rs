//! Figures, and how they are shown. Knows numbers; must never know how they came about.

use std::{fmt::Write, fs, path::Path, time::Duration};

use farshore_e2e::host::Outcome;

/// One line of the table.
pub(crate) struct Row {
    /// What was measured.
    pub(crate) measure: String,
    /// What ours took, for people.
    pub(crate) ours: String,
    /// What it is compared with; empty where a bound stands alone.
    pub(crate) against: String,
    /// What is to be reached, for people.
    pub(crate) reach: &'static str,
    /// The figure that is held against it, for people.
    pub(crate) figure: String,
    /// Whether it was reached; none where it is only shown.
    pub(crate) reached: Option<bool>,
}

impl Row {
    /// A ratio that must be at most `most`.
    pub(crate) fn ratio(
        measure: &str,
        (ours, against): (String, String),
        ratio: f64,
        (reach, most): (&'static str, f64),
    ) -> Row {
        let reached = Some(ratio <= most);
        Row { measure: measure.to_owned(), ours, against, reach, figure: format!("{ratio:.2} ×"), reached }
    }

    /// A figure that is only shown.
    pub(crate) fn shown(measure: &str, ours: String, against: String, figure: String) -> Row {
        Row { measure: measure.to_owned(), ours, against, reach: "shown", figure, reached: None }
    }
}

/// All lines.
pub(crate) struct Table {
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { rows: Vec::new(), failed: Vec::new() }
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn failed(&mut self, what: &str, why: &str) {
        println!("    FAILED: {why}");
        self.failed.push(format!("{what}: {why}"));
    }

    /// Whether everything was measured.
    pub(crate) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::from(
            "\n| measure | Farshore | against | figure | reach | reached |\n|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let reached = row.reached.map_or("", |r| if r { "yes" } else { "**no**" });
            let Row { measure, ours, against, figure, reach, .. } = row;
            // Writing to a string cannot fail.
            let _ = writeln!(out, "| {measure} | {ours} | {against} | {figure} | {reach} | {reached} |");
        }
        for failed in &self.failed {
            let _ = writeln!(out, "\nnot measured: {failed}");
        }
        out
    }

    pub(crate) fn save(&self, path: &Path) -> Outcome<()> {
        fs::write(path, self.text()).map_err(|e| format!("writing {}: {e}", path.display()))
    }
}

/// The median; for an even number the lower of the two in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted[(sorted.len() - 1) / 2]
}

/// Seconds, for people.
pub(crate) fn secs(d: Duration) -> String {
    format!("{:.2} s", d.as_secs_f64())
}

/// Bytes, for people.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// How many times `b` goes into `a`.
pub(crate) fn over(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(f64::EPSILON)
}
