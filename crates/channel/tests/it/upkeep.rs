//! Certificates kept fresh: years of a member's life by a clock that is simulated, and one
//! real renewal under open connections.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use farshore_channel::{Call, Client, Keyring, Listener, Renewer, Upkeep};
use farshore_control::report::Problem;
use farshore_env::Clock;
use farshore_pki::{ALONE_MIN, Bundle, Facts, Identity, Lifetime, Role};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::world::{DAY, SITE, World, identity, router, site};

/// The wall's time goes with tokio's, which a test lets jump.
struct Simulated {
    begun: Instant,
    ahead_ms: AtomicU64,
}

impl Simulated {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.wall_ms())
    }
}

impl Clock for Simulated {
    fn wall_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap();
        self.ahead_ms.load(Ordering::SeqCst) + elapsed
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }
}

fn real_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A vault that signs as long as it is there.
struct Vault {
    world: World,
    whose: Identity,
    clock: Arc<Simulated>,
    there: AtomicBool,
    signed: AtomicUsize,
    refused: AtomicUsize,
}

#[async_trait]
impl Renewer for Vault {
    async fn renewed(&self) -> Result<Bundle, Problem> {
        if !self.there.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let (what, advice) = ("the vault is gone".to_owned(), "look for it".to_owned());
            return Err(Problem { code: "gone".to_owned(), what, advice });
        }
        self.signed.fetch_add(1, Ordering::SeqCst);
        Ok(self.world.bundle(&self.whose, Lifetime::of_member(self.clock.now())))
    }
}

fn saved(world: &World, whose: &Identity, lifetime: Lifetime, dir: &Path) -> Keyring {
    world.bundle(whose, lifetime).save(dir).unwrap();
    Keyring::load(dir).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_for_years_and_then_outlasts_ninety_days_without_a_vault() {
    let (world, whose, dir) = (World::new(), identity(Role::Site, SITE), tempfile::tempdir().unwrap());
    let clock = Arc::new(Simulated { begun: Instant::now(), ahead_ms: real_ms().into() });
    let keyring = saved(&world, &whose, Lifetime::of_member(clock.now()), dir.path());
    let authority = world.authority.cert_pem().to_owned();
    let vault = Arc::new(Vault {
        world,
        whose,
        clock: Arc::clone(&clock),
        there: true.into(),
        signed: 0.into(),
        refused: 0.into(),
    });
    let upkeep = Arc::new(Upkeep::new(keyring.clone(), dir.path(), Arc::clone(&clock) as Arc<dyn Clock>));
    let stop = CancellationToken::new();
    let (kept, renewer, until) = (Arc::clone(&upkeep), Arc::clone(&vault), stop.clone());
    let keeping = tokio::spawn(async move { kept.keep_renewed(&*renewer, &until).await });
    let holds = |facts: &Facts| facts.check_time(clock.now()).is_ok();
    for day in 0..800 {
        sleep(DAY).await;
        let facts = keyring.facts();
        assert!(holds(&facts) && upkeep.problems().is_empty(), "day {day}: {:?}", upkeep.problems());
        assert!(facts.check_time(clock.now() + ALONE_MIN).is_ok(), "day {day}: lost now, it would not last");
    }
    let signed = vault.signed.load(Ordering::SeqCst);
    assert!((11..=17).contains(&signed), "{signed} renewals in 800 days");
    // The vault is lost: it is asked again and again, and people learn of it in time.
    vault.there.store(false, Ordering::SeqCst);
    let mut told_with_days_left = None;
    for day in 0..90 {
        sleep(DAY).await;
        assert!(holds(&keyring.facts()), "day {day} without a vault");
        if let (None, [problem]) = (told_with_days_left, &upkeep.problems()[..]) {
            assert!(problem.what.contains("the vault is gone") && problem.code == "certificate-late");
            told_with_days_left = Some(90 - day);
        }
    }
    assert!(vault.refused.load(Ordering::SeqCst) > 1000, "it goes on asking");
    // It comes back in time, and all is well within a quarter of an hour.
    vault.there.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(3600)).await;
    assert!(upkeep.problems().is_empty(), "{:?}", upkeep.problems());
    // What is in force is what a restart would find.
    assert_eq!(Keyring::load(dir.path()).unwrap().facts().serial, keyring.facts().serial);
    assert_eq!(Bundle::load(dir.path()).unwrap().authority_pem, authority);
    stop.cancel();
    keeping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn people_are_told_of_a_certificate_whose_end_is_near_and_of_the_authoritys() {
    let (world, whose, dir) = (World::new(), identity(Role::Site, SITE), tempfile::tempdir().unwrap());
    let clock = Arc::new(Simulated { begun: Instant::now(), ahead_ms: real_ms().into() });
    let keyring = saved(&world, &whose, Lifetime::of_member(clock.now()), dir.path());
    let upkeep = Upkeep::new(keyring, dir.path(), Arc::clone(&clock) as Arc<dyn Clock>);
    assert!(upkeep.problems().is_empty());
    let advance = |days: u64| clock.ahead_ms.fetch_add(days * 24 * 3_600_000, Ordering::SeqCst);
    advance(145);
    let problems = upkeep.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("member1.example") && problems[0].what.contains("is not renewed"));
    advance(19 * 365);
    let codes: Vec<_> = upkeep.problems().into_iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["certificate-late", "authority-ending"]);
}

/// Signs for the caller of a test that has real connections.
struct Signs(World, Identity);

#[async_trait]
impl Renewer for Signs {
    async fn renewed(&self) -> Result<Bundle, Problem> {
        Ok(self.0.bundle(&self.1, Lifetime::starting_now(10 * DAY)))
    }
}

#[tokio::test]
async fn a_renewal_leaves_connections_and_those_that_come_alone() {
    let (world, whose, dir) = (World::new(), identity(Role::Site, SITE), tempfile::tempdir().unwrap());
    // Most of its life is over, and it holds.
    let now = SystemTime::now();
    let keyring = saved(&world, &whose, Lifetime { from: now - 9 * DAY, until: now + DAY }, dir.path());
    let serving = Listener::bind("127.0.0.1:0", keyring.clone(), router()).await.unwrap().serve().unwrap();
    let address = serving.address().to_string();
    let before = Client::new(world.keyring(Role::Host, 7), &address, site());
    let port: u16 = before.get("/port", Call::single()).await.unwrap();
    let held = before.clone();
    let held = tokio::spawn(async move { held.get::<String>("/later", Call::single()).await });
    let clock = Arc::new(Simulated { begun: Instant::now(), ahead_ms: real_ms().into() });
    let upkeep = Upkeep::new(keyring.clone(), dir.path(), clock);
    assert_eq!(upkeep.problems().len(), 1);
    let (old, stop) = (keyring.facts().serial, CancellationToken::new());
    let newcomer = world.keyring(Role::Host, 8);
    let renewer = Signs(world, whose);
    let seen = async {
        while keyring.facts().serial == old {
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    tokio::join!(upkeep.keep_renewed(&renewer, &stop), seen);
    assert!(upkeep.problems().is_empty());
    // The question that was under way is answered; another one, over a connection of before
    // or a new one, is too.
    assert_eq!(held.await.unwrap().unwrap(), "late");
    assert_ne!(before.get::<u16>("/port", Call::once()).await.unwrap(), port);
    let after = Client::new(newcomer, &address, site());
    assert_eq!(after.get::<Identity>("/whoami", Call::single()).await.unwrap().id.as_u128(), 8);
    serving.stop().await;
}
