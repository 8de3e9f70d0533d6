//! Rules on size: small files, functions that fit a screen, no blobs.

use super::Source;

/// Largest file in bytes; what is larger is built or downloaded, not checked in. The largest
/// is the API's document, which is checked in so that a change of the API is seen.
const BLOB_BYTES: usize = 512 * 1024;
/// Most lines of a Rust file, with its tests.
const FILE_LINES: usize = 600;
/// Most lines of a function, from its first to its closing brace.
const FUNCTION_LINES: usize = 70;

/// Functions that are longer, until somebody shortens them: path, name, and lines at most.
/// A ratchet: entries may shrink and go, never grow or come.
const LONGER: [(&str, &str, usize); 0] = [];

pub(super) fn blobs(source: &Source) -> Vec<String> {
    let Source { path, size, .. } = source;
    let large = *size > BLOB_BYTES;
    large.then(|| format!("{path}: {size} bytes, more than {BLOB_BYTES}")).into_iter().collect()
}

pub(super) fn files(source: &Source) -> Vec<String> {
    let lines = source.lines().count();
    let long = source.is_rust() && lines > FILE_LINES;
    long.then(|| format!("{}: {lines} lines, more than {FILE_LINES}", source.path)).into_iter().collect()
}

pub(super) fn functions(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let most = |name: &str| {
        let listed = LONGER.iter().find(|(path, function, _)| *path == source.path && *function == name);
        listed.map_or(FUNCTION_LINES, |(_, _, lines)| *lines)
    };
    functions_of(source)
        .filter(|(_, name, lines)| *lines > most(name))
        .map(|(at, name, lines)| {
            format!("{}:{at}: fn {name} has {lines} lines, more than {}", source.path, most(&name))
        })
        .collect()
}

/// First line, name and length of each function. It trusts rustfmt: a function ends at the
/// first brace that stands where its own line begins.
fn functions_of(source: &Source) -> impl Iterator<Item = (usize, String, usize)> {
    let lines: Vec<&str> = source.lines().map(|(_, line)| line).collect();
    let starts: Vec<_> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((at, name_of(line)?))).collect();
    starts.into_iter().filter_map(move |(at, name)| {
        let indent = lines[at].len() - lines[at].trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        if lines[at].ends_with('}') || lines[at].ends_with(';') {
            return None;
        }
        let length = lines[at..].iter().position(|line| *line == end)? + 1;
        Some((at + 1, name, length))
    })
}

/// The name, if a function begins on this line.
fn name_of(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub(")
    });
    (words.next()? == "fn").then_some(())?;
    Some(words.next()?.split(['(', '<']).next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of `lines` lines inside an `impl`.
    fn function(lines: usize) -> String {
        let body = "        step();\n".repeat(lines - 2);
        format!("impl A {{\n    pub(crate) async fn run<T>(self) {{\n{body}    }}\n}}\n")
    }

    #[test]
    fn a_blob_is_refused() {
        let blob = |size| Source { path: "a.bin".to_owned(), size, text: None };
        assert_eq!(blobs(&blob(BLOB_BYTES + 1)).len(), 1);
        assert!(blobs(&blob(BLOB_BYTES)).is_empty());
    }

    #[test]
    fn a_long_file_is_refused_when_it_is_rust() {
        let text = "\n".repeat(FILE_LINES);
        assert_eq!(files(&Source::sample("a.rs", &text)).len(), 1);
        assert!(files(&Source::sample("a.md", &text)).is_empty());
        assert!(files(&Source::sample("a.rs", &text[1..])).is_empty());
    }

    #[test]
    fn a_long_function_is_named_with_its_line() {
        let findings = functions(&Source::sample("a.rs", &function(FUNCTION_LINES + 1)));
        assert_eq!(findings, [format!("a.rs:2: fn run has {} lines, more than 70", FUNCTION_LINES + 1)]);
        assert!(functions(&Source::sample("a.rs", &function(FUNCTION_LINES))).is_empty());
    }

    #[test]
    fn a_declaration_without_a_body_is_no_function() {
        let text = format!("trait T {{\n    fn a(&self);\n{}}}\n", "    // more\n".repeat(100));
        assert!(functions(&Source::sample("a.rs", &text)).is_empty());
    }
}
