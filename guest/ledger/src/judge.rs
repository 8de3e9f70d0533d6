//! The judgement over both disks, as pure code.
//!
//! The guest flushes record N to the second disk, then N into the file on the first, then
//! starts N + 1. So in every consistent cut the file says N or N − 1 of the newest record N;
//! anything else means that the two disks are not of one instant.

use std::fmt;

use crate::console::Verdict;
use crate::survey::Survey;
use crate::witness::{Witness, WitnessFault};

/// State of the chain of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// No record: a ledger that was never begun.
    Empty,
    /// Every record leads to the next.
    Whole,
    /// Broken; the highest number that is missing, damaged or of another history.
    Broken(u64),
    /// Could not be read.
    Unknown,
}

/// Whether both disks are of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// They are.
    InStep,
    /// They are not, or one lost what the other proves.
    OutOfStep,
    /// Could not be told.
    Unknown,
}

/// How the root file system came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// It had been unmounted in order.
    Clean,
    /// Its journal was replayed, as after a power cut.
    Recovered,
    /// The kernel reported an error in it.
    Errors,
    /// It could not be mounted.
    Unmountable,
}

/// Judges what both disks hold; `witness` is `None` when the file does not exist.
#[must_use]
pub fn judge(survey: &Survey, witness: Option<Result<Witness, WitnessFault>>, root: Root) -> Verdict {
    Verdict {
        last: survey.newest.map_or(0, |newest| newest.number),
        chain: chain(survey),
        disks: disks(survey, witness),
        file: witness.and_then(Result::ok).map(|w| w.number),
        root,
    }
}

fn chain(survey: &Survey) -> Chain {
    match (survey.newest, survey.broken) {
        (_, Some(at)) => Chain::Broken(at.number),
        (Some(_), None) => Chain::Whole,
        (None, None) => Chain::Empty,
    }
}

fn disks(survey: &Survey, witness: Option<Result<Witness, WitnessFault>>) -> Disks {
    let in_step = match (survey.newest, witness) {
        (None, None) => true,
        (None, Some(Ok(witness))) => witness.number == 0,
        (Some(newest), Some(Ok(witness))) => {
            let behind = newest.number.checked_sub(witness.number);
            witness.ledger == newest.ledger && matches!(behind, Some(0 | 1))
        }
        // A file that should be there and is not, or is damaged: it is made before the first record.
        (Some(_), None) | (_, Some(Err(_))) => false,
    };
    if in_step { Disks::InStep } else { Disks::OutOfStep }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chain::Empty => f.write_str("empty"),
            Chain::Whole => f.write_str("whole"),
            Chain::Broken(number) => write!(f, "broken@{number}"),
            Chain::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Disks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Disks::InStep => "in-step",
            Disks::OutOfStep => "out-of-step",
            Disks::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Root::Clean => "clean",
            Root::Recovered => "recovered",
            Root::Errors => "errors",
            Root::Unmountable => "unmountable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LedgerId;
    use crate::survey::{Break, Newest};

    const ID: LedgerId = LedgerId([1; 16]);

    fn ledger(number: u64) -> Survey {
        Survey { newest: Some(Newest { ledger: ID, number, digest: [0; 32] }), broken: None }
    }

    fn file(number: u64) -> Option<Result<Witness, WitnessFault>> {
        Some(Ok(Witness { ledger: ID, number }))
    }

    fn in_step(survey: &Survey, witness: Option<Result<Witness, WitnessFault>>) -> bool {
        judge(survey, witness, Root::Clean).disks == Disks::InStep
    }

    #[test]
    fn the_file_may_say_the_newest_record_or_the_one_before_and_nothing_else() {
        let steps = [98, 99, 100, 101].map(|n| in_step(&ledger(100), file(n)));
        assert_eq!(steps, [false, true, true, false]);
    }

    #[test]
    fn before_the_first_record_the_file_is_absent_or_says_zero() {
        let empty = Survey { newest: None, broken: None };
        assert!(in_step(&empty, None));
        assert!(in_step(&empty, file(0)));
        assert!(!in_step(&empty, file(1)), "the ledger disk was lost");
        assert!(in_step(&ledger(1), file(0)));
    }

    #[test]
    fn a_lost_damaged_or_foreign_file_is_out_of_step() {
        assert!(!in_step(&ledger(1), None));
        assert!(!in_step(&ledger(5), Some(Err(WitnessFault::Damaged))));
        let foreign = Witness { ledger: LedgerId([2; 16]), number: 5 };
        assert!(!in_step(&ledger(5), Some(Ok(foreign))));
    }

    #[test]
    fn a_break_is_named_and_is_not_good() {
        let broken = Survey { broken: Some(Break { number: 41 }), ..ledger(100) };
        let verdict = judge(&broken, file(100), Root::Clean);
        assert_eq!(verdict.chain, Chain::Broken(41));
        assert!(!verdict.is_good());
        assert!(judge(&ledger(100), file(100), Root::Recovered).is_good());
        assert!(!judge(&ledger(100), file(100), Root::Errors).is_good());
    }
}
