//! The store's promises, each against the model disk.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it did, and stops where it cannot go on"
)]

#[path = "replica/adoption.rs"]
mod adoption;
#[path = "replica/aside.rs"]
mod aside;
#[path = "replica/bugs.rs"]
mod bugs;
#[path = "replica/cheap.rs"]
mod cheap;
#[path = "replica/clock.rs"]
mod clock;
#[path = "replica/crash.rs"]
mod crash;
#[path = "replica/damage.rs"]
mod damage;
#[path = "replica/faults.rs"]
mod faults;
#[path = "replica/full.rs"]
mod full;
#[path = "replica/gone.rs"]
mod gone;
#[path = "replica/history.rs"]
mod history;
#[path = "replica/own.rs"]
mod own;
#[path = "replica/patches.rs"]
mod patches;
#[path = "replica/points.rs"]
mod points;
#[path = "replica/scrub.rs"]
mod scrub;
#[path = "replica/stock.rs"]
mod stock;
#[path = "replica/tool.rs"]
mod tool;
