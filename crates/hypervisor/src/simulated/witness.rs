//! Who sees the calls that are made to a host. This module must never know what they do.

use super::Operation;
use crate::Kind;

/// Sees each call of a host's user before it takes effect, and after.
pub trait Witness: Send + Sync {
    /// Of a call that is about to take effect; what is returned is given to [`Witness::after`].
    ///
    /// # Errors
    /// How the call fails, without effect.
    fn before(&self, operation: Operation) -> Result<u64, Kind>;

    /// Of a call that has taken effect, or has failed by itself.
    ///
    /// # Errors
    /// How the call fails all the same.
    fn after(&self, operation: Operation, seen: u64) -> Result<(), Kind>;
}
