//! Reads the text of a program's configuration: one typed TOML file, where an unknown key is
//! named but stops nothing, so that a step back to an older program is no outage, and where
//! every fault says its file, its line, its key and what is allowed. This crate must never
//! know any program's keys, and never touch a file: the caller has read it.
//!
//! A program's type derives `Serialize` and `Deserialize` with defaults and implements
//! [`Check`] for what its types alone cannot say.

mod fault;
mod path;
mod place;
mod unknown;

use serde::{Serialize, de::DeserializeOwned};

pub use fault::{ConfigError, Fault, Faults};
pub use path::{KeyPath, Segment};
pub use unknown::UnknownKey;

/// Largest configuration that is read, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a configuration's types alone cannot say about it.
pub trait Check {
    /// Names every fault of the values; the default finds none.
    fn check(&self, faults: &mut Faults) {
        let _ = faults;
    }
}

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// The values.
    pub value: T,
    /// Keys that have no effect, in the order of the file: for the program to warn of.
    pub unknown: Vec<UnknownKey>,
}

/// Reads `text`, which is the content of `file`; the name serves only the messages.
///
/// # Errors
/// [`ConfigError`] with every fault of the values at once, or with the first fault of the
/// text or of a type, beyond which nothing can be read.
pub fn read<T>(file: &str, text: &str) -> Result<Read<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Check,
{
    let (value, unknown) = parse::<T>(file, text)?;
    let mut faults = Faults::default();
    value.check(&mut faults);
    if faults.is_empty() {
        let unknown = unknown::described(file, text, &unknown, &value);
        return Ok(Read { value, unknown });
    }
    Err(ConfigError::of_values(file, text, faults))
}

/// Keys of `text` that mean nothing to `T`, in the order of the file.
///
/// # Errors
/// [`ConfigError`] where `text` cannot be read as a `T` at all.
pub fn unknown_keys<T>(file: &str, text: &str) -> Result<Vec<UnknownKey>, ConfigError>
where
    T: DeserializeOwned + Serialize,
{
    let (value, unknown) = parse::<T>(file, text)?;
    Ok(unknown::described(file, text, &unknown, &value))
}

fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<(T, Vec<KeyPath>), ConfigError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ConfigError::too_large(file, text.len()));
    }
    let mut unknown = Vec::new();
    let reader = toml::Deserializer::parse(text).map_err(|e| ConfigError::of_text(file, text, &e))?;
    let value = serde_ignored::deserialize(reader, |path| unknown.push(KeyPath::from(&path)))
        .map_err(|e| ConfigError::of_text(file, text, &e))?;
    Ok((value, unknown))
}

#[cfg(test)]
mod tests;
