//! Every limit of a session's I/O, with its unit.

use std::time::Duration;

/// Longest time for TCP, TLS and Hello/Welcome together.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(20);
/// Most Kerberos steps that a host has under way at once: each blocks a thread, and whoever
/// connects can ask for one.
pub const KERBEROS_STEPS_MAX: usize = 8;
/// Longest time in which a letter is answered: whoever does makes it durable first.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Silence after which an end sends a Ping.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Silence after which an end takes the connection for dead: three Pings unanswered.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(35);
/// Longest time given to the last frame of a connection.
pub const FAREWELL_DEADLINE: Duration = Duration::from_secs(2);
/// First pause before a reconnect; it doubles up to [`BACKOFF_MAX`].
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a reconnect.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long a cut is healed where the owner chose nothing else.
pub const HEAL_DEFAULT: Duration = Duration::from_secs(60);

/// Wanted size of a Data frame, in bytes: large enough that its fixed costs vanish, small
/// enough that several fit a window. A megabyte of clusters with their heads fits one.
pub const FRAME_TARGET: u64 = 1024 * 1024 + 64 * 1024;
/// Bytes of frames queued for writing before no more commands are taken.
pub const OUT_QUEUE_MAX: usize = 2 * 1024 * 1024;
/// Least room offered to a read, in bytes.
pub const READ_CHUNK: usize = 512 * 1024;
/// Most bytes taken from the socket at once, before decryption.
pub const SOCKET_READ: usize = 64 * 1024;
/// Bytes of plaintext that TLS may hold encrypted before the socket takes them.
pub const TLS_BUFFER: usize = 256 * 1024;
/// Slices given to one vectored write.
pub const WRITE_SLICES_MAX: usize = 64;

/// Most connections a target serves at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// Frames whose work is queued at a target before it stops reading.
pub const WORK_QUEUE_MAX: usize = 1024;
/// Longest wait for an older session of the same machine to finish its work.
pub const TAKEOVER_DEADLINE: Duration = Duration::from_secs(30);
/// How often an accept that failed for want of resources is tried again.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The deadlines of a connection, changeable for tests and odd lines.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// See [`HANDSHAKE_DEADLINE`].
    pub handshake: Duration,
    /// See [`PING_INTERVAL`].
    pub ping: Duration,
    /// See [`IDLE_DEADLINE`].
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { handshake: HANDSHAKE_DEADLINE, ping: PING_INTERVAL, idle: IDLE_DEADLINE }
    }
}
