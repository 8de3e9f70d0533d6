//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! (or a named limit) justifies. Each returns whether the bytes meant something.

use farshore_extent::Run;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{Client, Options, handshake, protocol};

/// Every message by itself: the input is one payload, or one head.
#[must_use]
pub fn messages(input: &[u8]) -> bool {
    let kind = input.first().map_or(0, |byte| u16::from(*byte));
    let payloads = [
        protocol::parse_info(input).is_ok(),
        protocol::parse_meta_context(input).is_ok(),
        protocol::parse_extents(input).is_ok(),
        protocol::parse_error(input).is_ok(),
        !protocol::refusal(u32::from(kind), input).is_empty(),
    ];
    let heads = [
        input.first_chunk().is_some_and(|head| protocol::parse_head(head).is_ok()),
        input.first_chunk().is_some_and(|head| protocol::parse_greeting(head).is_ok()),
        input.first_chunk().is_some_and(|head| protocol::parse_option_reply(head, kind.into()).is_ok()),
        input.first_chunk().is_some_and(|rest| protocol::parse_chunk(kind, *rest).is_ok()),
    ];
    payloads[..4].contains(&true) || heads.contains(&true)
}

/// All that a server says in a connection's life: greeting, options, one read, one status.
/// Returns whether the negotiation succeeded.
///
/// # Panics
/// Where the client hands on what it did not ask for.
#[must_use]
pub fn server(input: &[u8]) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return false;
    };
    runtime.block_on(talk(input))
}

async fn talk(input: &[u8]) -> bool {
    let Ok((mut near, far)) = UnixStream::pair() else { return false };
    let said = input.to_vec();
    // Says everything at once, hears everything, and hangs up.
    tokio::spawn(async move {
        let (mut from, mut to) = far.into_split();
        let hearing = tokio::spawn(async move {
            let mut heard = [0; 512];
            while from.read(&mut heard).await.is_ok_and(|n| n > 0) {}
        });
        drop(to.write_all(&said).await);
        drop(to);
        drop(hearing.await);
    });
    let options = Options { contexts: vec!["base:allocation".to_owned()], ..Options::export("vda") };
    let deadline = options.deadline;
    let Ok(agreed) = handshake::negotiate(&mut near, &options).await else { return false };
    let client = Client::over(near, agreed, deadline);
    let len = u32::try_from(client.size().min(4096)).unwrap_or(0);
    if let Ok(bytes) = client.read(0, len).await {
        assert_eq!(bytes.len(), len as usize, "a read must bring what was asked for");
    }
    let whole = Run { start: 0, len: client.size() };
    if let Ok(runs) = client.block_status("base:allocation", whole).await {
        let covered: u64 = runs.iter().map(|status| status.run.len).sum();
        assert_eq!(covered, whole.len, "a status must cover what was asked for");
    }
    true
}
