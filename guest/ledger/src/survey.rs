//! Reads a whole ledger disk and says what is on it: the newest record, and whether an
//! unbroken chain leads to it. It only reads; what that means together with the other disk
//! is for [`crate::judge`].
//!
//! The disk is a ring: record *n* lies in slot *n mod slots*. The slot after the newest
//! record may hold a torn write, and is the one place where damage proves nothing.

use std::io::{self, Read};

use crate::record::{Hash, LedgerId, RECORD_BYTES, Record};

/// Fewest slots a ring can work with: the newest, one before it, and the one being written.
const MIN_SLOTS: u64 = 3;

/// How many records fit on a disk of `bytes`.
#[must_use]
pub const fn slots_on(bytes: u64) -> u64 {
    bytes / RECORD_BYTES as u64
}

/// The newest record of a ledger and what its successor must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The ledger.
    pub ledger: LedgerId,
    /// The record's number.
    pub number: u64,
    /// The record's digest.
    pub digest: Hash,
}

/// Where a chain breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// The highest number that is missing, damaged, or not what its successor names.
    pub number: u64,
}

/// What a ledger disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The newest record; `None` on a disk without one.
    pub newest: Option<Newest>,
    /// Where the chain to it breaks; `None` when it is whole.
    pub broken: Option<Break>,
}

/// Reads `slots` records from the start of `disk`.
///
/// # Errors
/// What reading the disk gives, and `InvalidInput` for fewer than three slots.
pub fn survey(disk: &mut impl Read, slots: u64) -> io::Result<Survey> {
    if slots < MIN_SLOTS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a ledger disk needs at least 12 KiB"));
    }
    let ring = read_ring(disk, slots)?;
    let newest = ring.iter().flatten().max_by_key(|(record, _)| record.number);
    let Some(&(record, digest)) = newest else {
        return Ok(Survey { newest: None, broken: None });
    };
    let newest = Newest { ledger: record.ledger, number: record.number, digest };
    Ok(Survey { newest: Some(newest), broken: first_break(&ring, &newest) })
}

type Slot = Option<(Record, Hash)>;

/// Every record that lies in the slot where its number belongs.
fn read_ring(disk: &mut impl Read, slots: u64) -> io::Result<Vec<Slot>> {
    let mut bytes = [0; RECORD_BYTES];
    let mut ring = Vec::new();
    for slot in 0..slots {
        disk.read_exact(&mut bytes)?;
        ring.push(Record::decode(&bytes).ok().filter(|(record, _)| record.number % slots == slot));
    }
    Ok(ring)
}

/// Walks from the newest record down to the oldest that must still be there.
fn first_break(ring: &[Slot], newest: &Newest) -> Option<Break> {
    let slots = ring.len() as u64;
    // The slot of `newest + 1` may be torn, so what it held before is not asked for.
    let oldest = (newest.number + 2).saturating_sub(slots).max(1);
    let mut expected = newest.digest;
    for number in (oldest..=newest.number).rev() {
        let slot = usize::try_from(number % slots).ok()?;
        match &ring[slot] {
            Some((record, digest)) if *digest == expected && record.ledger == newest.ledger => {
                expected = record.predecessor;
            }
            _ => return Some(Break { number }),
        }
    }
    (oldest == 1 && expected != [0; 32]).then_some(Break { number: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: u64 = 8;
    const ID: LedgerId = LedgerId([1; 16]);

    /// A disk on which records `1..=last` were written in order.
    fn disk(last: u64) -> Vec<u8> {
        let mut bytes = vec![0; at(SLOTS - 1) + RECORD_BYTES];
        let mut predecessor = [0; 32];
        for number in 1..=last {
            let (block, digest) = Record { ledger: ID, number, written_ms: 0, predecessor }.encode();
            bytes[at(number)..at(number) + RECORD_BYTES].copy_from_slice(&block.0);
            predecessor = digest;
        }
        bytes
    }

    fn at(number: u64) -> usize {
        usize::try_from(number % SLOTS).unwrap() * RECORD_BYTES
    }

    fn look(bytes: &[u8]) -> (Option<u64>, Option<u64>) {
        let found = survey(&mut &bytes[..], SLOTS).unwrap();
        (found.newest.map(|n| n.number), found.broken.map(|b| b.number))
    }

    #[test]
    fn an_empty_disk_has_no_newest_record() {
        assert_eq!(look(&disk(0)), (None, None));
    }

    #[test]
    fn a_chain_is_whole_at_every_length_around_the_ring() {
        for last in 1..=3 * SLOTS {
            assert_eq!(look(&disk(last)), (Some(last), None));
        }
    }

    #[test]
    fn a_torn_write_of_the_next_record_breaks_nothing() {
        for last in 1..=3 * SLOTS {
            let mut bytes = disk(last);
            bytes[at(last + 1)..at(last + 1) + 512].fill(0xee);
            assert_eq!(look(&bytes), (Some(last), None), "after {last}");
        }
    }

    #[test]
    fn damage_in_any_older_record_is_found_and_named() {
        for last in [5, 7, 8, 20] {
            for number in (last + 2_u64).saturating_sub(SLOTS).max(1)..last {
                let mut bytes = disk(last);
                bytes[at(number) + 2000] ^= 1;
                assert_eq!(look(&bytes), (Some(last), Some(number)));
            }
        }
    }

    #[test]
    fn a_stale_slot_breaks_the_chain() {
        let mut bytes = disk(20);
        let older = disk(16);
        bytes[at(15)..at(15) + RECORD_BYTES].copy_from_slice(&disk(8)[at(7)..at(7) + RECORD_BYTES]);
        assert_eq!(look(&bytes), (Some(20), Some(15)));
        assert_eq!(look(&older), (Some(16), None));
    }

    #[test]
    fn a_record_of_another_history_breaks_the_chain() {
        let mut bytes = disk(5);
        let other = Record { ledger: ID, number: 3, written_ms: 99, predecessor: [4; 32] };
        bytes[at(3)..at(3) + RECORD_BYTES].copy_from_slice(&other.encode().0.0);
        assert_eq!(look(&bytes), (Some(5), Some(3)));
    }

    #[test]
    fn a_disk_too_small_for_a_ring_is_refused() {
        assert!(survey(&mut &[0_u8; RECORD_BYTES * 2][..], 2).is_err());
    }
}
