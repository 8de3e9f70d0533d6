//! Every limit of the wire, with its unit. Both ends are compiled with these; a peer that
//! exceeds one is refused by name.

/// Oldest protocol version this build speaks.
pub const VERSION_MIN: u16 = 1;
/// Newest protocol version this build speaks.
pub const VERSION_MAX: u16 = 2;
/// First version with patch records.
pub const VERSION_PATCHES: u16 = 2;

/// Largest payload of one frame, in bytes.
pub const FRAME_PAYLOAD_MAX: u32 = 2 * 1024 * 1024;
/// Most records in one Data frame. Zero and discard records carry no bytes, so the
/// payload limit alone would allow more than a receiver wants to handle at once.
pub const RECORDS_PER_FRAME_MAX: usize = 4096;
/// Most disks of one machine.
pub const DISKS_MAX: usize = 256;
/// Largest disk, in bytes (1 PiB).
pub const DISK_SIZE_MAX: u64 = 1 << 50;
/// Longest machine or agent name, in bytes.
pub const NAME_LEN_MAX: usize = 256;
/// Longest message, advice or reason, in bytes.
pub const TEXT_LEN_MAX: usize = 4096;
/// Longest letter, and longest answer to one, in bytes.
pub const LETTER_LEN_MAX: usize = 64 * 1024;
/// Largest machine definition that travels with a point, in bytes.
pub const DEFINITION_LEN_MAX: usize = 1024 * 1024;
/// Most digests in one page.
pub const DIGESTS_PER_PAGE_MAX: usize = 65_536;

/// Smallest credit window, in bytes: two full frames, so that one can travel while the
/// other is being taken over.
#[expect(clippy::cast_possible_truncation, reason = "32 fits")]
pub const WINDOW_MIN: u32 = 2 * (FRAME_PAYLOAD_MAX + crate::HEADER_LEN as u32);
/// Largest credit window, in bytes. The source holds this much in memory for a resend.
pub const WINDOW_MAX: u32 = 256 * 1024 * 1024;
/// The credit window a target gives where its owner chose none, in bytes: 100 ms of
/// a line of 1 Gbit/s, and enough to keep loopback busy.
pub const WINDOW_DEFAULT: u32 = 16 * 1024 * 1024;
