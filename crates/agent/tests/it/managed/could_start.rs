//! Whether a machine could start where its replica is: looked at without anybody asking, and said
//! with what stands against it.

use farshore_control::{HostReport, standing::CouldStart};
use farshore_hypervisor::{Hypervisor, Problem, simulated::Operation as Call};

use super::{handing::standing, world::Pair};

async fn until(pair: &Pair, what: &str, is: impl Fn(&CouldStart) -> bool) -> CouldStart {
    let machine = pair.machine;
    let looked = |report: &HostReport| standing(report, machine).and_then(|s| s.could_start.clone());
    let report =
        pair.vault.until(pair.target_id, what, |report| looked(report).is_some_and(|l| is(&l))).await;
    looked(&report).unwrap()
}

fn has(looked: &CouldStart, code: &str) -> bool {
    looked.against.iter().any(|problem| problem.code == code && !problem.advice.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_a_start_is_known_before_anybody_needs_it() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let could = until(&pair, "that it could start", CouldStart::could).await;
    assert!(could.at.number > 0);
    let source = pair.vault.report_of(pair.source_id).await;
    assert_eq!(standing(&source, machine).unwrap().could_start, None, "only of a replica");
    // Once it was looked at, it is left alone: this costs the hypervisor something.
    let looks = pair.target_host().calls(Call::CheckStartable);
    pair.newest_above(could.at.number + 1).await;
    assert_eq!(pair.target_host().calls(Call::CheckStartable), looks);
    let lost = Problem { what: "this host has no network 'lost'".to_owned(), advice: "make it".to_owned() };
    pair.target_host().set_start_problems(vec![lost]);
    pair.target_host().add_machine("web1", &[("vda", 1 << 20)]).await.unwrap();
    pair.tell(&life);
    let cannot = until(&pair, "that it could not", |looked| has(looked, "definition")).await;
    assert!(has(&cannot, "name-taken") && !cannot.could(), "{cannot:?}");
    assert!(pair.target_host().machine(machine).await.is_err(), "nothing was defined for that");
    pair.target_host().set_start_problems(Vec::new());
    pair.tell(&life);
    until(&pair, "what is left of it", |looked| has(looked, "name-taken") && looked.against.len() == 1).await;
    pair.end().await;
}
