//! The world as traits. Everything that decides or stores takes files, time and
//! randomness through these, so that a test can record, cut, tear and fail them.
//! This crate must never know what is kept in a file.

mod buffer;
mod clock;
mod files;
mod real;

pub use buffer::{AlignedBuffer, DIRECT_ALIGN};
pub use clock::{Clock, SystemClock};
pub use files::{File, Files, OpenMode, read_exact_at};
pub use real::RealFiles;
