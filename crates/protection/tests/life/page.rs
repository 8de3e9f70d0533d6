//! The page for people is made of the code.

use farshore_protection::{diagram, reference};

/// `FARSHORE_WRITE_DOCS=1` in the environment writes the page instead.
#[test]
fn the_page_of_the_life_is_the_life() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protection-life.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut made = page.clone();
    for (name, text) in [("diagram", diagram()), ("tables", reference())] {
        let mark = format!("<!-- {name} -->\n");
        let (before, rest) = made.split_once(&mark).unwrap();
        let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
        made = format!("{before}{mark}{text}<!-- end -->\n{after}");
    }
    if std::env::var_os("FARSHORE_WRITE_DOCS").is_some() {
        std::fs::write(path, made).unwrap();
    } else {
        assert!(page == made, "docs/protection-life.md: run this test with FARSHORE_WRITE_DOCS=1");
    }
}
