//! Frames and the session machine of replication, without I/O
