//! How long certificates hold, and when they are renewed. The numbers say that a host which
//! renews while it is in contact lasts more than 90 days after it lost the vault.

use std::time::{Duration, SystemTime};

use crate::Facts;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a host, site server or vault must last without a vault to renew it.
pub const ALONE_MIN: Duration = Duration::from_secs(90 * DAY.as_secs());
/// How long certificates of members hold.
pub const MEMBER_LIFETIME: Duration = Duration::from_secs(200 * DAY.as_secs());
/// A certificate is renewed when less than this part of its lifetime is left, at the earliest,
const RENEW_FIRST: (u64, u64) = (9, 12);
/// and at the latest. Its number says where between both, so that members which were let in on
/// one day do not all renew on one day. Not later: what is left then must outlast a lost vault.
const RENEW_LAST: (u64, u64) = (8, 12);
/// People are warned when less than this part is left: renewing has failed for long.
const WARN_BELOW: (u64, u64) = (3, 10);
/// People are warned when an authority ends within this time: all certificates end with it,
/// and another authority has to reach every member first.
const AUTHORITY_WARN: Duration = Duration::from_secs(2 * 365 * DAY.as_secs());
/// Certificates begin this much in the past, since clocks of two sites differ.
const CLOCK_TOLERANCE: Duration = DAY;

const _: () = assert!(
    MEMBER_LIFETIME.as_secs() / RENEW_LAST.1 * RENEW_LAST.0 > ALONE_MIN.as_secs() + 30 * DAY.as_secs(),
    "a certificate renewed late must still outlast a lost vault"
);

/// When a certificate holds.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Lifetime {
    /// From now (with tolerance for clocks that differ) for this long.
    #[must_use]
    pub fn starting_now(length: Duration) -> Lifetime {
        Lifetime::starting(SystemTime::now(), length)
    }

    /// From an instant (with tolerance for clocks that differ) for this long.
    #[must_use]
    pub fn starting(now: SystemTime, length: Duration) -> Lifetime {
        Lifetime { from: now - CLOCK_TOLERANCE, until: now + length }
    }

    /// As members' certificates hold.
    #[must_use]
    pub fn of_member(now: SystemTime) -> Lifetime {
        Lifetime::starting(now, MEMBER_LIFETIME)
    }
}

/// What a certificate's age asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing.
    Fresh,
    /// A new one is to be asked for.
    Due,
    /// It should have been renewed long ago: people must look.
    Late,
}

impl Facts {
    /// What the certificate's age asks for.
    #[must_use]
    pub fn renewal(&self, now: SystemTime) -> Renewal {
        let (length, left) = (self.length_secs(), self.left_secs(now));
        let part = |(part, of): (u64, u64)| length / of * part;
        let spread = part(RENEW_FIRST).saturating_sub(part(RENEW_LAST));
        let renew_below = part(RENEW_FIRST).saturating_sub(spread / 256 * u64::from(self.serial.spread()));
        match (left < part(WARN_BELOW), left < renew_below) {
            (true, _) => Renewal::Late,
            (_, true) => Renewal::Due,
            _ => Renewal::Fresh,
        }
    }

    /// Whether an authority's certificate, which these facts are of, ends so soon that people
    /// must see to another one.
    #[must_use]
    pub fn authority_is_late(&self, now: SystemTime) -> bool {
        self.left_secs(now) < AUTHORITY_WARN.as_secs()
    }

    fn length_secs(&self) -> u64 {
        u64::try_from(self.not_after - self.not_before).unwrap_or(0)
    }

    fn left_secs(&self, now: SystemTime) -> u64 {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        u64::try_from(self.not_after).unwrap_or(0).saturating_sub(now)
    }
}
