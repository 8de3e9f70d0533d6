//! XML as a small tree that remembers where in the text each element stands, so that a
//! change touches nothing but what it changes. This module must never know an element's
//! meaning.

use std::ops::Range;

use quick_xml::{Reader, XmlVersion, events::BytesStart, events::Event};

use super::DefinitionError;

/// Longest text that is read, in bytes. Real definitions have some tens of KiB.
const MAX_TEXT: usize = 8 * 1024 * 1024;
/// Deepest nesting that is read. Real definitions stay below 64.
const MAX_DEPTH: usize = 128;

/// An element of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name as written.
    pub name: String,
    /// Its attributes in order, entities resolved.
    pub attributes: Vec<(String, String)>,
    /// The elements within.
    pub children: Vec<Element>,
    /// The text directly within, entities resolved, without white space around.
    pub text: String,
    /// Where it stands, in bytes, tags included.
    pub span: Range<usize>,
    /// Where its start tag stands.
    pub open: Range<usize>,
}

impl Element {
    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|c| c.name == name)
    }

    /// All children of that name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The element at the end of a path of first children.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// An attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// An attribute of the first child of that name.
    #[must_use]
    pub fn child_attribute(&self, child: &str, name: &str) -> Option<&str> {
        self.child(child)?.attribute(name)
    }

    /// The text of the first child of that name.
    #[must_use]
    pub fn child_text(&self, child: &str) -> Option<&str> {
        self.child(child).map(|c| c.text.as_str())
    }

    /// Where what is between its tags stands; empty and after the tag for `<a/>`.
    #[must_use]
    pub fn inner(&self, text: &str) -> Range<usize> {
        let close = text[self.span.clone()].rfind("</").map(|at| self.span.start + at);
        self.open.end..close.filter(|at| *at >= self.open.end).unwrap_or(self.open.end)
    }
}

/// Reads a text's root element.
///
/// # Errors
/// [`DefinitionError::Malformed`], [`DefinitionError::TooBig`].
pub fn parse(text: &str) -> Result<Element, DefinitionError> {
    if text.len() > MAX_TEXT {
        return Err(DefinitionError::TooBig { limit: "8 MiB" });
    }
    let mut reader = Reader::from_str(text);
    let (mut open, mut root) = (Vec::<Element>::new(), None);
    loop {
        let start = position(&reader);
        let event = reader.read_event().map_err(|e| malformed(reader.error_position(), &e))?;
        let span = start..position(&reader);
        match event {
            Event::Start(tag) if open.len() < MAX_DEPTH => open.push(element(&tag, span)?),
            Event::Start(_) => return Err(DefinitionError::TooBig { limit: "128 levels of nesting" }),
            Event::Empty(tag) => close(&mut open, &mut root, element(&tag, span)?),
            Event::End(_) => {
                if let Some(mut done) = open.pop() {
                    done.span.end = span.end;
                    done.text = done.text.trim().to_owned();
                    close(&mut open, &mut root, done);
                }
            }
            Event::Text(words) => add_text(&mut open, &words.xml10_content()),
            Event::CData(words) => add_text(&mut open, &words.xml10_content()),
            Event::GeneralRef(entity) => {
                let written = format!("&{};", entity.xml10_content());
                let resolved =
                    quick_xml::escape::unescape(&written).map_err(|e| malformed(start as u64, &e))?;
                add_text(&mut open, &resolved);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(malformed(text.len() as u64, &"it ends before its root element does")),
    }
}

fn element(tag: &BytesStart<'_>, span: Range<usize>) -> Result<Element, DefinitionError> {
    let mut out = Element {
        name: tag.name().as_ref().to_owned(),
        open: span.clone(),
        span: span.clone(),
        ..Element::default()
    };
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| malformed(span.start as u64, &e))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|e| malformed(span.start as u64, &e))?;
        out.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(out)
}

fn close(open: &mut [Element], root: &mut Option<Element>, done: Element) {
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => {
            root.get_or_insert(done);
        }
    }
}

fn add_text(open: &mut [Element], words: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(words);
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn malformed(at: u64, why: &dyn std::fmt::Display) -> DefinitionError {
    DefinitionError::Malformed { at, why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_knows_its_place_and_its_words() {
        let text = "<?xml version='1.0'?>\n<a x='1 &amp; 2'><!-- c --><b>t &lt; &#65;</b><c /></a>\n";
        let root = parse(text).unwrap();
        assert_eq!(root.attribute("x"), Some("1 & 2"));
        assert_eq!(root.child_text("b"), Some("t < A"));
        assert_eq!(&text[root.child("c").unwrap().span.clone()], "<c />");
        assert_eq!(&text[root.child("b").unwrap().inner(text)], "t &lt; &#65;");
    }

    #[test]
    fn broken_text_is_refused() {
        for bad in ["", "<a>", "<a></b>", "<a x=1>", "text", "<a>&unknown;</a>"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"<a>".repeat(200)).is_err());
    }
}
