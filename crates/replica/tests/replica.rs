//! The store's promises, each against the model disk.

#[path = "replica/crash.rs"]
mod crash;
#[path = "replica/faults.rs"]
mod faults;
#[path = "replica/points.rs"]
mod points;
#[path = "replica/stock.rs"]
mod stock;
