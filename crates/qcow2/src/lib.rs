//! The qcow2 format, pure: header, tables, snapshots, refcounts
