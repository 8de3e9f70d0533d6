//! The guest's settings: words like `farshore.rate=50` on the kernel's command line or in
//! the machine's SMBIOS family name, which a host can set without touching the disks. The
//! family name wins. (Not the SKU: libvirt does not pass one that stands alone.)

use std::fs;

const COMMAND_LINE: &str = "/proc/cmdline";
const FAMILY: &str = "/sys/class/dmi/id/product_family";
const MIB: u64 = 1 << 20;
/// Smallest load area: room for a few of the largest writes.
const MIN_AREA: u64 = MIB;

/// What the guest does after its verdict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `farshore.rate`: records per second, at least 1; an upper bound on a slow disk.
    pub(crate) rate: u32,
    /// `farshore.load_kib`: KiB per second of other writes on the first disk; here in bytes.
    pub(crate) load_bytes: u64,
    /// `farshore.load_area_mib`: MiB that those writes are spread over; here in bytes.
    pub(crate) load_area: u64,
    /// `farshore.check_only=1`: write nothing.
    pub(crate) check_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { rate: 50, load_bytes: MIB, load_area: 32 * MIB, check_only: false }
    }
}

impl Settings {
    /// Reads both sources; what is absent or makes no sense keeps its default.
    pub(crate) fn read() -> Settings {
        let sources = [COMMAND_LINE, FAMILY].map(|path| fs::read_to_string(path).unwrap_or_default());
        let mut settings = Settings::default();
        sources.iter().flat_map(|text| text.split_whitespace()).for_each(|word| settings.apply(word));
        settings
    }

    fn apply(&mut self, word: &str) {
        let Some((key, Ok(value))) = word
            .strip_prefix("farshore.")
            .and_then(|word| word.split_once('='))
            .map(|(key, value)| (key, value.parse::<u64>()))
        else {
            return;
        };
        match key {
            "rate" => self.rate = u32::try_from(value.max(1)).unwrap_or(u32::MAX),
            "load_kib" => self.load_bytes = value.saturating_mul(1024),
            "load_area_mib" => self.load_area = value.saturating_mul(MIB).max(MIN_AREA),
            "check_only" => self.check_only = value != 0,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_what_they_name_and_nonsense_keeps_the_default() {
        let mut settings = Settings::default();
        let words = "quiet farshore.rate=200 farshore.load_kib=0 farshore.load_area_mib=lots farshore.check_only=1 rate=3";
        words.split_whitespace().for_each(|word| settings.apply(word));
        let expected = Settings { rate: 200, load_bytes: 0, check_only: true, ..Settings::default() };
        assert_eq!(settings, expected);
    }

    #[test]
    fn no_rate_can_divide_by_zero_and_no_area_is_too_small_to_write_in() {
        let mut settings = Settings::default();
        ["farshore.rate=0", "farshore.load_area_mib=0"].iter().for_each(|word| settings.apply(word));
        assert_eq!((settings.rate, settings.load_area), (1, MIN_AREA));
    }
}
