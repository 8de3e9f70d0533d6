//! The guest's two disks as the ledger uses them: the whole second disk as a ring of
//! records, and one small file on the first. It must never judge what it reads.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use anyhow::{Context, Result};
use farshore_ledger::{Block, LedgerId, RECORD_BYTES, Survey, Witness, WitnessFault, slots_on, survey};
use nix::fcntl::OFlag;

const LEDGER_DISK: &str = "/dev/vdb";
const WITNESS_FILE: &str = "/data/witness";
const WITNESS_DIR: &str = "/data";
/// Bytes read at once when the whole ledger is surveyed.
const SURVEY_BUFFER: usize = 1 << 20;

/// Both disks, open.
pub(crate) struct Disks {
    ring: File,
    slots: u64,
}

impl Disks {
    /// Opens the ledger disk.
    pub(crate) fn open() -> Result<Disks> {
        let mut disk = File::open(LEDGER_DISK).with_context(|| format!("open {LEDGER_DISK}"))?;
        let slots = slots_on(disk.seek(SeekFrom::End(0)).context("size of the ledger disk")?);
        // Direct: what reads back after a crash came from the disk, not from a cache.
        let ring = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_DIRECT.bits())
            .open(LEDGER_DISK)
            .with_context(|| format!("open {LEDGER_DISK} for writing"))?;
        Ok(Disks { ring, slots })
    }

    /// Reads the whole ledger.
    pub(crate) fn survey(&mut self) -> Result<Survey> {
        let disk = File::open(LEDGER_DISK).with_context(|| format!("open {LEDGER_DISK}"))?;
        survey(&mut BufReader::with_capacity(SURVEY_BUFFER, disk), self.slots)
            .with_context(|| format!("read {LEDGER_DISK}"))
    }

    /// Reads the file on the first disk; `None` when there is none.
    pub(crate) fn witness(&self) -> Result<Option<Result<Witness, WitnessFault>>> {
        match fs::read(WITNESS_FILE) {
            Ok(bytes) => Ok(Some(Witness::decode(&bytes))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("read {WITNESS_FILE}")),
        }
    }

    /// Writes record `number` and flushes it.
    pub(crate) fn put(&self, number: u64, block: &Block) -> Result<()> {
        let at = number % self.slots * RECORD_BYTES as u64;
        self.ring.write_all_at(&block.0, at).with_context(|| format!("write record {number}"))?;
        self.ring.sync_data().with_context(|| format!("flush record {number}"))
    }

    /// Opens the file on the first disk for writing in place; makes it durable first for a
    /// new ledger, so that no record ever exists without it.
    pub(crate) fn open_witness(&self, new: Option<LedgerId>) -> Result<File> {
        if let Some(ledger) = new {
            fs::write(WITNESS_FILE, Witness { ledger, number: 0 }.encode())
                .context("make the witness file")?;
        }
        let file = OpenOptions::new().write(true).open(WITNESS_FILE).context("open the witness file")?;
        file.sync_all().context("flush the witness file")?;
        File::open(WITNESS_DIR).and_then(|dir| dir.sync_all()).context("flush the witness's directory")?;
        Ok(file)
    }
}
