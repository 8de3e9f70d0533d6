//! The client against real servers (qemu-nbd, nbdkit) and against a hostile one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fuzzing;
mod hostile;
mod real;
