//! Registration keys for hosts that the vault makes.

use farshore_channel::{Applicant, enrol};
use farshore_control::enrolment::Reach;
use farshore_pki::{KeyRequest, RegistrationKey, Role};

use crate::world::World;

#[test]
fn a_host_enrols_at_its_sites_server_by_a_key_of_the_vaults_once() {
    let mut world = World::new();
    world.ok(&["vault", "init", "--config", &world.config("vault")]);
    world.start_vault();
    world.ok(&["site", "add", "later"]);
    let unseen = world.fails(&["host", "key", "later"]);
    assert!(unseen.contains("has not said yet where hosts reach it"), "{unseen}");
    world.add_site("east");
    world.until("the vault knows where the site server is", |world| {
        world.run(&["host", "key", "east"]).status.success()
    });
    let text = world.json(&["host", "key", "east"])["key"].as_str().unwrap().to_owned();
    let key: RegistrationKey = text.parse().unwrap();
    assert_eq!((key.role, key.issuer.0), (Role::Host, Role::Site));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ask = |key: &RegistrationKey, request: &KeyRequest, name: &str| {
        let reach = Reach { name: name.to_owned(), ..Reach::default() };
        let applicant = Applicant { key, request, reach, version: "0.1.0" };
        runtime.block_on(enrol(&applicant)).map(|(_, identity)| identity)
    };
    let request = KeyRequest::generate().unwrap();
    // Not at the vault itself, by whoever has the key: that would make a host a site.
    let astray = RegistrationKey { address: world.vault.clone(), ..key.clone() };
    assert!(ask(&astray, &request, "alpha").is_err());
    let host = ask(&key, &request, "alpha").unwrap();
    assert_eq!((host.role, host.name.as_str()), (Role::Host, "alpha"));
    assert_eq!(ask(&key, &request, "alpha").unwrap().id, host.id, "asked again, it is the same host");
    let used = ask(&key, &KeyRequest::generate().unwrap(), "beta").unwrap_err();
    assert!(used.to_string().contains("used by 'alpha'"), "{used}");
    let hosts = world.json(&["host", "list"]);
    assert_eq!((hosts[0]["name"].as_str(), hosts[0]["site"].as_str()), (Some("alpha"), Some("east")));
    // A kill of both does not make a used key good again.
    world.kill("east");
    world.kill("vault");
    world.start_vault();
    world.start("east", &["site", "serve"]);
    world.until("it is refused still", |_| {
        let again = ask(&key, &KeyRequest::generate().unwrap(), "gamma").unwrap_err();
        again.to_string().contains("used by 'alpha'")
    });
}
