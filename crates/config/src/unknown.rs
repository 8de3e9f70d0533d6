//! Keys that mean nothing, told so that the right one is found: with their line, the key that
//! was probably meant, and those that there are. They warn, and never stop a program.

use std::fmt;

use serde::Serialize;
use toml::Value;

use crate::{KeyPath, Segment, place};

/// A key that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The key.
    pub key: KeyPath,
    /// Known keys at its place, as far as they are in force, by name.
    pub known: Vec<String>,
    /// The one of them that was probably meant.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownKey { file, line, key, known, nearest } = self;
        write!(f, "{file}:{line}: unknown key '{key}': it has no effect")?;
        match nearest {
            Some(nearest) => write!(f, "; did you mean '{nearest}'?"),
            None if known.is_empty() => Ok(()),
            None => write!(f, "; known here: {}", known.join(", ")),
        }
    }
}

/// Says of each path all that helps; `read` is what the text was read as.
pub(crate) fn described(file: &str, text: &str, paths: &[KeyPath], read: &impl Serialize) -> Vec<UnknownKey> {
    if paths.is_empty() {
        return Vec::new();
    }
    let whole = toml::Table::try_from(read).map(Value::Table).ok();
    let mut unknown: Vec<UnknownKey> =
        paths.iter().map(|path| describe(file, text, path, whole.as_ref())).collect();
    unknown.sort_by_key(|key| key.line);
    unknown
}

fn describe(file: &str, text: &str, path: &KeyPath, whole: Option<&Value>) -> UnknownKey {
    let known = path.split().and_then(|(parent, _)| keys_at(whole?, &parent)).unwrap_or_default();
    let name = match path.0.last() {
        Some(Segment::Key(name)) => name.as_str(),
        _ => "",
    };
    let nearest = known.iter().map(|key| (distance(name, key), key)).min();
    let nearest = nearest.filter(|(far, key)| *far <= tolerance(key)).map(|(_, key)| key.clone());
    let line = place::line_of_key(text, path);
    UnknownKey { file: file.to_owned(), line, key: path.clone(), known, nearest }
}

fn keys_at(whole: &Value, path: &KeyPath) -> Option<Vec<String>> {
    let inside = path.0.iter().try_fold(whole, |value, segment| match segment {
        Segment::Key(key) => value.get(key.as_str()),
        Segment::Index(index) => value.get(*index),
    })?;
    Some(inside.as_table()?.keys().cloned().collect())
}

/// How many slips of the hand still count as the same word.
fn tolerance(key: &str) -> usize {
    (key.len() / 3).clamp(1, 3)
}

/// Letters to add, drop or change to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
