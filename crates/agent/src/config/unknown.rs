//! Which keys of a configuration mean nothing: those that are gone when what was read is
//! written again. This module must never know the keys themselves.

use serde::Serialize;
use toml::Value;

/// Paths of the keys in `text` that `read` does not have.
pub(super) fn keys(text: &str, read: &impl Serialize) -> Vec<String> {
    let (given, known) = (text.parse::<toml::Table>(), toml::Table::try_from(read));
    let mut out = Vec::new();
    if let (Ok(given), Ok(known)) = (given, known) {
        compare(&Value::Table(given), &Value::Table(known), "", &mut out);
    }
    out
}

fn compare(given: &Value, known: &Value, at: &str, out: &mut Vec<String>) {
    match (given, known) {
        (Value::Table(given), Value::Table(known)) => {
            for (key, value) in given {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                match known.get(key) {
                    Some(known) => compare(value, known, &path, out),
                    None => out.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{at}[{index}]"), out);
            }
        }
        _ => {}
    }
}
