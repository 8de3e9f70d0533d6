//! Test side: crash disk, model disk, faults, whole-system runs
