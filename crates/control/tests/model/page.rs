//! `docs/attacks.md`: each test that it names exists, and each deliberate bug of the rules is in it.

use std::{fs, path::PathBuf};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// What the page names in backticks.
fn names(page: &str) -> Vec<&str> {
    page.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Tests that a page names, and that are not there.
fn missing(page: &str) -> Vec<String> {
    let tests = names(page).into_iter().filter_map(|name| name.split_once(".rs::"));
    let is_there = |(file, test): &(&str, &str)| {
        let text = read(&format!("crates/{file}.rs"));
        text.split(&format!("fn {test}(")).next().is_some_and(|before| {
            let above: Vec<&str> = before.lines().rev().take(4).collect();
            before.len() < text.len() && above.iter().any(|line| line.contains("test"))
        })
    };
    tests.filter(|test| !is_there(test)).map(|(file, test)| format!("{file}.rs::{test}")).collect()
}

/// The bugs of an enum in a file.
fn bugs(file: &str) -> Vec<String> {
    let text = read(file);
    let (_, body) = text.split_once("enum Bug {").unwrap();
    let body = body.split('}').next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(|line| line.strip_suffix(',').map(str::to_owned)).collect()
}

#[test]
fn the_page_of_attacks_names_tests_that_there_are_and_every_bug_of_the_rules() {
    let page = read("docs/attacks.md");
    assert_eq!(missing(&page), Vec::<String>::new());
    assert!(page.matches(".rs::").count() > 80);
    let ones = ["crates/ownership/src/bug.rs", "crates/protection/src/bug.rs", "crates/control/src/bug.rs"];
    for bug in ones.into_iter().flat_map(bugs) {
        assert!(names(&page).contains(&bug.as_str()), "docs/attacks.md lacks the bug `{bug}`");
    }
    let wrong = page.replace("::attack_13_", "::attack_31_");
    assert_eq!(missing(&wrong).len(), 2, "a name that is none is found");
}
