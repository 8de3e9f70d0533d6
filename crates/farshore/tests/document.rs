//! The API's document as it is checked in. `FARSHORE_WRITE_DOCS=1` in the environment writes it.

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("FARSHORE_WRITE_DOCS").is_some() {
        std::fs::write(path, farshore::vault::document()).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        known == farshore::vault::document(),
        "docs/openapi.json is not what the API is now: run this test with FARSHORE_WRITE_DOCS=1"
    );
}

#[test]
fn every_operation_says_what_it_is_and_nobody_is_named_twice() {
    let document: serde_json::Value = serde_json::from_str(&farshore::vault::document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path} has no summary");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            assert!(responses.contains_key("401"), "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{method} {path}: {}", parameter["name"]);
            }
        }
    }
    assert!(ids.len() > 40, "there are {}", ids.len());
}
