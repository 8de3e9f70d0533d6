//! `make demo`: two hosts on this machine, a guest that writes, its host lost, the guest
//! back on the other one, judged by itself. Everything shown is measured.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod act;
mod report;

use std::process::ExitCode;

use farshore_e2e::host::{PLACE_MACHINE, place_machine};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let result = match args.get(1).map(String::as_str) {
        Some(PLACE_MACHINE) => place_machine(&args[2..]),
        Some(program) => act::demo(program.as_ref()),
        None => Err("usage: demo PATH-OF-farshore-agent".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}
