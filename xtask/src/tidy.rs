//! `cargo xtask tidy`: the house rules that neither rustfmt nor clippy knows. Each rule is a
//! function from one file to what is wrong in it.

mod places;
mod sizes;
mod words;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::workspace;

/// What is not ours to check.
const SKIPPED: [&str; 2] = [".git", "target"];

/// One file of the project.
struct Source {
    /// From the project's folder, with `/`.
    path: String,
    /// Its bytes.
    size: usize,
    /// Its text; `None` for a binary file.
    text: Option<String>,
}

impl Source {
    #[cfg(test)]
    fn sample(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), size: text.len(), text: Some(text.to_owned()) }
    }

    fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == extension)
    }

    /// Lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.as_deref().unwrap_or_default().split('\n').enumerate().map(|(i, line)| (i + 1, line))
    }
}

type Rule = fn(&Source) -> Vec<String>;

const RULES: [Rule; 9] = [
    sizes::blobs,
    sizes::files,
    sizes::functions,
    places::module_files,
    places::module_docs,
    places::unsafe_code,
    words::unfinished,
    words::hosts_and_machine_paths,
    words::trailing_space,
];

/// Checks every file of the project; fails naming each fault with its place.
pub(crate) fn run() -> Result<()> {
    eprintln!("\n==> tidy");
    let root = workspace();
    let sources = read_tree(&root)?;
    let mut findings: Vec<String> = RULES.iter().flat_map(|rule| sources.iter().flat_map(rule)).collect();
    findings.extend(sources.iter().flat_map(|source| places::links(source, &root)));
    if !findings.is_empty() {
        bail!("{} things are untidy:\n  {}", findings.len(), findings.join("\n  "));
    }
    eprintln!("tidy: {} files keep the rules", sources.len());
    Ok(())
}

fn read_tree(root: &Path) -> Result<Vec<Source>> {
    let (mut sources, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type()?;
            // In a worktree of git `.git` is a file.
            if SKIPPED.iter().any(|skipped| name == *skipped) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                sources.push(read_file(root, &entry.path())?);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_file(root: &Path, path: &Path) -> Result<Source> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    Ok(Source { path, size: bytes.len(), text: String::from_utf8(bytes).ok() })
}
