//! The wire as a whole: every frame, every flipped bit, every order, and two machines
//! against each other through cuts.

mod bugs;
mod flips;
mod fuzzing;
mod model;
mod order;
mod round_trip;
mod samples;
