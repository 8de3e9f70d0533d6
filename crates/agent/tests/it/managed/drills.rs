//! Test failovers whose copy cannot be started at first.

use farshore_control::{HostReport, standing::DrillStanding};
use farshore_hypervisor::{Hypervisor, Kind, simulated::Operation as Call};
use farshore_protection::{Choice, Drill, DrillNetwork, DrillPhase, Life};

use super::{handing::standing, world::Pair};

async fn until(pair: &Pair, what: &str, is: impl Fn(Option<&DrillStanding>) -> bool) {
    let machine = pair.machine;
    let seen = |report: &HostReport| standing(report, machine).is_some_and(|s| is(s.drill.as_ref()));
    pair.vault.until(pair.target_id, what, seen).await;
}

fn with(life: &Life, pair: &Pair, phase: DrillPhase) -> Life {
    let (host, network) = (Some(pair.target_id), DrillNetwork::None);
    let (point, until_ms) = (Choice::default(), None);
    let drill = Drill { phase, overdue: false, host, order: 7, point, network, until_ms };
    Life { drill: Some(drill), ..life.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_be_started_says_why_until_it_runs() {
    let pair = Pair::new().await;
    let life = pair.living().await;
    // Many tries: each look at the machine is one.
    (1..=1000).for_each(|nth| pair.target_host().fail(Call::Start, nth, Kind::NoSuchNetwork));
    pair.tell(&with(&life, &pair, DrillPhase::Opening));
    let says_why = |drill: Option<&DrillStanding>| {
        drill.is_some_and(|drill| !drill.runs && drill.at.is_some() && drill.failed.is_some())
    };
    until(&pair, "why it cannot be started", says_why).await;
    // The copy is defined by now: another look finds it there, and off.
    let tries = pair.target_host().calls(Call::Start);
    pair.tell(&with(&life, &pair, DrillPhase::Opening));
    let tried = async {
        while pair.target_host().calls(Call::Start) < tries + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), tried).await.expect("it is tried again");
    until(&pair, "why, still", says_why).await;
    pair.tell(&with(&life, &pair, DrillPhase::CleaningUp));
    until(&pair, "that nothing is left", |drill| drill.is_none()).await;
    let left = pair.target_host().machines().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    pair.end().await;
}
