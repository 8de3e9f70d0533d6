//! A disk that nobody has left out, and that cannot be replicated, is a problem and not only a note.

use farshore_control::HostReport;
use farshore_hypervisor::Hypervisor;

use super::world::Pair;

fn raised(report: &HostReport) -> bool {
    let told = |text: &str| text.contains("web1") && text.contains("vdb") && text.contains("NOT protected");
    let of = |code: &str| code.starts_with("not-protected-");
    report.problems.iter().any(|problem| of(&problem.code) && told(&problem.what))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_comes_and_cannot_be_replicated_is_raised_until_it_goes() {
    let pair = Pair::new().await;
    pair.enable();
    let first = pair.newest_above(0).await;
    let was = pair.source_host.machine(pair.machine).await.unwrap().definition;
    let shared = "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><shareable/>\
        <source file='/images/shared'/><target dev='vdb' bus='virtio'/></disk></devices>";
    pair.source_host.define(&was.replace("</devices>", shared)).await.unwrap();
    pair.vault.until(pair.source_id, "that it is not protected", raised).await;
    pair.newest_above(first).await;
    pair.source_host.define(&was).await.unwrap();
    pair.vault.until(pair.source_id, "nothing of it", |report| !raised(report)).await;
    pair.end().await;
}
