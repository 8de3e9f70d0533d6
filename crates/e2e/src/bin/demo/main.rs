//! `make demo`: a vault, two sites of two hosts each, two guests that write; one site lost,
//! the guests back on the other, judged by themselves. Everything shown is measured.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod act;
mod lost;
mod report;
mod stage;

use std::process::ExitCode;

use farshore_e2e::host::{PLACE_MACHINE, place_machine};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    let result = match args[..] {
        [PLACE_MACHINE, ..] => {
            let rest: Vec<String> = args[1..].iter().map(|arg| (*arg).to_owned()).collect();
            place_machine(&rest)
        }
        [farshore, agent] => act::demo(farshore.as_ref(), agent.as_ref()),
        _ => Err("usage: demo PATH-OF-farshore PATH-OF-farshore-agent".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}
