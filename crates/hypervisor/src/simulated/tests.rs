//! What only the simulated driver can do: fail, wait and be looked into.

use std::time::Duration;

use super::*;
use crate::{Hypervisor, Start};

const MIB: u64 = 1024 * 1024;

async fn host_with_machine() -> (Simulated, MachineId) {
    let host = Simulated::new();
    let id = host.add_machine("web1", &[("vda", MIB)]).await.unwrap();
    (host, id)
}

#[tokio::test]
async fn the_call_that_was_chosen_fails_and_no_other() {
    let (host, id) = host_with_machine().await;
    host.fail(Operation::Start, 2, Kind::Busy);
    host.start(id, Start::Running).await.unwrap();
    host.destroy(id).await.unwrap();
    assert_eq!(host.start(id, Start::Running).await.unwrap_err().kind, Kind::Busy);
    assert!(host.machine(id).await.unwrap().power.is_off(), "the failed call had no effect");
    host.start(id, Start::Running).await.unwrap();
    assert_eq!(host.calls(Operation::Start), 3);
}

#[tokio::test]
async fn a_call_may_take_effect_and_fail_all_the_same() {
    let (host, id) = host_with_machine().await;
    host.fail_after_effect(Operation::Start, 1, Kind::Timeout);
    assert_eq!(host.start(id, Start::Running).await.unwrap_err().kind, Kind::Timeout);
    assert_eq!(host.machine(id).await.unwrap().power, PowerState::Running);
}

#[tokio::test]
async fn a_held_call_waits_for_its_gate() {
    let (host, id) = host_with_machine().await;
    let gate = host.hold(Operation::Start);
    let starting = tokio::spawn({
        let host = host.clone();
        async move { host.start(id, Start::Running).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(host.machine(id).await.unwrap().power.is_off());
    drop(gate);
    starting.await.unwrap().unwrap();
    assert_eq!(host.machine(id).await.unwrap().power, PowerState::Running);
}

#[tokio::test]
async fn the_model_holds_what_the_guest_wrote() {
    let (host, id) = host_with_machine().await;
    let disk: DiskKey = "vda".parse().unwrap();
    host.guest_write(id, &disk, 65530, b"across clusters").unwrap();
    host.guest_discard(id, &disk, 65536, 1).unwrap();
    let bytes = host.model_bytes(id, &disk).unwrap();
    assert_eq!((&bytes[65530..65545], bytes.len() as u64), (&b"across\0clusters"[..], MIB));
    assert_eq!(host.guest_write(id, &disk, MIB - 1, b"ab").unwrap_err().kind, Kind::Invalid);
}

#[tokio::test]
async fn cables_that_were_pulled_are_in_again_when_the_machine_is_started_anew() {
    let (host, id) = host_with_machine().await;
    host.start(id, Start::Running).await.unwrap();
    host.unplug(id).await.unwrap();
    assert!(host.is_unplugged(id).unwrap());
    assert_eq!(host.machine(id).await.unwrap().power, PowerState::Running);
    host.destroy(id).await.unwrap();
    host.start(id, Start::Running).await.unwrap();
    assert!(!host.is_unplugged(id).unwrap());
}

#[tokio::test]
async fn a_network_is_made_once_and_removed_once() {
    let (host, _) = host_with_machine().await;
    for _ in 0..2 {
        host.create_network("lab").await.unwrap();
    }
    assert_eq!(host.networks(), ["lab"]);
    for _ in 0..2 {
        host.remove_network("lab").await.unwrap();
    }
    assert_eq!(host.networks(), Vec::<String>::new());
}
