//! Every limit of the channel. Whoever connects is a stranger until its certificate is
//! verified, and may be faulty after that.

use std::time::Duration;

/// Longest time from the first byte to a verified peer.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a whole request's head; an idle connection is closed after it, too.
pub const HEAD_MAX: Duration = Duration::from_secs(15);
/// Longest time for the body of a request to arrive.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest time for a handler to answer: more than a question for documents is held.
pub const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Longest life of a connection without a certificate.
pub const STRANGER_MAX: Duration = Duration::from_secs(60);

/// Most bytes of a request's body from a member: five hundred reports with inventories.
pub const BODY_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of a request's body from who has no certificate.
pub const STRANGER_BODY_MAX: usize = 64 * 1024;
/// Most bytes of an answer's body.
pub const ANSWER_BODY_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// Most connections at a time, of all.
pub const CONNECTIONS_MAX: usize = 4096;
/// Most connections at a time whose peer is not verified yet.
pub const HANDSHAKES_MAX: usize = 256;
/// Most connections at a time from one address without a verified certificate.
pub const STRANGERS_PER_ADDRESS_MAX: usize = 16;
/// Most connections at a time of one member; a new one takes the place of the oldest, so
/// that half-open ones never keep a restarted agent out.
pub const PER_MEMBER_MAX: usize = 8;

/// How often an open connection's peer is judged anew, by the clock alone.
pub const JUDGE_EVERY: Duration = Duration::from_secs(60);
/// How long requests may go on when the listener stops.
pub const STOP_MAX: Duration = Duration::from_secs(5);
/// How long a refused peer is given to read why.
pub const LINGER_MAX: Duration = Duration::from_secs(1);

/// Longest time for a client to connect, without TLS.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time for an answer, unless a call says otherwise.
pub const CALL_MAX: Duration = Duration::from_secs(15);
/// Attempts of a call, unless it says otherwise.
pub const ATTEMPTS: u32 = 3;
/// Most idle connections of a client.
pub const IDLE_MAX: usize = 4;
/// How long an idle connection is used again: less than [`HEAD_MAX`], after which the
/// other side closes it.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// First pause between attempts; they double.
pub const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between attempts.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Clocks that differ by more than this are told of.
pub const SKEW_MAX: Duration = Duration::from_secs(300);
/// How often a certificate's age is looked at.
pub const AGE_LOOK: Duration = Duration::from_secs(3600);
/// Longest pause between attempts to renew a certificate: there are months for it.
pub const RENEW_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
