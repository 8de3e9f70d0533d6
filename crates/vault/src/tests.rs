//! Two sites with two hosts each, agents that keep documents as real ones do, a store that is
//! a map, and everything that can be done to them.

mod agent;
mod around;
mod bulk;
mod commands;
mod courses;
mod cuts;
mod failover;
mod guards;
mod hand;
mod jobs;
mod kills;
mod late;
mod learning;
mod lost;
mod maintenance;
mod moving;
mod ownership;
mod preflight;
mod random;
mod requests;
mod scale;
mod strikes;
mod told;
mod transactions;
mod tries;
mod twins;
mod watch;
mod world;
