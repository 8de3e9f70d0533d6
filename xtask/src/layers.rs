//! `cargo xtask layers`: every crate states its layer in its manifest, and depends only on
//! lower ones, or on a neighbour that is named here. What serves tests sees everything and
//! is seen by nothing but tests.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::{cargo, output_of};

/// From the bottom up.
const LAYERS: [&str; 6] = ["words", "formats", "decisions", "access", "engines", "programs"];

/// The test side.
const TESTS: &str = "tests";

/// Edges inside one layer, each a decision: the first may use the second. Add one with the
/// change that needs it.
const NEIGHBOURS: [(&str, &str); 8] = [
    ("farshore-ownership", "farshore-bugs"),
    ("farshore-ownership", "farshore-types"),
    ("farshore-env", "farshore-types"),
    // A document of a machine carries its life.
    ("farshore-control", "farshore-protection"),
    ("farshore-hypervisor", "farshore-nbd"),
    ("farshore-capture", "farshore-link"),
    // The program runs the server.
    ("farshore", "farshore-site"),
    // Its tests have real agents below it; the server itself knows them by their messages.
    ("farshore-site", "farshore-agent"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    metadata: Option<serde_json::Value>,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

impl Package {
    fn layer(&self) -> Option<&str> {
        self.metadata.as_ref()?.get("farshore")?.get("layer")?.as_str()
    }
}

/// Checks the workspace; fails naming every wrong edge.
pub(crate) fn run() -> Result<()> {
    eprintln!("\n==> layers");
    let text = output_of(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("read cargo's metadata")?;
    let findings = check(&metadata.packages);
    if !findings.is_empty() {
        bail!("the crates are not in layers:\n  {}", findings.join("\n  "));
    }
    eprintln!("layers: {} crates depend only downward", metadata.packages.len());
    Ok(())
}

fn check(packages: &[Package]) -> Vec<String> {
    let unplaced = packages.iter().filter(|package| package.layer().is_none_or(|l| rank(l).is_none()));
    let mut findings: Vec<String> = unplaced
        .map(|package| {
            let name = &package.name;
            format!(
                "{name} states no layer: [package.metadata.farshore] layer = one of {LAYERS:?} or {TESTS:?}"
            )
        })
        .collect();
    for package in packages {
        for dependency in &package.dependencies {
            let known = packages.iter().find(|other| other.name == dependency.name);
            findings.extend(known.and_then(|other| fault_of(package, dependency, other)));
        }
    }
    findings
}

/// Place from the bottom; the test side is above all.
fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|l| *l == layer).or((layer == TESTS).then_some(LAYERS.len()))
}

/// What is wrong with one edge.
fn fault_of(from: &Package, dependency: &Dependency, to: &Package) -> Option<String> {
    let (from_layer, to_layer) = (from.layer()?, to.layer()?);
    let (above, below) = (rank(from_layer)?, rank(to_layer)?);
    let for_tests = dependency.kind.as_deref() == Some("dev");
    // A crate's tests may ask for a feature of the crate itself.
    let itself = for_tests && from.name == to.name;
    let allowed = itself
        || from_layer == TESTS
        || (to_layer == TESTS && for_tests)
        || below < above
        || (below == above && NEIGHBOURS.contains(&(from.name.as_str(), to.name.as_str())));
    let which = if below > above { "upward" } else { "sideways, and not a named neighbour" };
    (!allowed).then(|| format!("{} ({from_layer}) -> {} ({to_layer}): {which}", from.name, to.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, layer: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: kind.map(str::to_owned) });
        Package {
            name: name.to_owned(),
            metadata: Some(serde_json::json!({ "farshore": { "layer": layer } })),
            dependencies: dependencies.collect(),
        }
    }

    /// The findings for one edge from a crate `a` to a crate `b`.
    fn edge(from: &str, to: &str, kind: Option<&str>) -> Vec<String> {
        check(&[package("a", from, &[("b", kind)]), package("b", to, &[])])
    }

    #[test]
    fn an_edge_may_go_down_any_number_of_layers() {
        assert!(edge("programs", "words", None).is_empty());
        assert!(edge("access", "formats", Some("build")).is_empty());
    }

    #[test]
    fn an_upward_edge_is_named() {
        let findings = edge("words", "engines", None);
        assert_eq!(findings, ["a (words) -> b (engines): upward"]);
        assert_eq!(edge("words", "engines", Some("dev")).len(), 1, "a test is no excuse");
    }

    #[test]
    fn a_sideways_edge_must_be_a_named_neighbour() {
        assert_eq!(edge("engines", "engines", None).len(), 1);
        let hypervisor = package("farshore-hypervisor", "access", &[("farshore-nbd", None)]);
        assert!(check(&[hypervisor, package("farshore-nbd", "access", &[])]).is_empty());
    }

    #[test]
    fn a_crates_tests_may_use_the_crate_itself() {
        assert!(check(&[package("a", "engines", &[("a", Some("dev"))])]).is_empty());
        assert_eq!(check(&[package("a", "engines", &[("a", None)])]).len(), 1);
    }

    #[test]
    fn only_tests_may_use_the_test_side() {
        assert!(edge("formats", "tests", Some("dev")).is_empty());
        assert_eq!(edge("formats", "tests", None).len(), 1);
        assert!(edge("tests", "tests", None).is_empty());
        assert!(edge("tests", "programs", None).is_empty());
    }

    #[test]
    fn a_crate_without_a_known_layer_is_named() {
        assert_eq!(check(&[package("a", "basement", &[])]).len(), 1);
    }

    #[test]
    fn neighbours_do_not_go_round_in_a_circle() {
        for (from, to) in NEIGHBOURS {
            let mut reached = vec![to];
            for at in 0..NEIGHBOURS.len() {
                let Some(&name) = reached.get(at) else { break };
                assert_ne!(name, from, "{from} reaches itself");
                reached.extend(NEIGHBOURS.iter().filter(|(f, _)| *f == name).map(|(_, t)| *t));
            }
        }
    }
}
