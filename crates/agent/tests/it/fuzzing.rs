//! A bounded, seeded run over damaged requests on the agent's socket and damaged
//! definitions from the wire, and over nonsense.

use farshore_agent::control::{BringUp, Export, Format, PointChoice, Replicate, Request, StartChoice};
use farshore_capture::Definition;
use farshore_sim::mutate::fuzz;

const ROUNDS: u64 = 20_000;

fn requests() -> Vec<Request> {
    let machine = || "web1".to_owned();
    let point = PointChoice::At("1-42".parse().unwrap());
    vec![
        Request::Machines,
        Request::Status,
        Request::Points { machine: Some(machine()) },
        Request::Verify { machine: machine(), point },
        Request::Export(Export {
            machine: machine(),
            point: PointChoice::Latest,
            disk: Some("vda".parse().unwrap()),
            to: "/out".into(),
            format: Format::Qcow2,
            force: true,
        }),
        Request::BringUp(BringUp {
            machine: machine(),
            point,
            start: StartChoice::Paused,
            replace: true,
            force: false,
        }),
        Request::Discard { machine: machine(), force: true },
        Request::Replicate(Replicate {
            machine: machine(),
            target: None,
            frequency: None,
            compression: None,
            bandwidth: Some(1 << 20),
            exclude: vec!["vdb".parse().unwrap()],
            once: true,
            reclaim: false,
        }),
    ]
}

#[test]
fn no_request_harms_its_reader() {
    let samples: Vec<Vec<u8>> = requests().iter().map(|r| serde_json::to_vec(r).unwrap()).collect();
    let read = |bytes: &[u8]| {
        let Ok(request) = serde_json::from_slice::<Request>(bytes) else { return false };
        let again = serde_json::to_vec(&request).unwrap();
        assert!(serde_json::from_slice::<Request>(&again).is_ok(), "a request survives its bytes");
        true
    };
    assert!(samples.iter().all(|sample| read(sample)));
    assert!(fuzz(&samples, ROUNDS, read) > 500);
}

#[test]
fn no_definition_from_the_wire_harms_its_reader() {
    let sample = |nvram: Option<Vec<u8>>| {
        let left_out = vec!["vdc".parse().unwrap()];
        Definition::new("<domain/>".to_owned(), nvram, left_out).encode()
    };
    let read = |bytes: &[u8]| {
        let Ok(definition) = Definition::decode(bytes) else { return false };
        assert_eq!(Definition::decode(&definition.encode()).unwrap(), definition, "it survives its bytes");
        true
    };
    let samples = [sample(None), sample(Some(vec![7; 300]))];
    assert!(samples.iter().all(|sample| read(sample)));
    assert!(fuzz(&samples, ROUNDS, read) > 500);
}
