//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! justifies, and what was understood survives its bytes. Each returns whether the bytes
//! meant something.

use crate::{HEAD_BYTES, Head, Message, limits::REFUSAL_BYTES_MAX};

/// What a peer sends before it is known: messages, one after another. Whether one was whole.
///
/// # Panics
/// Where a message that was read cannot be written and read again.
#[must_use]
pub fn messages(input: &[u8]) -> bool {
    let (mut rest, mut understood) = (input, false);
    while let Some((head, content)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let Ok(head) = Head::parse(*head) else { break };
        let Some((content, after)) = content.split_at_checked(head.content_len()) else { break };
        if let Ok(message) = Message::parse(head, content.to_vec()) {
            survives(&message);
            understood = true;
        }
        rest = after;
    }
    understood
}

fn survives(message: &Message) {
    // Whatever a peer sends can be passed on: it was in the limits.
    let Ok(bytes) = message.encode() else { panic!("a message that was read must be written") };
    let Some((head, content)) = bytes.split_first_chunk::<HEAD_BYTES>() else { panic!("it has a head") };
    let again = Head::parse(*head).and_then(|head| Message::parse(head, content.to_vec()));
    match (message, again) {
        // Bytes that are no text take more room as text, and what is too long is cut.
        (Message::Refusal { what, advice }, Ok(Message::Refusal { .. }))
            if what.len() + 1 + advice.len() > REFUSAL_BYTES_MAX => {}
        (message, again) => {
            assert!(again.is_ok_and(|again| again == *message), "a message must survive its bytes");
        }
    }
}
