//! An NBD client over unix sockets: block status (allocation, dirty bitmaps) and many reads
//! in flight on one connection. Read only. It must never know whose disk it reads, nor why.

mod assembly;
mod client;
mod error;
pub mod fuzz;
mod handshake;
mod pool;
pub mod protocol;
mod receiver;

pub use client::{Client, Options, Status};
pub use error::{Error, Result};
