//! Progress on standard error: a bar on a terminal, a line now and then elsewhere. This
//! module must never write to standard output.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::show::{bytes, complain, duration};
use crate::control::{CycleLine, Event};

/// Pause between two lines where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(5);
const STYLE: &str =
    "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {prefix} {eta} left";

/// Shows events as they come.
pub(super) struct Bars {
    terminal: bool,
    bar: Option<(String, ProgressBar)>,
    step: Option<(String, Instant, Instant)>,
}

impl Bars {
    pub(super) fn new() -> Bars {
        Bars { terminal: std::io::stderr().is_terminal(), bar: None, step: None }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::Advance { what, done, total, moved } if self.terminal => {
                self.bar(what, *done, *total, *moved);
            }
            Event::Advance { what, done, total, moved } => self.line(what, *done, *total, *moved),
            Event::Note(text) => self.say(text),
            Event::Cycle(cycle) => self.say(&cycle_line(cycle)),
        }
    }

    fn bar(&mut self, what: &str, done: u64, total: u64, moved: u64) {
        if self.bar.as_ref().is_none_or(|(of, _)| of != what) {
            self.clear();
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(STYLE) {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            self.bar = Some((what.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(total);
            bar.set_prefix(ratio(done, moved));
            bar.set_position(done);
        }
    }

    fn line(&mut self, what: &str, done: u64, total: u64, moved: u64) {
        let now = Instant::now();
        let begun = match &self.step {
            Some((of, begun, told)) if of == what => {
                if now - *told < LINE_PAUSE && done < total {
                    return;
                }
                *begun
            }
            _ => now,
        };
        self.step = Some((what.to_owned(), begun, now));
        let elapsed = (now - begun).as_secs_f64();
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let mut text = format!("{what}: {percent} %, {} of {}", bytes(done), bytes(total));
        if elapsed > 0.0 && done > 0 {
            let share = total.saturating_sub(done) as f64 / done as f64;
            let left = Duration::try_from_secs_f64(elapsed * share).unwrap_or_default();
            let rate = Duration::from_secs(1).as_secs_f64() * done as f64 / elapsed;
            let left = duration(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            text += &format!(", {}/s, {left} left", bytes(whole(rate)));
        }
        let ratio = ratio(done, moved);
        complain(&format!("{text}{}{ratio}\n", if ratio.is_empty() { "" } else { ", " }));
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some((_, bar)) => bar.println(text),
            None => complain(&format!("{text}\n")),
        }
    }

    /// Takes the bar away: what follows is the answer.
    pub(super) fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people; the cast saturates"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

/// How much was sent for what was done.
fn ratio(done: u64, moved: u64) -> String {
    match (moved, done) {
        (0, _) | (_, 0) => String::new(),
        (moved, done) => format!("{} sent (1:{:.1})", bytes(moved), done as f64 / moved as f64),
    }
}

fn cycle_line(cycle: &CycleLine) -> String {
    let point = cycle.point.map_or("no point".to_owned(), |id| format!("point {id}"));
    let mut text = format!(
        "{point}: {} dirty, {} sent, {}",
        bytes(cycle.dirty),
        bytes(cycle.sent),
        duration(cycle.took_ms)
    );
    if cycle.missed > 0 {
        text += &format!(", {} cycles missed so far", cycle.missed);
    }
    if let Some(fault) = &cycle.fault {
        text += &format!(": {fault}");
    }
    text
}
