//! What a program measures, for Prometheus, in OpenMetrics text: at an address of its own, in
//! the clear and without a token, so without anything secret in it; off unless it is
//! configured. This room must never know what is measured, nor change anything.
//!
//! A program says what there is as tables of [`Def`] over plain values ([`Labels`]), copies
//! these values in one look ([`Sheet`]), and a [`Board`] makes the text.

mod board;
pub mod document;
mod serve;

pub use board::{Board, Sheet, write_all, write_counts};
pub use prometheus_client;
pub use serve::{Source, serve};

/// One figure of each thing of a kind.
pub struct Def<T> {
    /// Without the prefix, and without the suffix of counters.
    pub name: &'static str,
    /// What it is, for people.
    pub help: &'static str,
    /// Whether it only rises.
    pub counts: bool,
    /// Its value; none where there is none now.
    pub value: fn(&T) -> Option<f64>,
}

/// A figure that rises and falls.
#[must_use]
pub const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Def<T> {
    Def { name, help, counts: false, value }
}

/// A figure that only rises, until the program starts anew.
#[must_use]
pub const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Def<T> {
    Def { name, help, counts: true, value }
}

/// By what one thing is told from its like.
pub trait Labels {
    /// Names and values.
    fn labels(&self) -> Vec<(&'static str, &str)>;
}

/// A count, for a chart.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a figure on a chart needs no last digits")]
pub fn to_f64(value: u64) -> f64 {
    value as f64
}

/// Milliseconds as seconds.
#[must_use]
pub fn secs(ms: u64) -> f64 {
    to_f64(ms) / 1000.0
}

/// A flag as 0 or 1.
#[must_use]
pub fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}
