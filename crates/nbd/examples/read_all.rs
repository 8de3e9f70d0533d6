//! Reads a whole export with many requests in flight and says how fast that was:
//! `read_all SOCKET EXPORT [REQUEST_KIB] [IN_FLIGHT]`. To compare with `nbdcopy … null:`.

use std::{path::PathBuf, sync::Arc, time::Instant};

use farshore_nbd::{Client, Error, Options, Result};
use tokio::sync::Semaphore;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, export, numbers @ ..] = &arguments[..] else {
        return Err(usage());
    };
    let number = |at: usize, or: u32| numbers.get(at).and_then(|n| n.parse().ok()).unwrap_or(or);
    let (step, in_flight) = (number(0, 1024) * 1024, number(1, 16));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(read_all(socket.into(), export, step, in_flight as usize))
}

#[allow(clippy::print_stdout, reason = "what this program is for")]
async fn read_all(socket: PathBuf, export: &str, step: u32, in_flight: usize) -> Result<()> {
    let client = Client::connect_unix(&socket, Options::export(export)).await?;
    let slots = Arc::new(Semaphore::new(in_flight));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for offset in (0..client.size()).step_by(step as usize) {
        let len = u32::try_from((client.size() - offset).min(step.into())).unwrap_or(step);
        let slot = Arc::clone(&slots).acquire_owned().await.expect("never closed");
        let client = client.clone();
        tasks.spawn(async move {
            let read = client.read(offset, len).await.map(|bytes| bytes.len());
            drop(slot);
            read
        });
    }
    let mut total = 0;
    while let Some(read) = tasks.join_next().await {
        total += read.expect("no panic")?;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{total} bytes in {seconds:.3} s: {} MB/s", (total as f64 / seconds / 1e6).round());
    client.close().await;
    Ok(())
}

fn usage() -> Error {
    let why = "usage: read_all SOCKET EXPORT [REQUEST_KIB] [IN_FLIGHT]".to_owned();
    Error::Invalid { command: "read", offset: 0, len: 0, why }
}
