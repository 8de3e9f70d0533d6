//! The store's promises, each kept on SQLite files and on a real PostgreSQL server that the
//! tests start themselves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

mod backups;
mod basics;
mod fixtures;
mod fuzzing;
mod kill;
mod on_file;
mod on_server;
mod place;
mod proxy;
mod server;
mod trouble;

use std::{future::Future, pin::Pin};

use place::Place;

type Scenario = fn(Place) -> Pin<Box<dyn Future<Output = ()>>>;

fn run(scenario: Scenario, place: Place) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(scenario(place));
}

/// Each scenario as a test on SQLite, and all of them in one test on one PostgreSQL server,
/// each in a database of its own.
macro_rules! on_both {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[test]
                fn $name() {
                    crate::run(|place| Box::pin(crate::$module::$name(place)), crate::Place::sqlite());
                }
            )*
        }

        #[test]
        fn everything_holds_on_postgresql() {
            let server = server::Server::start();
            let all: &[(&str, Scenario)] = &[
                $((stringify!($name), |place| Box::pin(crate::$module::$name(place)))),*
            ];
            let wanted = std::env::var("FARSHORE_SCENARIO").unwrap_or_default();
            let mut failed = Vec::new();
            for (name, scenario) in all.iter().filter(|(name, _)| name.contains(&wanted)) {
                let place = server.place(name);
                let scenario = *scenario;
                if std::thread::spawn(move || run(scenario, place)).join().is_err() {
                    failed.push(*name);
                }
            }
            assert!(failed.is_empty(), "on PostgreSQL failed: {failed:?}\n{}", server.log());
        }
    };
}

on_both! {
    basics::what_is_written_is_there_after_reopening,
    basics::one_failing_precondition_fails_only_its_caller,
    basics::many_callers_share_commits,
    basics::events_are_read_from_anywhere_in_their_order,
    basics::samples_cost_no_write_each_and_the_newest_value_wins,
    basics::what_is_too_old_goes_and_nothing_else,
    basics::a_row_changed_by_hand_is_noticed,
    basics::a_damaged_row_is_refused_and_named,
    basics::a_newer_schema_is_refused_with_what_to_do,
    basics::awkward_bytes_come_back_as_they_were,
    backups::a_backup_moves_between_databases_and_back,
    backups::a_restored_store_is_marked_until_the_vault_has_learned,
    backups::a_backup_of_a_busy_store_is_of_one_instant,
    backups::a_damaged_backup_changes_nothing,
    trouble::a_second_process_is_told_who_holds_the_store,
    trouble::one_that_was_taken_over_can_write_nothing_any_more,
    trouble::samples_alone_ask_for_the_fence_too,
    trouble::an_older_copy_of_the_database_is_noticed,
    trouble::what_cannot_be_stored_is_refused_before_anything_is_tried,
    trouble::failing_together_would_be_caught,
    trouble::a_store_whose_last_handle_goes_gives_the_lock_back,
}
