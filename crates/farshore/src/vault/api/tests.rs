//! The API as a whole: the real routes, over a real core, a real desk and a real store.

mod bad_input;
mod failover;
mod fuzz;
mod large;
mod once;
mod schema;
mod stream;
mod world;
