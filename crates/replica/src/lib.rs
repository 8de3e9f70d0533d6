//! The replica store: append, points, publish, prune, recover
