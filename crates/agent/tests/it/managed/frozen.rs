//! Application-consistent points as a policy wants them, changed while cycles run.

use farshore_types::Consistency;

use super::world::Pair;

#[tokio::test(flavor = "multi_thread")]
async fn points_are_application_consistent_as_the_policy_wants_and_what_keeps_them_is_told() {
    let pair = Pair::new().await;
    pair.source_host.set_guest_agent(pair.machine, true).unwrap();
    pair.enable_with(|protection| protection.settings.app_consistent_secs = Some(60));
    let made = |report: &farshore_control::HostReport| {
        let apps = report.sources.first().and_then(|source| source.apps.as_ref());
        apps.is_some_and(|apps| apps.made == 1 && apps.fault.is_none() && apps.frozen_ms.is_some())
    };
    pair.vault.until(pair.source_id, "the first one", made).await;
    let kept = |report: &farshore_control::HostReport| {
        report.replicas.first().is_some_and(|replica| replica.newest_application.is_some())
    };
    pair.vault.until(pair.target_id, "the target has it", kept).await;

    // Another frequency counts at once, and the guest has lost its agent.
    pair.source_host.set_guest_agent(pair.machine, false).unwrap();
    pair.change(|protection| protection.settings.app_consistent_secs = Some(3600));
    let told = |report: &farshore_control::HostReport| {
        let apps = report.sources.first().and_then(|source| source.apps.as_ref());
        let fault = apps.and_then(|apps| apps.fault.as_deref());
        apps.is_some_and(|apps| apps.made == 1) && fault.is_some_and(|why| why.contains("guest agent"))
    };
    let report = pair.vault.until(pair.source_id, "the reason", told).await;
    let newest = report.sources[0].newest.unwrap().id.number;
    pair.newest_above(newest).await;
    let report = pair.vault.report_of(pair.target_id).await;
    assert_eq!(report.replicas[0].consistency, Some(Consistency::Crash), "points go on");
    assert!(kept(&report), "and the one that was made is still told of");

    pair.change(|protection| protection.settings.app_consistent_secs = None);
    let unwanted = |report: &farshore_control::HostReport| {
        let apps = report.sources.first().and_then(|source| source.apps.as_ref());
        apps.is_some_and(|apps| apps.fault.is_none() && apps.made == 1)
    };
    pair.vault.until(pair.source_id, "nothing is told of what nobody wants", unwanted).await;
    pair.end().await;
}
