//! From a guest's write to records: cycles, digest map, initial replication, resync
