//! A bounded, seeded run of the fuzz targets over damaged honest servers and over nonsense.

use farshore_nbd::fuzz;
use farshore_sim::mutate;

use crate::hostile::{OPTION_REPLY, chunk, data, option_reply};

const SIZE: u64 = 8192;

/// All that an honest server says to the fuzz target.
fn honest(read: &[Vec<u8>]) -> Vec<u8> {
    let info = [&0u16.to_be_bytes()[..], &SIZE.to_be_bytes(), &1u16.to_be_bytes()].concat();
    let context = [&1u32.to_be_bytes()[..], b"base:allocation"].concat();
    let extents: Vec<u8> = [1, 4096, 0, 4096, 3].iter().flat_map(|n: &u32| n.to_be_bytes()).collect();
    let status = chunk(true, 5, 2, u32::try_from(extents.len()).unwrap(), &extents);
    let options = [
        b"NBDMAGICIHAVEOPT\x00\x03".to_vec(),
        option_reply(8, 1, &[]),
        option_reply(10, 4, &context),
        option_reply(10, 1, &[]),
        option_reply(7, 3, &info),
        option_reply(7, 1, &[]),
    ];
    [options.concat(), read.concat(), status].concat()
}

fn samples() -> Vec<Vec<u8>> {
    let hole = [&0u64.to_be_bytes()[..], &2048u32.to_be_bytes()].concat();
    vec![
        honest(&[data(true, 1, 0, &[7; 4096])]),
        honest(&[chunk(false, 2, 1, 12, &hole), data(true, 1, 2048, &[7; 2048])]),
        honest(&[data(false, 1, 2048, &[7; 2048]), data(true, 1, 0, &[7; 2048])]),
        honest(&[chunk(true, 0x8001, 1, 6, &[0, 0, 0, 5, 0, 0])]),
    ]
}

#[test]
fn no_server_harms_the_client() {
    assert!(samples().iter().all(|server| fuzz::server(server)), "the samples are honest");
    let negotiated = mutate::fuzz(&samples(), 4000, fuzz::server);
    assert!(negotiated > 500, "{negotiated}");
}

#[test]
fn no_message_harms_its_parser() {
    let info =
        [&3u16.to_be_bytes()[..], &512u32.to_be_bytes(), &4096u32.to_be_bytes(), &(1u32 << 25).to_be_bytes()];
    let head = [&OPTION_REPLY.to_be_bytes()[..], &7u32.to_be_bytes(), &1u32.to_be_bytes(), &[0; 4]].concat();
    let mut messages = samples();
    messages.extend([info.concat(), head, b"\0\0\0\x05\0\x02no".to_vec(), data(true, 1, 0, &[1; 16])]);
    assert!(mutate::fuzz(&messages, 20_000, fuzz::messages) > 500);
}
