//! Every operation against a plain set of units.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn units(runs: &Runs) -> BTreeSet<u64> {
    runs.iter().flat_map(|r| r.start..r.end()).collect()
}

fn is_canonical(runs: &Runs) -> bool {
    runs.0.iter().all(|r| r.len > 0) && runs.0.windows(2).all(|w| w[0].end() < w[1].start)
}

fn any_runs() -> impl Strategy<Value = Vec<Run>> {
    prop::collection::vec((0u64..200, 0u64..20).prop_map(|(start, len)| Run { start, len }), 0..20)
}

proptest! {
    #[test]
    fn set_operations_match_plain_sets(a in any_runs(), b in any_runs()) {
        let (ra, rb): (Runs, Runs) = (a.into_iter().collect(), b.into_iter().collect());
        let (sa, sb) = (units(&ra), units(&rb));
        for (got, want) in [
            (ra.union(&rb), sa.union(&sb).copied().collect::<BTreeSet<_>>()),
            (ra.intersect(&rb), sa.intersection(&sb).copied().collect()),
            (ra.difference(&rb), sa.difference(&sb).copied().collect()),
        ] {
            prop_assert!(is_canonical(&got));
            prop_assert_eq!(units(&got), want);
        }
    }

    #[test]
    fn inserting_one_by_one_equals_collecting(a in any_runs()) {
        let mut one_by_one = Runs::new();
        a.iter().for_each(|r| one_by_one.insert(*r));
        prop_assert!(is_canonical(&one_by_one));
        prop_assert_eq!(one_by_one, a.into_iter().collect::<Runs>());
    }

    #[test]
    fn aligning_covers_and_never_passes_the_limit(a in any_runs(), unit in 1u64..16) {
        let runs: Runs = a.into_iter().collect();
        let aligned = runs.align_outward(unit, 230);
        prop_assert!(units(&runs).is_subset(&units(&aligned)));
        prop_assert!(aligned.iter().all(|r| r.start % unit == 0 && r.end() <= 230));
    }

    #[test]
    fn pieces_hold_the_same_units(a in any_runs(), max in 1u64..9) {
        let runs: Runs = a.into_iter().collect();
        let pieces: Vec<Run> = runs.pieces(max).collect();
        prop_assert!(pieces.iter().all(|p| p.len > 0 && p.len <= max));
        prop_assert_eq!(pieces.into_iter().collect::<Runs>(), runs);
    }
}
