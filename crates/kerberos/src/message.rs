//! What goes over the channel before anything else: a kind, a length, and that many bytes.
//! This module must never know what order messages come in.

use crate::{
    KerberosError,
    limits::{REFUSAL_BYTES_MAX, TOKEN_BYTES_MAX},
};

/// Bytes before a message's content: its kind and its length (little endian).
pub const HEAD_BYTES: usize = 5;

const TOKEN: u8 = 1;
const BINDING: u8 = 2;
const REFUSAL: u8 = 3;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// What the mechanism makes and reads.
    Token(Vec<u8>),
    /// The channel, sealed under the context.
    Binding(Vec<u8>),
    /// It ends here.
    Refusal {
        /// What and where.
        what: String,
        /// What to do about it.
        advice: String,
    },
}

/// The beginning of a message, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    kind: u8,
    len: usize,
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// [`KerberosError::Malformed`]: an unknown kind; [`KerberosError::Oversized`].
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Head, KerberosError> {
        let [kind, length @ ..] = bytes;
        let most = match kind {
            TOKEN | BINDING => TOKEN_BYTES_MAX,
            REFUSAL => REFUSAL_BYTES_MAX,
            _ => return Err(KerberosError::Malformed { what: "a message of an unknown kind" }),
        };
        let found = u32::from_le_bytes(length);
        match usize::try_from(found) {
            Ok(len) if len <= most => Ok(Head { kind, len }),
            _ => Err(KerberosError::Oversized { found: u64::from(found), most }),
        }
    }

    /// Bytes that follow.
    #[must_use]
    pub fn content_len(&self) -> usize {
        self.len
    }
}

impl Message {
    /// Makes a message of its head and the bytes that followed.
    ///
    /// # Errors
    /// [`KerberosError::Malformed`] where it is cut, or empty.
    pub fn parse(head: Head, content: Vec<u8>) -> Result<Message, KerberosError> {
        if content.len() != head.len {
            return Err(KerberosError::Malformed { what: "a message that is cut" });
        }
        match head.kind {
            TOKEN | BINDING if content.is_empty() => {
                Err(KerberosError::Malformed { what: "an empty message" })
            }
            TOKEN => Ok(Message::Token(content)),
            BINDING => Ok(Message::Binding(content)),
            _ => {
                let text = String::from_utf8_lossy(&content);
                let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
                Ok(Message::Refusal { what: plain(what), advice: plain(advice) })
            }
        }
    }

    /// As it is sent. A refusal that is too long is cut.
    ///
    /// # Errors
    /// [`KerberosError::Oversized`]: the mechanism made a token that no peer takes.
    pub fn encode(&self) -> Result<Vec<u8>, KerberosError> {
        let (kind, content) = match self {
            Message::Token(bytes) => (TOKEN, bytes.clone()),
            Message::Binding(bytes) => (BINDING, bytes.clone()),
            Message::Refusal { what, advice } => {
                let mut text = format!("{}\n{}", plain(what), plain(advice));
                while text.len() > REFUSAL_BYTES_MAX {
                    text.pop();
                }
                (REFUSAL, text.into_bytes())
            }
        };
        let too_long = |found: usize| KerberosError::Oversized { found: found as u64, most: TOKEN_BYTES_MAX };
        if content.len() > TOKEN_BYTES_MAX {
            return Err(too_long(content.len()));
        }
        let len = u32::try_from(content.len()).map_err(|_| too_long(content.len()))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
        bytes.push(kind);
        bytes.extend(len.to_le_bytes());
        bytes.extend(content);
        Ok(bytes)
    }
}

/// Who sent a text is not known yet: it must not move the cursor of whoever reads a log.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Message, KerberosError> {
        let head = bytes.first_chunk().ok_or(KerberosError::Malformed { what: "a cut head" })?;
        Message::parse(Head::parse(*head)?, bytes[HEAD_BYTES..].to_vec())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_what_is_cut_is_refused(
            kind in 0..3, bytes in proptest::collection::vec(any::<u8>(), 1..200), cut in any::<prop::sample::Index>()
        ) {
            let message = match kind {
                0 => Message::Token(bytes),
                1 => Message::Binding(bytes),
                _ => Message::Refusal { what: "no".to_owned(), advice: "ask".to_owned() },
            };
            let bytes = message.encode().unwrap();
            prop_assert_eq!(decode(&bytes).unwrap(), message);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            decode(&bytes).ok();
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_read() {
        for (kind, len) in [(TOKEN, 64 * 1024 + 1), (BINDING, u32::MAX), (REFUSAL, 4097)] {
            let mut head = [kind; HEAD_BYTES];
            head[1..].copy_from_slice(&u32::to_le_bytes(len));
            let error = Head::parse(head).unwrap_err();
            assert!(matches!(error, KerberosError::Oversized { found, .. } if found == u64::from(len)));
        }
        assert!(Message::Token(vec![0; TOKEN_BYTES_MAX + 1]).encode().is_err());
    }

    #[test]
    fn a_refusal_is_shown_without_what_would_move_a_cursor() {
        let long = Message::Refusal { what: "a\u{1b}[2Jb".to_owned(), advice: "x".repeat(9000) };
        let Message::Refusal { what, advice } = decode(&long.encode().unwrap()).unwrap() else { panic!() };
        assert_eq!(what, "a [2Jb");
        assert!(advice.len() > 4000 && advice.len() < 4096);
    }
}
