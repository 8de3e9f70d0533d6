//! The parser against right, wrong and random bytes.

use proptest::prelude::*;

use super::*;

fn structured(kind: u16, len: u32) -> Result<Chunk> {
    parse_chunk(kind, len.to_be_bytes())
}

#[test]
fn a_chunk_longer_than_its_kind_allows_is_refused() {
    assert!(structured(1, MAX_READ + 8).is_ok());
    assert!(structured(1, MAX_READ + 9).is_err());
    assert!(structured(1, 8).is_err(), "data without data");
    assert!(structured(2, 13).is_err());
    assert!(structured(5, 4 + 8 * MAX_EXTENTS + 8).is_err());
    assert!(structured(5, 15).is_err(), "half an extent");
    assert!(structured(0x8001, MAX_ERROR_PAYLOAD + 1).is_err());
    assert!(structured(3, 0).is_err(), "unknown kind");
}

#[test]
fn an_empty_extent_is_refused_because_it_would_never_end() {
    let mut payload = 7u32.to_be_bytes().to_vec();
    payload.extend([0, 0, 16, 0, 0, 0, 0, 3]);
    assert_eq!(parse_extents(&payload).unwrap(), (7, vec![(4096, 3)]));
    payload.extend([0; 8]);
    assert!(parse_extents(&payload).is_err());
}

#[test]
fn an_error_text_longer_than_its_chunk_is_refused() {
    assert_eq!(parse_error(&[0, 0, 0, 5, 0, 2, b'n', b'o']).unwrap(), (5, "no".to_owned()));
    assert_eq!(parse_error(&[0, 0, 0, 5, 0, 0]).unwrap().1, "input/output error");
    assert!(parse_error(&[0, 0, 0, 5, 0, 3, b'n', b'o']).is_err());
}

#[test]
fn a_request_is_laid_out_as_the_protocol_says() {
    let request = encode_request(Command::BlockStatus, 0x0102_0304_0506_0708, 65536, 512);
    assert_eq!(request[..8], [0x25, 0x60, 0x95, 0x13, 0, 0, 0, 7]);
    assert_eq!(request[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(request[16..], [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in any::<u16>()) {
        let _: (Result<_>, Result<_>, Result<_>, Result<_>) =
            (parse_info(&bytes), parse_meta_context(&bytes).map(|_| ()), parse_extents(&bytes), parse_error(&bytes));
        if let Some(head) = bytes.first_chunk() {
            let _: Result<_> = parse_head(head);
        }
        if let Some(head) = bytes.first_chunk() {
            let _: Result<_> = parse_greeting(head);
        }
        if let Some(head) = bytes.first_chunk() {
            let _: Result<_> = parse_option_reply(head, u32::from(kind));
        }
        if let Some(rest) = bytes.first_chunk() {
            let _: Result<_> = parse_chunk(kind, *rest);
        }
    }
}
