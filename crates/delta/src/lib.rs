//! A recovery point's changes: places, digests, the delta file, merging
