//! One list of scenarios, run on the simulated driver and on libvirt (embedded, emulated
//! guests without a system; real QEMU, real bitmaps). Then what only libvirt can show.
//!
//! To whoever lists the tests of a program this is one: all scenarios share their hosts.
//! Run by hand (`cargo test -p farshore-hypervisor --test contract -- NAME`), arguments
//! filter by name.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test; this is the harness"
)]

mod libvirt_only;
mod pulls;
mod real;
mod rig;
mod scenarios;
mod simulated;

use std::{future::Future, process::ExitCode, time::Instant};

use rig::Rig;

/// The name under which a test runner finds all of this.
const ALL: &str = "every_driver_keeps_the_contract";

fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|a| a == flag);
    if given("--list") {
        // Asked once for the ordinary tests, once for those that are ignored.
        if !given("--ignored") {
            println!("{ALL}: test");
        }
        return ExitCode::SUCCESS;
    }
    let named = std::env::args().skip(1).filter(|a| !a.starts_with('-') && a != ALL);
    let filters: Vec<String> = named.collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let failures = runtime.block_on(run(&filters));
    // Every thread that libvirt made goes with the process.
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(filters: &[String]) -> usize {
    let mut report = Report { filters, failures: 0 };
    let model = simulated::SimulatedRig::new();
    all(&mut report, "simulated", &model).await;
    let real = real::RealRig::new().await;
    all(&mut report, "libvirt", &real).await;
    libvirt_only::all(&mut report, &real).await;
    real.tear_down().await;
    report.failures
}

struct Report<'a> {
    filters: &'a [String],
    failures: usize,
}

impl Report<'_> {
    /// Runs one scenario; a panic in it fails it alone.
    async fn scenario(&mut self, driver: &str, name: &str, scenario: impl Future<Output = ()>) {
        let name = format!("{driver}::{name}");
        if !self.filters.is_empty() && !self.filters.iter().any(|f| name.contains(f)) {
            return;
        }
        let started = Instant::now();
        let outcome = rig::catch_panic(scenario).await;
        let seconds = started.elapsed().as_secs_f32();
        println!("test {name} ... {} ({seconds:.2} s)", if outcome { "ok" } else { "FAILED" });
        self.failures += usize::from(!outcome);
    }
}

/// Runs the named scenarios on a rig.
macro_rules! run_all {
    ($report:expr, $driver:expr, $rig:expr, $module:ident: $($name:ident),* $(,)?) => {
        $($report.scenario($driver, stringify!($name), $module::$name($rig)).await;)*
    };
}
pub(crate) use run_all;

async fn all(report: &mut Report<'_>, driver: &str, rig: &dyn Rig) {
    run_all!(report, driver, rig, scenarios:
        a_machine_is_found_by_name_and_by_uuid,
        what_is_not_there_is_named_as_missing,
        a_machine_goes_through_its_life_and_events_tell,
        a_machine_is_started_once_and_undefined_only_when_off,
        a_guest_that_was_only_started_paused_has_not_run,
        a_backup_shows_its_instant_and_no_later_write,
        two_disks_are_of_one_instant,
        an_increment_lists_what_was_written_and_nothing_else,
        a_disk_cut_and_grown_back_is_not_told_by_its_bitmap,
        a_deleted_checkpoint_leaves_its_changes_to_its_parent,
        a_failed_cycle_undone_loses_nothing,
        the_job_is_seen_and_a_second_backup_is_turned_away,
        names_taken_and_names_missing_are_told_apart,
        bitmaps_survive_a_stop_and_are_read_before_the_guest_runs,
        after_a_kill_the_bitmaps_are_known_to_be_broken,
        a_lost_bitmap_is_known_to_be_broken,
        a_disk_without_bitmap_goes_along_in_full,
        a_discard_is_a_change_that_reads_as_zeros,
        reads_past_the_end_are_refused,
        a_guest_without_an_agent_is_never_frozen,
        many_cycles_leave_nothing_behind,
    );
    run_all!(report, driver, rig, pulls:
        a_disk_is_pulled_off_what_it_stands_on_and_its_bitmaps_tell_only_what_the_guest_wrote,
        a_pull_that_is_ended_keeps_what_it_has_and_can_be_begun_again,
        a_pull_and_a_backup_turn_each_other_away,
    );
}
