//! Replication sessions over TLS: windows, resume, rate
