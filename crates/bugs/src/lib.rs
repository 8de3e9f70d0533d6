//! The switch of deliberate bugs: a crate names what may go wrong on purpose, in an enum of
//! its own, asks `is(Bug::…)` where it would, and its tests `plant` one to see that they catch
//! it. Without that crate's feature `deliberate-bugs` nothing can be switched on, and the
//! questions compile away. This crate must never know a bug.

/// Makes a switch for an enum of bugs, in the module where it stands: `is`, `plant` and
/// `Planted`. Of a thread, so that tests beside it go right; or of a process, where the work
/// is done on many threads, with what is switched on when it begins.
///
/// ```
/// /// What goes wrong on purpose.
/// #[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// pub enum Bug {
///     /// It is forgotten.
///     Forgets,
/// }
///
/// farshore_bugs::switch!(thread, Bug);
/// assert!(!is(Bug::Forgets));
/// ```
#[macro_export]
macro_rules! switch {
    (thread, $bug:ident) => {
        #[cfg(feature = "deliberate-bugs")]
        ::std::thread_local! {
            static ACTIVE: ::std::cell::Cell<Option<$bug>> = const { ::std::cell::Cell::new(None) };
        }

        #[cfg(feature = "deliberate-bugs")]
        fn active() -> Option<$bug> {
            ACTIVE.get()
        }

        #[cfg(feature = "deliberate-bugs")]
        fn set_active(bug: Option<$bug>) {
            ACTIVE.set(bug);
        }

        $crate::switch!(questions, $bug);
    };
    (process, $bug:ident, $begins:expr) => {
        #[cfg(feature = "deliberate-bugs")]
        static ACTIVE: ::std::sync::LazyLock<::std::sync::Mutex<Option<$bug>>> =
            ::std::sync::LazyLock::new(|| ::std::sync::Mutex::new($begins));

        #[cfg(feature = "deliberate-bugs")]
        fn active() -> Option<$bug> {
            *ACTIVE.lock().unwrap_or_else(::std::sync::PoisonError::into_inner)
        }

        #[cfg(feature = "deliberate-bugs")]
        fn set_active(bug: Option<$bug>) {
            *ACTIVE.lock().unwrap_or_else(::std::sync::PoisonError::into_inner) = bug;
        }

        $crate::switch!(questions, $bug);
    };
    (questions, $bug:ident) => {
        /// Whether the bug is switched on here.
        #[cfg(feature = "deliberate-bugs")]
        #[must_use]
        pub fn is(bug: $bug) -> bool {
            active() == Some(bug)
        }

        /// No bug can be switched on in a program.
        #[cfg(not(feature = "deliberate-bugs"))]
        #[allow(unreachable_pub, reason = "another crate may ask, where the module is seen there")]
        #[must_use]
        pub const fn is(_: $bug) -> bool {
            false
        }

        /// Switches a bug on here until the guard is dropped.
        #[cfg(feature = "deliberate-bugs")]
        #[must_use]
        pub fn plant(bug: $bug) -> Planted {
            set_active(Some(bug));
            Planted(())
        }

        /// Takes the bug away when dropped, also by a panic.
        #[cfg(feature = "deliberate-bugs")]
        #[derive(Debug)]
        pub struct Planted(());

        #[cfg(feature = "deliberate-bugs")]
        impl Drop for Planted {
            fn drop(&mut self) {
                set_active(None);
            }
        }
    };
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "as it is in a module that is seen")]
mod tests {
    mod of_a_thread {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            One,
            Two,
        }

        crate::switch!(thread, Bug);
    }

    mod of_a_process {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            Begun,
            Planted,
        }

        crate::switch!(process, Bug, Some(Bug::Begun));
    }

    #[test]
    fn a_bug_of_a_thread_is_there_until_its_guard_is_gone_and_in_no_other_thread() {
        use of_a_thread::{Bug, is, plant};
        assert!(!is(Bug::One));
        let planted = plant(Bug::One);
        assert!(is(Bug::One) && !is(Bug::Two));
        assert!(!std::thread::spawn(|| is(Bug::One)).join().unwrap());
        drop(planted);
        assert!(!is(Bug::One));
        let panicked = std::panic::catch_unwind(|| {
            let _planted = plant(Bug::Two);
            panic!("on purpose");
        });
        assert!(panicked.is_err() && !is(Bug::Two));
    }

    #[test]
    fn a_bug_of_a_process_is_there_from_the_beginning_and_in_all_threads() {
        use of_a_process::{Bug, is, plant};
        assert!(is(Bug::Begun));
        let planted = plant(Bug::Planted);
        assert!(std::thread::spawn(|| is(Bug::Planted)).join().unwrap() && !is(Bug::Begun));
        drop(planted);
        assert!(!is(Bug::Planted) && !is(Bug::Begun));
    }
}
