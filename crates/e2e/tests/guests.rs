//! Real guests on real libvirt, replicated by real agents that are killed: every recovery
//! point is judged by the ledger that the guest keeps.

#![allow(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]
#![allow(clippy::print_stdout, reason = "a round that failed is to be read, and played again")]

#[path = "guests/choices.rs"]
mod choices;
#[path = "guests/daemon.rs"]
mod daemon;
#[path = "guests/ext4.rs"]
mod ext4;
#[path = "guests/failover.rs"]
mod failover;
#[path = "guests/flat.rs"]
mod flat;
#[path = "guests/frozen.rs"]
mod frozen;
#[path = "guests/full.rs"]
mod full;
#[path = "guests/glass.rs"]
mod glass;
#[path = "guests/handed.rs"]
mod handed;
#[path = "guests/ledger.rs"]
mod ledger;
#[path = "guests/moved.rs"]
mod moved;
#[path = "guests/net.rs"]
mod net;
#[path = "guests/networks.rs"]
mod networks;
#[path = "guests/partitions.rs"]
mod partitions;
#[path = "guests/resized.rs"]
mod resized;
#[path = "guests/rounds.rs"]
mod rounds;
#[path = "guests/saved.rs"]
mod saved;
#[path = "guests/scratch.rs"]
mod scratch;
#[path = "guests/site.rs"]
mod site;
#[path = "guests/small_disk.rs"]
mod small_disk;
#[path = "guests/tries.rs"]
mod tries;
#[path = "guests/vault.rs"]
mod vault;
