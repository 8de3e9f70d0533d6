//! Thousands of protections, a page at a time.

use axum::http::Method;
use farshore_vault::{Command, Enable};
use serde_json::json;

use super::world::{World, machine_id};

/// Machines: more than the largest page, and than what is looked at for one.
const MACHINES: u128 = 2500;

#[tokio::test]
async fn pages_and_filters_of_thousands_are_whole_and_in_order() {
    let world = World::with_machines(MACHINES).await;
    for begin in (0..MACHINES).step_by(500) {
        let machines = (begin..begin + 500).map(machine_id).collect();
        let enable = Command::Enable(Enable { machines, ..Enable::default() });
        let run = move |books: &mut crate::vault::desk::Books<'_>| {
            let at = books.at;
            books.core.run(&enable, None, &at)
        };
        world.desk.change(run).await.unwrap();
    }
    let mut names = Vec::new();
    let mut path = "protections".to_owned();
    loop {
        let page = world.get(&path).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() == 100 || page["next"].is_null());
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("protections?cursor={next}"),
            None => break,
        }
    }
    let mut expected: Vec<String> = (0..MACHINES).map(|n| format!("m{n}")).collect();
    expected.sort();
    assert_eq!(names, expected);
    // One of them is paused: whoever asks for such finds it, however far down it is.
    world.ok(Method::POST, "protections/m999/pause", &json!(null)).await;
    let (mut found, mut path) = (Vec::new(), "protections?state=paused".to_owned());
    loop {
        let page = world.get(&path).await;
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()));
        match page["next"].as_str() {
            Some(next) => path = format!("protections?state=paused&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["m999"]);
    assert_eq!(world.get("protections?q=M24&limit=1000").await["items"].as_array().unwrap().len(), 111);
    assert!(world.get("protections?host=host1&limit=1000").await["next"].is_string());
    assert_eq!(world.get("machines?protected=false").await["items"], json!([]));
    assert_eq!(world.get("status").await["protections"].as_array().unwrap().len(), 3);
}
