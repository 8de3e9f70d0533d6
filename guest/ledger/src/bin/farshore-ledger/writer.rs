//! The writer: one record after the other, each flushed on the second disk before the file
//! on the first disk names it, and that flushed before the next record begins.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use farshore_ledger::{LedgerId, Newest, Record, Survey, Witness};

use crate::disks::Disks;
use crate::kernel;
use crate::settings::Settings;

/// Time between two heartbeats on the console.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Writes the ledger on from its newest record.
pub(crate) struct Writer {
    disks: Disks,
    witness: File,
    newest: Newest,
}

impl Writer {
    /// Goes on from what the survey found, or begins a new ledger on empty disks.
    pub(crate) fn resume(disks: Disks, survey: &Survey) -> Result<Writer> {
        let (newest, new) = match survey.newest {
            Some(newest) => (newest, None),
            None => begin(&disks)?,
        };
        let witness = disks.open_witness(new)?;
        Ok(Writer { disks, witness, newest })
    }

    /// Writes until `stop`; gives the number of the last record.
    pub(crate) fn run(mut self, settings: &Settings, stop: &AtomicBool, beat: impl Fn(u64)) -> Result<u64> {
        let pace = Duration::from_secs(1) / settings.rate;
        let (mut due, mut beaten) = (Instant::now(), Instant::now());
        while !stop.load(Ordering::Relaxed) {
            self.append()?;
            if beaten.elapsed() >= HEARTBEAT {
                beat(self.newest.number);
                beaten = Instant::now();
            }
            // A slow disk slows the ledger; it never makes it catch up in a burst.
            due = (due + pace).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(self.newest.number)
    }

    fn append(&mut self) -> Result<()> {
        let Newest { ledger, number, digest } = self.newest;
        let number = number + 1;
        let record = Record { ledger, number, written_ms: now_ms(), predecessor: digest };
        let (block, digest) = record.encode();
        self.disks.put(number, &block)?;
        self.witness
            .write_all_at(&Witness { ledger, number }.encode(), 0)
            .and_then(|()| self.witness.sync_data())
            .with_context(|| format!("write {number} to the first disk"))?;
        self.newest = Newest { ledger, number, digest };
        Ok(())
    }
}

/// What an empty ledger goes on from: a new one, or the one whose first record never came.
fn begin(disks: &Disks) -> Result<(Newest, Option<LedgerId>)> {
    let from = |ledger| Newest { ledger, number: 0, digest: [0; 32] };
    if let Some(Ok(witness)) = disks.witness()? {
        return Ok((from(witness.ledger), None));
    }
    let ledger = kernel::random_id()?;
    Ok((from(ledger), Some(ledger)))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
