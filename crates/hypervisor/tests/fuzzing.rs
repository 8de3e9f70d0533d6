//! A bounded, seeded run of the fuzz targets over damaged definitions and over nonsense.

use farshore_hypervisor::fuzz;
use farshore_sim::mutate;

const LIVE: &str = include_str!("fixtures/live.xml");

const SMALL: &str = "<domain type='kvm'><name>a</name><os><type>hvm</type></os><devices/></domain>";

#[test]
fn no_definition_harms_its_reader_and_what_is_changed_can_be_read() {
    let deep = format!("{SMALL}<!--{}-->", "<a>".repeat(2000));
    let deeper = SMALL.replace("<devices/>", &"<a>".repeat(100_000));
    let samples = [LIVE, SMALL, &deep].map(|text| text.as_bytes().to_vec());
    assert!(samples[..2].iter().all(|text| fuzz::definition(text)), "the samples are definitions");
    assert!(!fuzz::definition(deeper.as_bytes()));
    let read = mutate::fuzz(&samples, 10_000, fuzz::definition);
    assert!(read > 500, "{read}");
}
