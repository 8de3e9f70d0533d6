//! Backups and restores: on the same machine, and on another one after the first is lost.

use std::fs;

use serde_json::Value;

use crate::world::{World, free_address};

/// Speaks with another token, and comes back.
fn with_token<T>(world: &World, token: &str, ask: impl FnOnce(&World) -> T) -> T {
    let path = world.path("context.toml");
    let kept = fs::read_to_string(&path).unwrap();
    let mut context: toml::Table = kept.parse().unwrap();
    context.insert("token".to_owned(), token.into());
    fs::write(&path, toml::to_string(&context).unwrap()).unwrap();
    let answer = ask(world);
    fs::write(&path, kept).unwrap();
    answer
}

fn init(world: &World) -> Value {
    world.json(&["vault", "init", "--config", &world.config("vault")])
}

#[test]
fn a_restore_learns_and_what_was_taken_back_after_the_backup_stays_so() {
    let mut world = World::new();
    let config = world.config("vault");
    let owner = init(&world)["token"].as_str().unwrap().to_owned();
    world.start_vault();
    world.add_site("east");
    world.add_site("west");
    let (kept, stolen) = ("kept", "stolen");
    let token = |world: &World, name: &str| world.json(&["token", "add", name]);
    let kept_token = token(&world, kept)["token"].as_str().unwrap().to_owned();
    let stolen = token(&world, stolen);
    let stolen_token = stolen["token"].as_str().unwrap().to_owned();
    let unused = world.json(&["site", "key", "east"])["key"].as_str().unwrap().to_owned();
    // The vault makes one by itself as soon as it runs, and one may be made at any time.
    let own = world.path("vault/backups");
    world.until("a backup of the vault's own", |_| {
        fs::read_dir(&own).is_ok_and(|mut dir| dir.next().is_some())
    });
    let file = world.path("by-hand.backup").display().to_string();
    let made = world.json(&["vault", "backup", "--to", &file, "--config", &config]);
    assert_eq!((made["term"].as_u64(), made["file"].as_str()), (Some(1), Some(&*file)));
    assert!(world.fails(&["vault", "backup", "--to", &file, "--config", &config]).contains("exists already"));
    assert_eq!(world.json(&["vault", "verify", &file])["rows"], made["rows"]);
    let damaged = world.path("damaged.backup");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    assert!(world.fails(&["vault", "verify", &damaged.display().to_string()]).contains("no whole backup"));

    // After the backup: a token is taken back.
    world.ok(&["token", "remove", stolen["id"].as_str().unwrap()]);
    assert!(with_token(&world, &stolen_token, |world| world.fails(&["site", "list"])).contains("token"));
    world.ok(&["policy", "add", "after"]);
    world.ok(&["site", "revoke", "west"]);
    world.until("west is told", |world| world.log("west").contains("revoked"));

    // Not over one that runs, nor over one that is there, nor from what is damaged.
    let restore = ["vault", "restore", &file, "--config", &config];
    assert!(world.fails(&[&restore[..], &["--force"]].concat()).contains("in use by process"));
    world.kill("vault");
    assert!(world.fails(&restore).contains("--force"), "it is not empty");
    let broken = ["vault", "restore", &damaged.display().to_string(), "--force", "--config", &config];
    assert!(world.fails(&broken).contains("no whole backup"));
    world.start_vault();
    assert!(world.ok(&["policy", "list"]).contains("after"), "nothing was changed by any of it");
    world.kill("vault");

    let done = world.json(&[&restore[..], &["--force"]].concat());
    assert_eq!(done["term"], 2);
    let mut suspended: Vec<_> =
        done["suspended"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    suspended.sort_unstable();
    assert_eq!(suspended, ["kept", "owner", "stolen"]);
    let replaced = done["replaced"].as_str().unwrap().to_owned();
    world.ok(&["vault", "verify", &replaced]);
    world.start_vault();
    let status = world.json(&["status"]);
    assert_eq!(status["vault"]["term"], 2);
    assert!(!world.ok(&["policy", "list"]).contains("after"), "it is as it was");
    let term_two = |world: &World| world.log("east").matches("a vault speaks").count() >= 2;
    world.until("the site server follows the new term", term_two);
    // What this machine's own files know of revocations counts, too.
    world.kill("west");
    fs::remove_file(world.path("west.log")).unwrap();
    world.start("west", &["site", "serve"]);
    world.until("west is refused still", |world| world.log("west").contains("revoked"));
    only_what_is_confirmed_holds(&mut world, [&owner, &kept_token, &stolen_token], &unused);
    assert_eq!(world.json(&["status"])["vault"]["term"], 2, "a restored vault begins one new term, once");
}

/// No token of before the restore holds until somebody says so, the one that was removed after
/// the backup never, and no registration key that may have been used meanwhile.
fn only_what_is_confirmed_holds(world: &mut World, tokens: [&str; 3], unused: &str) {
    let [owner, kept, stolen] = tokens;
    for token in [owner, kept, stolen] {
        assert!(with_token(world, token, |world| world.fails(&["site", "list"])).contains("token"));
    }
    world.ok(&["token", "confirm", "kept"]);
    with_token(world, kept, |world| world.ok(&["site", "list"]));
    assert!(with_token(world, stolen, |world| world.fails(&["site", "list"])).contains("token"));
    fs::write(world.path("third.toml"), format!("data_dir = {:?}\n", world.path("third"))).unwrap();
    let third = world.config("third");
    let refused = world.fails(&["site", "enrol", "--key", unused, "--config", &third]);
    assert!(refused.contains("withdrawn"), "{refused}");
    // Whoever lost the last token gets one on the vault's own machine.
    let config = world.config("vault");
    assert!(world.fails(&["vault", "token", "--config", &config]).contains("in use"));
    world.kill("vault");
    let fresh = world.json(&["vault", "token", "--config", &config])["token"].as_str().unwrap().to_owned();
    world.start_vault();
    with_token(world, &fresh, |world| world.ok(&["site", "list"]));
}

#[test]
fn a_lost_machine_is_replaced_and_what_was_revoked_after_the_backup_stays_revoked() {
    let mut world = World::new();
    let config = world.config("vault");
    let recovery = init(&world)["recovery_key"].as_str().unwrap().to_owned();
    world.start_vault();
    world.add_site("east");
    world.add_site("west");
    world.until("both follow", |world| {
        ["east", "west"].iter().all(|site| world.log(site).contains("a vault speaks"))
    });
    let file = world.path("offsite.backup").display().to_string();
    world.ok(&["vault", "backup", "--to", &file, "--config", &config]);
    world.ok(&["site", "revoke", "west"]);
    world.until("west is told", |world| world.log("west").contains("revoked"));
    world.until("east knows", |world| world.log("east").contains("list of whom to trust is in force"));
    world.kill("vault");
    world.kill("west");
    fs::remove_dir_all(world.path("vault")).unwrap();

    // Another machine, another address, the backup, and the key on paper.
    let moved = free_address();
    world.configure_vault("second", &moved, &moved, "");
    let second = world.config("second");
    let restore = ["vault", "restore", &file, "--config", &second, "--recovery-key"];
    let typo = world.fails(&[&restore[..], &[&recovery[..54]]].concat());
    assert!(typo.contains("recovery key") && typo.contains("nothing was changed"), "{typo}");
    let done = world.json(&[&restore[..], &[&recovery]].concat());
    assert!(done["closed"].is_null() && done["fingerprint"].is_string(), "{done}");
    world.start("second", &["vault", "serve"]);
    world.until("the restored vault answers", |world| world.run(&["site", "list"]).status.success());

    // Members are told where it is; it proves that it is the same vault.
    let (east, west) = (world.config("east"), world.config("west"));
    let nobody = free_address();
    let refused = world.fails(&["site", "follow", &nobody, "--config", &east]);
    assert!(refused.contains("--unseen"), "{refused}");
    world.ok(&["site", "follow", &moved, "--config", &east]);
    world.kill("east");
    world.start("east", &["site", "serve"]);
    world.until("east follows", |world| world.log("east").matches("a vault speaks").count() >= 2);
    // East tells of the revocation that the backup does not know.
    world.ok(&["site", "follow", &moved, "--unseen", "--config", &west]);
    fs::remove_file(world.path("west.log")).unwrap();
    world.start("west", &["site", "serve"]);
    world.until("west is refused by the restored vault", |world| world.log("west").contains("revoked"));
    let (east_log, west_log) = (world.log("east"), world.log("west"));
    assert!(
        !east_log.contains("is revoked") && !west_log.contains("a vault speaks with"),
        "{east_log}{west_log}"
    );
    // Whoever is revoked next is so for everybody: the list's number is above all that are held.
    world.ok(&["site", "revoke", "east"]);
    world.until("east is told", |world| world.log("east").contains("revoked"));
}

#[test]
fn the_recovery_key_opens_the_authority_and_no_other_does() {
    let mut world = World::new();
    let config = world.config("vault");
    let made = init(&world);
    let recovery = made["recovery_key"].as_str().unwrap();
    world.start_vault();
    world.add_site("east");
    let recover = ["vault", "recover-authority", "--config", &config, "--recovery-key"];
    assert!(world.fails(&[&recover[..], &[recovery]].concat()).contains("in use"), "not while it runs");
    world.kill("vault");
    fs::remove_file(world.path("vault/unlock.key")).unwrap();
    let closed = world.fails(&["vault", "serve", "--config", &config]);
    assert!(closed.contains("recover-authority"), "{closed}");
    // Another vault's key is a key, but not this one's.
    let other = World::new();
    let foreign = init(&other)["recovery_key"].as_str().unwrap().to_owned();
    for wrong in [&foreign[..], &recovery[1..], "nonsense"] {
        let said = world.fails(&[&recover[..], &[wrong]].concat());
        assert!(said.contains("nothing was changed"), "{said}");
        assert!(!world.path("vault/unlock.key").exists());
    }
    assert_eq!(world.json(&[&recover[..], &[recovery]].concat())["changed"], true);
    assert_eq!(world.json(&[&recover[..], &[recovery]].concat())["changed"], false, "once is enough");
    world.start_vault();
    world.until("east goes on", |world| world.log("east").contains("a vault speaks"));
    assert_eq!(world.json(&["status"])["vault"]["term"], 1, "no new term: nothing is older than before");
    // A vault whose own certificate is lost signs another for itself.
    world.kill("vault");
    fs::remove_file(world.path("vault/identity.pem")).unwrap();
    world.start_vault();
    world.ok(&["site", "revoke", "east"]);
    world.until("east, which knows it again, is told", |world| world.log("east").contains("revoked"));
}
