//! The load: random writes of 4 to 64 KiB into one bounded file on the first disk, half of
//! each pseudo-random and half repeating, so that replication has something to do. Nothing
//! is ever checked in it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::settings::Settings;

const LOAD_FILE: &str = "/data/load";
/// Unit and alignment of the writes.
const BLOCK: u64 = 4096;
/// Largest write, in blocks.
const MAX_BLOCKS: u64 = 16;
/// Time between two flushes.
const FLUSH: Duration = Duration::from_secs(1);

/// Starts the load in its own thread; it ends at `stop`, or when the disk refuses.
pub(crate) fn start(settings: &Settings, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (stop, per_second, area) = (Arc::clone(stop), settings.load_bytes, settings.load_area);
    std::thread::spawn(move || {
        // The ledger proves the disks; a load that fails only makes the guest quieter.
        let _ = if per_second == 0 { Ok(()) } else { run(&stop, per_second, area) };
    })
}

fn run(stop: &AtomicBool, per_second: u64, area: u64) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(LOAD_FILE)?;
    let mut noise =
        blake3::Hasher::new().update(&std::process::id().to_le_bytes()).update(&uptime()).finalize_xof();
    let (mut due, mut flushed) = (Instant::now(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let len = write_one(&file, &mut noise, area)?;
        due = (due + Duration::from_micros(len * 1_000_000 / per_second)).max(Instant::now());
        if flushed.elapsed() >= FLUSH {
            file.sync_data()?;
            flushed = Instant::now();
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    file.sync_data()
}

/// Writes one piece somewhere in the area; gives its length in bytes.
fn write_one(file: &File, noise: &mut blake3::OutputReader, area: u64) -> io::Result<u64> {
    let mut dice = [0; 16];
    noise.fill(&mut dice);
    let [blocks, place] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&dice[at..at + 8]);
        u64::from_le_bytes(word)
    });
    let len = (1 + blocks % MAX_BLOCKS) * BLOCK;
    let at = place % (area / BLOCK - MAX_BLOCKS) * BLOCK;
    let mut bytes = vec![b'.'; usize::try_from(len).unwrap_or(0)];
    bytes.chunks_mut(128).for_each(|chunk| noise.fill(&mut chunk[..64]));
    file.write_all_at(&bytes, at)?;
    Ok(len)
}

/// Differs from boot to boot.
fn uptime() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
