//! The whole control plane in one thread: a vault, two site servers, six hosts and twenty
//! machines over 48 hours, with the parts killed, cut off, restored from old backups, and
//! their clocks set. What decides is what is shipped: the cores of vault and site server, and
//! everything by which an agent decides. Only the disk data is a model: a point is the instant
//! that it shows.
//!
//! `FARSHORE_SEEDS=1000` tells more stories than the usual hundred; `FARSHORE_SEED=7` tells
//! one again.
#![allow(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

#[path = "plane/chance.rs"]
mod chance;
#[path = "plane/faults.rs"]
mod faults;
#[path = "plane/guests.rs"]
mod guests;
#[path = "plane/host.rs"]
mod host;
#[path = "plane/operator.rs"]
mod operator;
#[path = "plane/report.rs"]
mod report;
#[path = "plane/site.rs"]
mod site;
#[path = "plane/source.rs"]
mod source;
#[path = "plane/stories.rs"]
mod stories;
#[path = "plane/target.rs"]
mod target;
#[path = "plane/truth.rs"]
mod truth;
#[path = "plane/vault.rs"]
mod vault;
#[path = "plane/world.rs"]
mod world;
