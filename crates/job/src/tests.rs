//! Jobs from their first step to their end, and the matrix with mistakes that it must catch.

mod matrix;
mod sample;
mod stories;
