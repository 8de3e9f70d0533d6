//! Time and randomness, as they come in with every call. The core has no others.

use uuid::{Builder, Uuid};

/// When something happens, and what is random in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch; may jump.
    pub wall_ms: u64,
    /// Milliseconds of a clock that only rises, since anything within this run of the
    /// program.
    pub mono_ms: u64,
    /// Unpredictable; another one with every call.
    pub random: [u8; 32],
}

impl Moment {
    /// A number that nobody can guess; the same for the same purpose within one moment, so
    /// each purpose names what it is for.
    #[must_use]
    pub fn draw(&self, purpose: &str) -> u128 {
        let digest = blake3::keyed_hash(&self.random, purpose.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        u128::from_le_bytes(bytes)
    }

    /// A new id.
    #[must_use]
    pub fn id(&self, purpose: &str) -> Uuid {
        Builder::from_random_bytes(self.draw(purpose).to_le_bytes()).into_uuid()
    }
}
