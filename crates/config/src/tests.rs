//! What a person who made a mistake in a configuration is told.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Sample {
    name: String,
    listen: Option<String>,
    mode: Mode,
    limit: u64,
    store: Store,
    sites: Vec<Site>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Fast,
    Careful,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Store {
    path: String,
    pool: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Site {
    name: String,
    #[serde(default)]
    weight: u32,
}

impl Check for Sample {
    fn check(&self, faults: &mut Faults) {
        if self.limit > 10 {
            faults.add("limit", format_args!("is {}", self.limit), "0 to 10");
        }
        if self.store.pool > 8 {
            faults.add("store.pool", format_args!("is {}", self.store.pool), "0 to 8");
        }
        for (at, site) in self.sites.iter().enumerate().filter(|(_, site)| site.weight > 5) {
            let key = KeyPath::from("sites").index(at).key("weight");
            faults.add(key, format_args!("is {}", site.weight), "0 to 5");
        }
    }
}

fn refused(text: &str) -> String {
    read::<Sample>("vault.toml", text).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_stops_nothing() {
    let text = "name = 'v'\nlimits = 3\n\n[store]\npath = 'x'\nspeed = 1\n\n[[sites]]\nname = 'a'\n[[sites]]\nname = 'b'\nwieght = 2\n";
    let read = read::<Sample>("vault.toml", text).unwrap();
    assert_eq!(read.value.sites.len(), 2);
    let told: Vec<String> = read.unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "vault.toml:2: unknown key 'limits': it has no effect; did you mean 'limit'?",
            "vault.toml:6: unknown key 'store.speed': it has no effect; known here: path, pool",
            "vault.toml:12: unknown key 'sites[1].wieght': it has no effect; did you mean 'weight'?",
        ]
    );
    assert_eq!(unknown_keys::<Sample>("vault.toml", text).unwrap(), read.unknown);
}

#[test]
fn a_known_key_that_is_optional_is_not_unknown() {
    assert!(read::<Sample>("f", "listen = '0.0.0.0:1'").unwrap().unknown.is_empty());
    assert!(read::<Sample>("f", "").unwrap().unknown.is_empty());
}

#[test]
fn all_values_out_of_range_are_told_at_once_in_the_files_order() {
    let text = "limit = 11\nsites = [{ name = 'a', weight = 9 }]\n[store]\npool = 9\n";
    assert_eq!(
        refused(text),
        "vault.toml:1: limit is 11; allowed: 0 to 10\n\
         vault.toml:2: sites[0].weight is 9; allowed: 0 to 5\n\
         vault.toml:4: store.pool is 9; allowed: 0 to 8"
    );
}

#[test]
fn a_value_of_the_wrong_kind_names_file_line_key_and_what_is_expected() {
    let told = refused("name = 'a'\n[store]\npool = 'many'\n");
    assert!(told.starts_with("vault.toml:3: store.pool is wrong: "), "{told}");
    assert!(told.contains("expected u32"), "{told}");
    let told = refused("[[sites]]\nname = 'a'\n[[sites]]\nname = 'b'\nweight = true\n");
    assert!(told.starts_with("vault.toml:5: sites[1].weight is wrong: "), "{told}");
}

#[test]
fn an_unknown_word_names_those_that_are_allowed() {
    let told = refused("\nmode = 'slow'\n");
    assert!(told.starts_with("vault.toml:2: mode is wrong: "), "{told}");
    assert!(told.contains("`fast`") && told.contains("`careful`"), "{told}");
}

#[test]
fn a_missing_key_names_its_table() {
    let told = refused("name = 'a'\n[[sites]]\nweight = 1\n");
    assert!(told.starts_with("vault.toml:2: sites[0] is wrong: missing field `name`"), "{told}");
}

#[test]
fn a_text_that_is_no_toml_names_its_line() {
    assert!(refused("name = 'a'\nlimit = = 2\n").starts_with("vault.toml:2: "));
    assert!(refused("name = 'a'\nname = 'b'\n").starts_with("vault.toml:2: "));
}

#[test]
fn a_text_that_is_too_large_is_not_read() {
    let text = "#".repeat(TEXT_BYTES_MAX + 1);
    assert!(refused(&text).contains("allowed: up to 4194304 bytes"));
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_answered(text in "[a-z\\[\\]=.'\"0-9{},\\n #é]{0,200}") {
        let _ = read::<Sample>("f", &text);
    }

    #[test]
    fn whatever_is_written_is_read_back_without_unknown_keys(
        name in "[a-zé \"'\\\\]{0,12}", limit in 0u64..=10, pool in 0u32..=8, weights in prop::collection::vec(0u32..=5, 0..4)
    ) {
        let sites = weights.into_iter().map(|weight| Site { name: "s".to_owned(), weight }).collect();
        let store = Store { path: name.clone(), pool };
        let value = Sample { name, limit, store, sites, ..Sample::default() };
        let text = toml::to_string(&value).unwrap();
        let back = read::<Sample>("f", &text).unwrap();
        prop_assert_eq!(back, Read { value, unknown: Vec::new() });
    }
}
