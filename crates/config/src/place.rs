//! Where in a text a key stands, and which key stands at a place. This module must never
//! know what any key means.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{KeyPath, Segment};

/// Line of a byte offset, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Line on which the key at `path` stands; of one that is not written, that of the nearest
/// table above it. 1 where the text is no TOML.
pub(crate) fn line_of_key(text: &str, path: &KeyPath) -> usize {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut here = Here::Table(table.get_ref());
    let mut offset = 0;
    for segment in &path.0 {
        let Some((at, inside)) = here.step(segment) else { break };
        offset = at;
        here = inside;
    }
    line_of(text, offset)
}

/// Path of the innermost key whose own text or value covers `span`.
pub(crate) fn key_at(text: &str, span: &Range<usize>) -> KeyPath {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut path = KeyPath::default();
    let mut here = Here::Table(table.get_ref());
    while let Some((segment, inside)) = here.covering(span) {
        path.0.push(segment);
        here = inside;
    }
    path
}

enum Here<'a> {
    Table(&'a DeTable<'a>),
    Value(&'a Spanned<DeValue<'a>>),
}

impl<'a> Here<'a> {
    fn table(&self) -> Option<&'a DeTable<'a>> {
        match self {
            Here::Table(table) => Some(table),
            Here::Value(value) => match value.get_ref() {
                DeValue::Table(table) => Some(table),
                _ => None,
            },
        }
    }

    fn array(&self) -> Option<&'a [Spanned<DeValue<'a>>]> {
        match self {
            Here::Value(value) => match value.get_ref() {
                DeValue::Array(array) => Some(array),
                _ => None,
            },
            Here::Table(_) => None,
        }
    }

    fn step(&self, segment: &Segment) -> Option<(usize, Here<'a>)> {
        match segment {
            Segment::Key(wanted) => {
                let mut keys = self.table()?.iter();
                let (key, value) = keys.find(|(key, _)| key.get_ref() == wanted.as_str())?;
                Some((key.span().start, Here::Value(value)))
            }
            Segment::Index(index) => {
                let value = self.array()?.get(*index)?;
                Some((value.span().start, Here::Value(value)))
            }
        }
    }

    fn covering(&self, span: &Range<usize>) -> Option<(Segment, Here<'a>)> {
        let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
        if let Some(table) = self.table() {
            let mut keys = table.iter();
            let (key, value) = keys.find(|(key, value)| covers(key.span()) || reaches(value, &covers))?;
            return Some((Segment::Key(key.get_ref().to_string()), Here::Value(value)));
        }
        let mut values = self.array()?.iter().enumerate();
        let (index, value) = values.find(|(_, value)| reaches(value, &covers))?;
        Some((Segment::Index(index), Here::Value(value)))
    }
}

/// Whether a value or anything inside it is covered: a table's own span is its header alone,
/// and an array of tables is as long as its last header.
fn reaches(value: &Spanned<DeValue<'_>>, covers: &impl Fn(Range<usize>) -> bool) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().any(|(key, value)| covers(key.span()) || reaches(value, covers))
        }
        DeValue::Array(array) => array.iter().any(|value| reaches(value, covers)),
        _ => false,
    };
    inside || covers(value.span())
}
