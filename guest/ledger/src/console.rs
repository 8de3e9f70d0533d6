//! The lines that the guest writes on its serial console for a host to read, both ways.
//! It must never judge: it only carries words.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::judge::{Chain, Disks, Root};

const VERDICT: &str = "FARSHORE-VERDICT";
const HEARTBEAT: &str = "FARSHORE-LEDGER";
const STOPPED: &str = "FARSHORE-STOPPED";
const FAULT: &str = "FARSHORE-FAULT";

/// What the guest found at its boot, before it wrote anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Number of the newest record; 0 for none.
    pub last: u64,
    /// The chain that leads to it.
    pub chain: Chain,
    /// Whether both disks are of one instant.
    pub disks: Disks,
    /// What the file on the first disk says; `None` when it is absent or damaged.
    pub file: Option<u64>,
    /// How the root file system came up.
    pub root: Root,
}

impl Verdict {
    /// Whether a recovery point with this verdict is what it should be. A ledger that was
    /// never begun is: compare [`Verdict::last`] with what must be there.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.chain, Chain::Whole | Chain::Empty)
            && self.disks == Disks::InStep
            && matches!(self.root, Root::Clean | Root::Recovered)
    }
}

/// One line of the guest that means something to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleEvent {
    /// A boot got as far as judging its disks.
    Verdict(Verdict),
    /// This record and all before it are flushed on both disks.
    Heartbeat(u64),
    /// The guest stopped in order; this is its very last record.
    Stopped(u64),
    /// The guest's program could not go on; why.
    Fault(String),
}

/// A line is no verdict.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a verdict of the demo guest: {0:?}")]
pub struct VerdictParseError(String);

/// A [`ConsoleEvent`] as the guest prints it.
pub struct ConsoleLine<'a>(pub &'a ConsoleEvent);

impl fmt::Display for ConsoleLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ConsoleEvent::Verdict(verdict) => verdict.fmt(f),
            ConsoleEvent::Heartbeat(number) => write!(f, "{HEARTBEAT} n={number}"),
            ConsoleEvent::Stopped(number) => write!(f, "{STOPPED} n={number}"),
            ConsoleEvent::Fault(why) => write!(f, "{FAULT} {why}"),
        }
    }
}

/// Every event in a console's text, oldest first. A last line without its end is left out:
/// it may still be growing. Lines of the firmware and the kernel are skipped.
#[must_use]
pub fn events_of(console: &str) -> Vec<ConsoleEvent> {
    let whole = console.rfind('\n').map_or("", |end| &console[..end]);
    whole.lines().filter_map(event_of).collect()
}

fn event_of(line: &str) -> Option<ConsoleEvent> {
    let (word, rest) = line[line.find("FARSHORE-")?..].trim_end().split_once(' ')?;
    match word {
        VERDICT => line[line.find(VERDICT)?..].parse().ok().map(ConsoleEvent::Verdict),
        HEARTBEAT => number(rest).map(ConsoleEvent::Heartbeat),
        STOPPED => number(rest).map(ConsoleEvent::Stopped),
        FAULT => Some(ConsoleEvent::Fault(rest.to_owned())),
        _ => None,
    }
}

fn number(rest: &str) -> Option<u64> {
    rest.strip_prefix("n=")?.parse().ok()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { last, chain, disks, file, root } = self;
        let file = file.map_or_else(|| "none".to_owned(), |n| n.to_string());
        write!(f, "{VERDICT} last={last} chain={chain} disks={disks} file={file} root={root}")
    }
}

impl FromStr for Verdict {
    type Err = VerdictParseError;

    fn from_str(line: &str) -> Result<Self, VerdictParseError> {
        parse(line).ok_or_else(|| VerdictParseError(line.to_owned()))
    }
}

fn parse(line: &str) -> Option<Verdict> {
    let rest = line.trim().strip_prefix(VERDICT)?;
    let words: HashMap<&str, &str> = rest.split_whitespace().filter_map(|w| w.split_once('=')).collect();
    Some(Verdict {
        last: words.get("last")?.parse().ok()?,
        chain: parse_chain(words.get("chain")?)?,
        disks: match *words.get("disks")? {
            "in-step" => Disks::InStep,
            "out-of-step" => Disks::OutOfStep,
            "unknown" => Disks::Unknown,
            _ => return None,
        },
        file: match *words.get("file")? {
            "none" => None,
            number => Some(number.parse().ok()?),
        },
        root: match *words.get("root")? {
            "clean" => Root::Clean,
            "recovered" => Root::Recovered,
            "errors" => Root::Errors,
            "unmountable" => Root::Unmountable,
            _ => return None,
        },
    })
}

fn parse_chain(word: &str) -> Option<Chain> {
    match word {
        "empty" => Some(Chain::Empty),
        "whole" => Some(Chain::Whole),
        "unknown" => Some(Chain::Unknown),
        _ => word.strip_prefix("broken@")?.parse().ok().map(Chain::Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(last: u64) -> Verdict {
        Verdict { last, chain: Chain::Whole, disks: Disks::InStep, file: Some(last), root: Root::Clean }
    }

    #[test]
    fn every_verdict_survives_its_line() {
        let chains = [Chain::Empty, Chain::Whole, Chain::Broken(17), Chain::Unknown];
        let disks = [Disks::InStep, Disks::OutOfStep, Disks::Unknown];
        let roots = [Root::Clean, Root::Recovered, Root::Errors, Root::Unmountable];
        for chain in chains {
            for (disks, root) in disks.iter().flat_map(|d| roots.iter().map(|r| (*d, *r))) {
                for file in [None, Some(16)] {
                    let verdict = Verdict { last: 17, chain, disks, file, root };
                    assert_eq!(verdict.to_string().parse(), Ok(verdict));
                }
            }
        }
        assert!("FARSHORE-VERDICT last=x chain=whole".parse::<Verdict>().is_err());
    }

    #[test]
    fn events_are_found_among_the_noise_of_a_console() {
        let event = |e| ConsoleLine(&e).to_string();
        let console = format!(
            "SeaBIOS (version 1.16)\r\n\x1b[c{}\r\n[  1.2] noise\r\n{}\r\n{}\r\n{}\r\nFARSHORE-LEDGER n=99",
            good(3),
            event(ConsoleEvent::Heartbeat(5)),
            event(ConsoleEvent::Stopped(6)),
            event(ConsoleEvent::Fault("no disk".to_owned())),
        );
        let expected = [
            ConsoleEvent::Verdict(good(3)),
            ConsoleEvent::Heartbeat(5),
            ConsoleEvent::Stopped(6),
            ConsoleEvent::Fault("no disk".to_owned()),
        ];
        assert_eq!(events_of(&console), expected, "the unfinished last line must not count");
    }
}
