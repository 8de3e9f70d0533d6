//! Rules on what stands where: module files, their opening words, unsafe code, links.

use std::path::Path;

use super::Source;

/// The one crate that may hold unsafe code: it speaks to C.
const UNSAFE_HOME: &str = "crates/hypervisor/";

pub(super) fn module_files(source: &Source) -> Vec<String> {
    let old = source.path.ends_with("/mod.rs");
    old.then(|| format!("{}: a module lies in name.rs with its parts in name/", source.path))
        .into_iter()
        .collect()
}

pub(super) fn module_docs(source: &Source) -> Vec<String> {
    let told = source.lines().any(|(_, line)| line.starts_with("//!"));
    let missing = source.is_rust() && !told;
    missing.then(|| format!("{}: no `//!` says what this module is for", source.path)).into_iter().collect()
}

pub(super) fn unsafe_code(source: &Source) -> Vec<String> {
    if !source.is_rust() || source.path.starts_with(UNSAFE_HOME) {
        return Vec::new();
    }
    let marks = ["{", "fn", "impl", "extern", "trait"].map(|what| format!("{} {what}", "unsafe"));
    let allow = concat!("allow(", "unsafe_code)");
    let is_bad = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains(allow) || marks.iter().any(|mark| code.contains(mark.as_str()))
    };
    let bad = source.lines().filter(|(_, line)| is_bad(line));
    bad.map(|(at, _)| format!("{}:{at}: unsafe code outside {UNSAFE_HOME}", source.path)).collect()
}

/// Links in Markdown to files that are not there.
pub(super) fn links(source: &Source, root: &Path) -> Vec<String> {
    if !source.has_extension("md") {
        return Vec::new();
    }
    let folder = root.join(&source.path).parent().unwrap_or(root).to_owned();
    let dead = |link: &&str| !folder.join(link).exists();
    source
        .lines()
        .flat_map(|(at, line)| file_links(line).filter(dead).map(move |link| (at, link)).collect::<Vec<_>>())
        .map(|(at, link)| format!("{}:{at}: links to {link}, which does not exist", source.path))
        .collect()
}

/// Targets of a line's links that are files, without their fragments.
fn file_links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    files.filter_map(|target| target.split('#').next()).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_file_of_the_old_kind_is_refused() {
        assert_eq!(module_files(&Source::sample("a/mod.rs", "")).len(), 1);
        assert!(module_files(&Source::sample("a/model.rs", "")).is_empty());
    }

    #[test]
    fn a_module_without_its_purpose_is_refused() {
        assert_eq!(module_docs(&Source::sample("a.rs", "// hm\nfn a() {}\n")).len(), 1);
        assert!(module_docs(&Source::sample("a.rs", "//! For this.\nfn a() {}\n")).is_empty());
    }

    #[test]
    fn code_that_the_compiler_cannot_check_has_one_home() {
        let text = format!("{} {{ a() }}\n// {0} {{ in a comment }}\n", "unsafe");
        assert_eq!(unsafe_code(&Source::sample("crates/nbd/src/a.rs", &text)).len(), 1);
        assert!(unsafe_code(&Source::sample("crates/hypervisor/src/a.rs", &text)).is_empty());
        let allowed = concat!("#![allow(", "unsafe_code)]\n");
        assert_eq!(unsafe_code(&Source::sample("guest/a.rs", allowed)).len(), 1);
    }

    #[test]
    fn a_dead_link_is_named_and_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there.md"), "").unwrap();
        let text = "[a](there.md#part) [b](gone.md) [c](https://example.org/x) [d](#here)";
        let findings = links(&Source::sample("README.md", text), dir.path());
        assert_eq!(findings, ["README.md:1: links to gone.md, which does not exist"]);
    }
}
