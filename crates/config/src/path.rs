//! Paths of keys within a configuration, as people write them: `replicate[0].target.port`.
//! This module must never know where in a text a key stands.

use std::fmt;

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// A place in an array, from 0.
    Index(usize),
}

/// From the top of a configuration to one of its keys; empty: the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(pub Vec<Segment>);

impl KeyPath {
    /// This path and one key more.
    #[must_use]
    pub fn key(&self, key: &str) -> KeyPath {
        self.and(Segment::Key(key.to_owned()))
    }

    /// This path and one place more.
    #[must_use]
    pub fn index(&self, index: usize) -> KeyPath {
        self.and(Segment::Index(index))
    }

    /// Without its last step, and that step, where there is one.
    #[must_use]
    pub fn split(&self) -> Option<(KeyPath, &Segment)> {
        let (last, before) = self.0.split_last()?;
        Some((KeyPath(before.to_vec()), last))
    }

    fn and(&self, segment: Segment) -> KeyPath {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }
}

impl From<&str> for KeyPath {
    /// Reads keys with dots between them; no indices and no quoted keys.
    fn from(text: &str) -> KeyPath {
        let keys = text.split('.').filter(|key| !key.is_empty());
        KeyPath(keys.map(|key| Segment::Key(key.to_owned())).collect())
    }
}

impl From<&serde_ignored::Path<'_>> for KeyPath {
    fn from(path: &serde_ignored::Path<'_>) -> KeyPath {
        use serde_ignored::Path;
        match path {
            Path::Root => KeyPath::default(),
            Path::Seq { parent, index } => KeyPath::from(*parent).index(*index),
            Path::Map { parent, key } => KeyPath::from(*parent).key(key),
            Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                KeyPath::from(*parent)
            }
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if at == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
