//! Every limit of the handshake, with its unit.

/// Most bytes of one token or binding: tickets with many groups in them are large, and no
/// mechanism makes more than this.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a refusal's text.
pub const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// Most tokens that one side takes: Kerberos needs one, and two where clocks are corrected.
pub const TOKENS_MAX: u32 = 4;
/// Bytes of a channel binding.
pub const BINDING_BYTES: usize = 32;
