//! The demo guest's ledger: numbered, chained, checksummed records on the guest's second
//! disk, and beside them, in a file on its first disk, the number of the newest.
//!
//! Together they tell whether a copy of both disks is whole and from *one* instant. This
//! library is the format and the judgement, used by the program in the guest and by the host
//! that reads its console. It must never know what Farshore is or how a copy was made.

mod console;
mod judge;
mod record;
mod survey;
mod witness;

pub use console::{ConsoleEvent, ConsoleLine, Verdict, VerdictParseError, events_of};
pub use judge::{Chain, Disks, Root, judge};
pub use record::{Block, Hash, LedgerId, RECORD_BYTES, Record, RecordFault};
pub use survey::{Break, Newest, Survey, slots_on, survey};
pub use witness::{WITNESS_BYTES, Witness, WitnessFault};
