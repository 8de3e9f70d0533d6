//! What a text of figures holds, by name: documents and dashboards are checked against it.

use std::collections::BTreeSet;

/// Names as queries use them.
#[must_use]
pub fn names(text: &str) -> BTreeSet<String> {
    let of = |line: &str| {
        let mut words = line.strip_prefix("# TYPE ")?.split(' ');
        let (name, kind) = (words.next()?, words.next()?);
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        Some(suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect::<Vec<_>>())
    };
    text.lines().filter_map(of).flatten().collect()
}

/// Every name of a figure in a text of any kind.
#[must_use]
pub fn used(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("farshore_")).map(str::to_owned).collect()
}

/// What is wrong with a document that lists all figures of a text, of names that are `ours`,
/// in rows of a table with name, labels and help.
#[must_use]
pub fn faults(document: &str, text: &str, ours: impl Fn(&str) -> bool) -> Vec<String> {
    let mut listed: BTreeSet<String> = used(document).into_iter().filter(|name| ours(name)).collect();
    let mut faults = Vec::new();
    for (name, kind, help) in families(text) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let of_kind = if kind == "histogram" { " (histogram)" } else { "" };
        let (begin, end) = (format!("| `{name}{suffix}`{of_kind} |"), format!("| {help} |"));
        if !document.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end)) {
            faults.push(format!("there is no row '{begin} … {end}'"));
        }
        listed.remove(&format!("{name}{suffix}"));
    }
    faults.extend(listed.into_iter().map(|name| format!("there is no figure '{name}'")));
    faults
}

/// Name, kind and help of each family.
fn families(text: &str) -> Vec<(&str, &str, &str)> {
    let kind = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '))
    };
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    helps.map(|(name, help)| (name, kind(name).unwrap_or_default(), help.trim_end_matches('.'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP farshore_a A thing.\n# TYPE farshore_a gauge\nfarshore_a 1\n\
                        # HELP farshore_b Things.\n# TYPE farshore_b counter\nfarshore_b_total 1\n\
                        # HELP farshore_c Times.\n# TYPE farshore_c histogram\n# EOF\n";

    #[test]
    fn a_document_is_held_to_names_helps_and_nothing_else() {
        let whole = "| `farshore_a` | x | A thing |\n| `farshore_b_total` | | Things |\n\
                     | `farshore_c` (histogram) | | Times |\n| `farshore_other_d` | | Of others |";
        let ours = |name: &str| !name.starts_with("farshore_other_");
        assert_eq!(faults(whole, TEXT, ours), Vec::<String>::new());
        assert_eq!(faults(&whole.replace("A thing", "Another"), TEXT, ours).len(), 1);
        assert_eq!(faults(&whole.replace("_b_total", "_b"), TEXT, ours).len(), 2);
        assert_eq!(faults(whole, TEXT, |_| true), ["there is no figure 'farshore_other_d'"]);
        let known = names(TEXT);
        assert!(known.contains("farshore_b_total") && known.contains("farshore_c_bucket"), "{known:?}");
    }
}
