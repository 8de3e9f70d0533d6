//! Reading what a guest said on its serial console, from the file that QEMU writes.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use farshore_ledger::{ConsoleEvent, Verdict, events_of};

use crate::error::GuestError;

/// All that the guest said that means something, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// The events, over all boots that wrote to this file.
    pub events: Vec<ConsoleEvent>,
}

impl Console {
    /// The verdicts, one per boot that came so far.
    #[must_use]
    pub fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |event: &ConsoleEvent| match event {
            ConsoleEvent::Verdict(verdict) => Some(*verdict),
            _ => None,
        };
        self.events.iter().filter_map(verdict).collect()
    }

    /// The newest record known to be flushed on both disks; a later one may be, too.
    #[must_use]
    pub fn last_known(&self) -> Option<u64> {
        let number = |event: &ConsoleEvent| match event {
            ConsoleEvent::Heartbeat(number) | ConsoleEvent::Stopped(number) => Some(*number),
            ConsoleEvent::Verdict(verdict) => Some(verdict.last),
            ConsoleEvent::Fault(_) => None,
        };
        self.events.iter().rev().find_map(number)
    }

    /// The very last record, when the guest's latest act was to stop in order.
    #[must_use]
    pub fn stopped_at(&self) -> Option<u64> {
        match self.events.last() {
            Some(ConsoleEvent::Stopped(number)) => Some(*number),
            _ => None,
        }
    }
}

/// Reads a console's file; one that is not there yet is empty.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn read_console(path: &Path) -> Result<Console, GuestError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Console { events: events_of(&String::from_utf8_lossy(&bytes)) }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Console::default()),
        Err(e) => Err(GuestError::file("read", path)(e)),
    }
}

/// The verdicts in a console's file, oldest first.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn read_verdicts(path: &Path) -> Result<Vec<Verdict>, GuestError> {
    read_console(path).map(|console| console.verdicts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_console_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        assert_eq!(read_console(&path).unwrap(), Console::default());
        fs::write(&path, "FARSHORE-LEDGER n=5\r\nFARSHORE-STOPPED n=9\r\n").unwrap();
        let console = read_console(&path).unwrap();
        assert_eq!((console.last_known(), console.stopped_at()), (Some(9), Some(9)));
        let verdict = "FARSHORE-VERDICT last=9 chain=whole disks=in-step file=9 root=clean\r\n";
        fs::write(&path, format!("FARSHORE-STOPPED n=9\r\n{verdict}FARSHORE-LEDGER n=12\r\n")).unwrap();
        let console = read_console(&path).unwrap();
        assert_eq!((console.last_known(), console.stopped_at()), (Some(12), None));
        assert_eq!(console.verdicts().len(), 1);
    }
}
