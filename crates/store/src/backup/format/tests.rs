//! Round trips, and every kind of damage.

use super::*;

fn info() -> BackupInfo {
    let label = BackupLabel { term: 3, at_ms: 1_700_000_000_000 };
    BackupInfo { schema: 1, label, version: Version(9), store: "name".into(), counts: Counts::default() }
}

fn records() -> Vec<Record> {
    let row = |key: &str, body: &[u8]| {
        Record::Row(Row { id: RowId::new("k", key), version: Version(7), body: Bytes::copy_from_slice(body) })
    };
    let id = EventId { version: Version(8), ordinal: 2 };
    let (topic, series, subject) = ("audit".to_owned(), "cycles".to_owned(), String::new());
    vec![
        row("a", b"one"),
        row("grün", &[]),
        Record::Event(Event { id, topic, subject: subject.clone(), at_ms: 5, body: "e".into() }),
        Record::Sample(Sample { series, subject, at_ms: 6, body: "s".into() }),
    ]
}

fn encoded() -> Vec<u8> {
    let mut encoder = Encoder::new(&info());
    let mut bytes = Vec::new();
    for record in records() {
        encoder.push(&record);
        bytes.extend(encoder.take());
    }
    bytes.extend(encoder.finish().0);
    bytes
}

fn decoded(bytes: &[u8]) -> Result<(BackupInfo, Vec<Record>), Damage> {
    let mut decoder = Decoder::new(bytes)?;
    let mut records = Vec::new();
    while let Some(record) = decoder.next()? {
        records.push(record);
    }
    assert_eq!(decoder.next(), Ok(None), "the end stays the end");
    Ok((decoder.info().clone(), records))
}

#[test]
fn what_goes_in_comes_out() {
    let (found, all) = decoded(&encoded()).unwrap();
    let counts = Counts { rows: 2, events: 1, samples: 1 };
    assert_eq!((found, all), (BackupInfo { counts, ..info() }, records()));
}

#[test]
fn the_format_is_the_one_that_was_released() {
    // A change of a single byte here needs a new format number, and a reader for this one.
    let digest = blake3::hash(&encoded()).to_hex();
    assert_eq!(&digest[..16], "472e1fd4109fb41a");
}

#[test]
fn every_truncation_is_noticed_and_says_where() {
    let bytes = encoded();
    for len in 0..bytes.len() {
        let damage = decoded(&bytes[..len]).expect_err("it is not whole");
        assert!(damage.at <= len as u64, "{len}: {damage:?}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decoded(&longer).unwrap_err().why.contains("follows its end"));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encoded();
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(decoded(&damaged).is_err(), "bit {at}");
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut bytes = encoded();
    bytes[8] = 2;
    assert_eq!(decoded(&bytes).unwrap_err().newer, Some(2));
    bytes[0] = b'X';
    assert_eq!(decoded(&bytes).unwrap_err().newer, None);
}
