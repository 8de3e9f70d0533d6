//! Against a server that breaks the rules on purpose.

use std::{path::PathBuf, time::Duration};

use farshore_extent::Run;
use farshore_nbd::{Client, Error, Options};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

const SIZE: u64 = 1024 * 1024;
pub(crate) const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

/// Negotiates honestly, then answers each request with what `answer` makes of its cookie;
/// after an empty answer it hangs up.
async fn hostile(answer: impl Fn(u64) -> Vec<u8> + Send + 'static) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        negotiate(&mut stream).await;
        let mut request = [0; 28];
        while stream.read_exact(&mut request).await.is_ok() {
            let bytes = answer(u64::from_be_bytes(request[8..16].try_into().unwrap()));
            if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    (directory, socket)
}

async fn negotiate(stream: &mut UnixStream) {
    stream.write_all(b"NBDMAGICIHAVEOPT\x00\x03").await.unwrap();
    let mut flags = [0; 4];
    stream.read_exact(&mut flags).await.unwrap();
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        let option = u32::from_be_bytes(head[8..12].try_into().unwrap());
        let mut payload = vec![0; u32::from_be_bytes(head[12..16].try_into().unwrap()) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let facts: Vec<u8> = match option {
            7 => [&0u16.to_be_bytes()[..], &SIZE.to_be_bytes(), &1u16.to_be_bytes()].concat(),
            10 => [&1u32.to_be_bytes()[..], b"base:allocation"].concat(),
            _ => Vec::new(),
        };
        if !facts.is_empty() {
            let kind = if option == 7 { 3 } else { 4 };
            stream.write_all(&option_reply(option, kind, &facts)).await.unwrap();
        }
        stream.write_all(&option_reply(option, 1, &[])).await.unwrap();
        if option == 7 {
            return;
        }
    }
}

pub(crate) fn option_reply(option: u32, kind: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&OPTION_REPLY.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length, payload].concat()
}

/// A structured reply's chunk that claims `len` bytes of payload.
pub(crate) fn chunk(done: bool, kind: u16, cookie: u64, len: u32, payload: &[u8]) -> Vec<u8> {
    let flags = u16::from(done).to_be_bytes();
    let magic = 0x668e_33efu32.to_be_bytes();
    [&magic[..], &flags, &kind.to_be_bytes(), &cookie.to_be_bytes(), &len.to_be_bytes(), payload].concat()
}

pub(crate) fn data(done: bool, cookie: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let payload = [&offset.to_be_bytes()[..], bytes].concat();
    chunk(done, 1, cookie, u32::try_from(payload.len()).unwrap(), &payload)
}

async fn read_from(answer: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Result<Vec<u8>, Error> {
    let (_directory, socket) = hostile(answer).await;
    let options = Options { deadline: Duration::from_secs(5), ..Options::export("") };
    let client = Client::connect_unix(&socket, options).await.unwrap();
    client.read(4096, 8).await.map(Vec::from)
}

/// The connection must end with an error that contains `words`, not with bytes or a hang.
async fn check(words: &str, answer: impl Fn(u64) -> Vec<u8> + Send + 'static) {
    let error = read_from(answer).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. } | Error::Protocol { .. }), "{error}");
    assert!(error.to_string().contains(words), "'{words}' in: {error}");
}

#[tokio::test]
async fn an_honest_answer_in_pieces_is_put_together() {
    let pieces = |cookie| [data(false, cookie, 4100, b"last"), data(true, cookie, 4096, b"head")].concat();
    assert_eq!(read_from(pieces).await.unwrap(), b"headlast");
}

#[tokio::test]
async fn a_reply_to_a_request_that_was_never_sent_ends_the_connection() {
    check("not open", |cookie| data(true, cookie + 1, 4096, b"headlast")).await;
}

#[tokio::test]
async fn a_second_reply_to_one_request_ends_the_connection() {
    let (_directory, socket) =
        hostile(|c| [data(true, c, 4096, b"headlast"), data(true, c, 4096, b"headlast")].concat()).await;
    let client = Client::connect_unix(&socket, Options::export("")).await.unwrap();
    client.read(4096, 8).await.unwrap();
    assert!(client.read(4096, 8).await.is_err());
}

#[tokio::test]
async fn content_outside_the_request_is_refused() {
    check("asked for", |cookie| data(true, cookie, 4092, b"headlast")).await;
    check("asked for", |cookie| data(true, cookie, 4096, b"nine byte")).await;
    check("twice", |cookie| [data(false, cookie, 4096, b"head"), data(true, cookie, 4098, b"head")].concat())
        .await;
}

#[tokio::test]
async fn missing_content_is_an_error_and_not_zeros() {
    check("4 of 8 bytes", |cookie| data(true, cookie, 4096, b"head")).await;
    check("0 of 8 bytes", |cookie| chunk(true, 0, cookie, 0, &[])).await;
}

#[tokio::test]
async fn lengths_beyond_the_limits_are_refused_before_they_are_read() {
    check("4294967295 bytes", |cookie| chunk(true, 1, cookie, u32::MAX, &[])).await;
    check("4294967295 bytes", |cookie| chunk(true, 5, cookie, u32::MAX, &[])).await;
    check("8 bytes", |cookie| chunk(true, 1, cookie, 8, &[0; 8])).await;
    check("unknown kind", |cookie| chunk(true, 77, cookie, 0, &[])).await;
    check("magic", |_| vec![b'x'; 64]).await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_reply_is_an_error() {
    check("lost", |_| Vec::new()).await;
    let (_directory, socket) =
        hostile(|c| if c == 1 { data(true, c, 4096, b"headlast")[..30].to_vec() } else { Vec::new() }).await;
    let client = Client::connect_unix(&socket, Options::export("")).await.unwrap();
    let (half, other) = tokio::join!(client.read(4096, 8), client.read(4096, 8));
    assert!(matches!(half, Err(Error::Lost { .. })) && matches!(other, Err(Error::Lost { .. })));
}

#[tokio::test]
async fn a_server_error_comes_with_the_servers_words() {
    let error = read_from(|c| chunk(true, 0x8001, c, 9, b"\0\0\0\x1c\0\x03bad")).await.unwrap_err();
    assert!(matches!(&error, Error::Server { errno: 28, why, .. } if why == "bad"), "{error}");
    check("text is cut", |c| chunk(true, 0x8001, c, 6, b"\0\0\0\x1c\0\x03")).await;
}

#[tokio::test]
async fn a_block_status_that_goes_nowhere_is_refused() {
    let status = |payload: Vec<u8>| async move {
        let (_directory, socket) =
            hostile(move |c| chunk(true, 5, c, u32::try_from(payload.len()).unwrap(), &payload)).await;
        let options = Options { contexts: vec!["base:allocation".to_owned()], ..Options::export("") };
        let client = Client::connect_unix(&socket, options).await.unwrap();
        client.block_status("base:allocation", Run { start: 0, len: SIZE }).await
    };
    let extent = |context: u32, len: u32| [context.to_be_bytes(), len.to_be_bytes(), [0; 4]].concat();
    assert!(status(extent(1, 0)).await.is_err(), "an empty extent");
    assert!(status(extent(2, 4096)).await.is_err(), "another context");
    let long = status(extent(1, u32::MAX)).await.unwrap();
    assert_eq!(long[0].run, Run { start: 0, len: SIZE }, "an extent past the end is cut");
}

#[tokio::test]
async fn what_is_no_nbd_server_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let error = Client::connect_unix(&socket, Options::export("")).await.err().unwrap();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}
