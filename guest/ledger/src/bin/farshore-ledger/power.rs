//! The power button: how a host asks this guest to stop in order.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the kernel's `struct input_event` on 64-bit machines: time 16, type 2, code 2, value 4.
const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Sets `stop` when a power button is pressed. A guest without one can only be killed.
pub(crate) fn watch(stop: &Arc<AtomicBool>) {
    for device in input_devices() {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            if let Ok(mut events) = File::open(device) {
                wait_for_press(&mut events, &stop);
            }
        });
    }
}

fn wait_for_press(events: &mut impl Read, stop: &AtomicBool) {
    let mut event = [0; EVENT_BYTES];
    while events.read_exact(&mut event).is_ok() {
        let word = |at: usize| u16::from_le_bytes([event[at], event[at + 1]]);
        let pressed = event[20..24] != [0; 4];
        if word(16) == EV_KEY && word(18) == KEY_POWER && pressed {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn input_devices() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/input").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("event"))
        .map(|entry| entry.path())
        .collect()
}
