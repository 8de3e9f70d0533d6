//! An NBD client: extents, dirty bitmaps, many reads in flight
