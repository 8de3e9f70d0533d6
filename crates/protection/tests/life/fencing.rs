//! What an agent decides.

use farshore_ownership::{Heard, Lineage, Witness};
use farshore_types::{Epoch, HostId, MachineId, PointId, PointRef, RootDigest};
use uuid::Uuid;

use crate::{HERE, THERE};
use farshore_protection::{
    Choice, Overlay, Want, Wanted,
    bug::{Bug, plant},
    fence::{
        Act, Answered, AtBoot, Boots, Claim, Do, Fence, Here, Probe, Voice, at_boot, break_glass, converge,
        on_claim, witness,
    },
};

const MACHINE: MachineId = MachineId(Uuid::from_u128(9));

fn epoch(number: u64) -> Epoch {
    Epoch { number, token: u128::from(number) * 10 }
}

fn lineage(number: u64, owner: HostId) -> Lineage {
    Lineage::new(MACHINE, epoch(number), owner)
}

fn sealed(number: u64) -> Lineage {
    let mut sealed = lineage(number, HERE);
    let last = PointRef { id: PointId { epoch: number, number: 3 }, root: RootDigest([0; 32]) };
    sealed.seal(HERE, last, epoch(number + 1)).unwrap();
    sealed
}

fn says(by: Voice, nonce: u128, number: u64) -> Answered {
    Answered { by, witness: Witness { nonce, epoch: epoch(number) } }
}

/// Starts that rest on nobody of the other side, or on an answer of before.
fn stale_starts() -> usize {
    let held = lineage(5, HERE);
    let answers = [says(Voice::OwnSite, 1, 5), says(Voice::Vault, 1, 5), says(Voice::OtherHost, 2, 5)];
    answers.iter().filter(|answer| at_boot(&held, HERE, 1, &[**answer], false) == AtBoot::Start).count()
}

#[test]
fn after_a_boot_only_the_other_site_and_only_freshly_lets_a_machine_start() {
    let held = lineage(5, HERE);
    assert_eq!(stale_starts(), 0);
    assert!(matches!(at_boot(&held, HERE, 1, &[], false), AtBoot::Hold(_)));
    for by in [Voice::OtherHost, Voice::OtherSite] {
        assert_eq!(at_boot(&held, HERE, 1, &[says(by, 1, 5)], false), AtBoot::Start);
    }
    // The site server has not heard yet what its host knows.
    let both = [says(Voice::OtherSite, 1, 5), says(Voice::OtherHost, 1, 6)];
    assert!(matches!(at_boot(&held, HERE, 1, &both, false), AtBoot::Never(_)));
}

#[test]
fn a_boot_that_believes_anybody_is_caught() {
    let _planted = plant(Bug::BelievesAnybody);
    assert!(stale_starts() > 0);
}

#[test]
fn a_person_stands_in_for_a_witness_and_never_for_what_is_known() {
    assert_eq!(at_boot(&lineage(5, HERE), HERE, 1, &[], true), AtBoot::StartOverridden);
    let taken = [says(Voice::OtherHost, 1, 6)];
    assert!(matches!(at_boot(&lineage(5, HERE), HERE, 1, &taken, true), AtBoot::Never(_)));
    assert!(matches!(at_boot(&lineage(5, THERE), HERE, 1, &[], true), AtBoot::Never(_)));
    assert!(matches!(at_boot(&sealed(5), HERE, 1, &[says(Voice::OtherHost, 1, 5)], true), AtBoot::Never(_)));
    let mut torn = lineage(5, HERE);
    assert_eq!(torn.hear(&Epoch { number: 5, token: 1 }, THERE), Heard::Conflict);
    assert!(matches!(at_boot(&torn, HERE, 1, &[], true), AtBoot::Never(_)));
    // Whoever owns it by the other one asks: its own would tell it that all is well.
    assert_eq!(witness(&torn, 8), Witness { nonce: 8, epoch: lineage(5, HERE).epoch });
}

/// What becomes of a machine that runs on a host which lost it.
fn on_rumour() -> Act {
    on_claim(&lineage(6, THERE), HERE, Want::Fence, Claim::Rumour, Fence::Stop)
}

#[test]
fn a_guest_is_stopped_by_the_vaults_claim_alone_and_as_configured() {
    let lost = lineage(6, THERE);
    let fresh = |want, fence| on_claim(&lost, HERE, want, Claim::Vault, fence);
    assert_eq!(fresh(Want::Fence, Fence::Stop), Act::Fence(Fence::Stop));
    assert_eq!(fresh(Want::Receive, Fence::Isolate), Act::Fence(Fence::Isolate));
    assert_eq!(fresh(Want::Hold, Fence::Stop), Act::GoOnUnprotected);
    assert_eq!(fresh(Want::Nothing, Fence::Stop), Act::GoOn);
    assert_eq!(on_rumour(), Act::GoOnUnprotected);
    assert_eq!(on_claim(&lineage(6, HERE), HERE, Want::Run, Claim::Vault, Fence::Stop), Act::GoOn);
}

#[test]
fn an_agent_that_stops_a_guest_on_a_rumour_is_caught() {
    let _planted = plant(Bug::StopsOnRumour);
    assert_ne!(on_rumour(), Act::GoOnUnprotected);
}

#[test]
fn without_the_vault_the_other_host_is_asked_first_and_the_epoch_is_above_all_that_is_known() {
    let held = lineage(5, HERE);
    assert_eq!(break_glass(&held, &[], Probe::Runs, false, 7).unwrap_err().code, "runs-there");
    assert_eq!(break_glass(&held, &[], Probe::Silent, false, 7).unwrap_err().code, "may-run-there");
    assert_eq!(break_glass(&held, &[], Probe::DoesNot, false, 7).unwrap().number, 6);
    assert_eq!(break_glass(&held, &[epoch(6)], Probe::DoesNot, false, 7).unwrap().number, 7);
    assert_eq!(break_glass(&sealed(5), &[], Probe::DoesNot, false, 7).unwrap_err().code, "sealed");
    assert_eq!(break_glass(&sealed(5), &[], Probe::Silent, true, 7).unwrap().number, 7);
    let mut two = lineage(5, HERE);
    two.hear(&Epoch { number: 5, token: 2 }, THERE);
    assert_eq!(break_glass(&two, &[], Probe::DoesNot, false, 7).unwrap_err().code, "contested");
    assert_eq!(break_glass(&two, &[], Probe::DoesNot, true, 7).unwrap().number, 6);
    let mut refuses = lineage(5, THERE);
    refuses.refuse(&epoch(9)).unwrap();
    assert_eq!(break_glass(&refuses, &[], Probe::DoesNot, false, 7).unwrap().number, 10);
}

#[test]
fn an_agent_that_probes_nobody_is_caught() {
    let _planted = plant(Bug::ProbesNobody);
    assert!(break_glass(&lineage(5, HERE), &[], Probe::Runs, false, 7).is_ok());
}

fn here() -> Here {
    Here {
        runs: true,
        cut_off: false,
        booted: false,
        ran: false,
        asked: false,
        fresh: true,
        complete: false,
        brought_up: None,
        seal: None,
        fence: Fence::Stop,
    }
}

fn wanted(source: Want, target: Want) -> Wanted {
    Wanted {
        epoch: epoch(5),
        owner: HERE,
        other: THERE,
        source,
        target,
        copies: true,
        drill: None,
        flatten: false,
    }
}

#[test]
fn a_machine_is_handed_over_step_by_step_and_a_stop_from_a_cache_stops_nothing() {
    let over = wanted(
        Want::HandOver { next: epoch(6), last_cycle: true, power_off: false },
        Want::Accept { next: epoch(6) },
    );
    let held = lineage(5, HERE);
    let next = |here: Here| converge(&held, HERE, &over, &here);
    assert_eq!(next(here()), Do::ShutDown { power_off: false });
    assert_eq!(next(Here { fresh: false, ..here() }), Do::Nothing);
    let off = Here { runs: false, ..here() };
    assert_eq!(next(off), Do::SendRest);
    assert_eq!(next(Here { fresh: false, ..off }), Do::Start, "unsealed, it runs again by itself");
    assert_eq!(next(Here { complete: true, ..off }), Do::Seal(epoch(6)));
    let gone = sealed(5);
    assert_eq!(converge(&gone, HERE, &over, &Here { fresh: false, ..off }), Do::Nothing);
    let back = wanted(Want::Run, Want::Refuse { next: epoch(6) });
    assert_eq!(converge(&gone, HERE, &back, &off), Do::AskRefusal(epoch(6)));
}

/// The other host may accept the seal at any moment, and both would run.
fn about_one_that_is_started_behind_its_seal(fresh: bool) -> Do {
    let over = wanted(
        Want::HandOver { next: epoch(6), last_cycle: true, power_off: false },
        Want::Accept { next: epoch(6) },
    );
    converge(&sealed(5), HERE, &over, &Here { fresh, ..here() })
}

#[test]
fn what_somebody_starts_behind_its_seal_is_stopped_by_a_word_of_now() {
    assert_eq!(about_one_that_is_started_behind_its_seal(true), Do::Fence(Fence::Stop));
    assert_eq!(about_one_that_is_started_behind_its_seal(false), Do::Nothing);
    let _planted = plant(Bug::RunsBehindItsSeal);
    assert_eq!(about_one_that_is_started_behind_its_seal(true), Do::Nothing, "the fault is caught");
}

/// A request to shut down cannot be taken back: the guest heeds it when the move is given up already.
fn about_one_that_goes_down_late(here: &Here) -> Do {
    converge(&lineage(5, HERE), HERE, &wanted(Want::Own, Want::Receive), here)
}

#[test]
fn a_guest_that_goes_down_late_for_a_move_that_was_given_up_runs_again() {
    let late = Here { runs: false, asked: true, ..here() };
    assert_eq!(about_one_that_goes_down_late(&Here { asked: true, ..here() }), Do::Nothing);
    assert_eq!(about_one_that_goes_down_late(&late), Do::Start);
    assert_eq!(about_one_that_goes_down_late(&Here { booted: true, ..late }), Do::AskWitness);
    let _planted = plant(Bug::ForgetsItAsked);
    assert_eq!(about_one_that_goes_down_late(&late), Do::Nothing, "the fault is caught");
}

#[test]
fn a_copy_that_was_cut_off_is_started_anew_once_it_is_this_hosts() {
    let (held, cut) = (lineage(5, HERE), Here { cut_off: true, ..here() });
    let next = |source, here: &Here| converge(&held, HERE, &wanted(source, Want::Receive), here);
    for source in [Want::Run, Want::Own] {
        assert_eq!(next(source, &here()), Do::Nothing);
        // Whose it is was durable before: no document stops it.
        assert_eq!(next(source, &Here { fresh: false, ..cut }), Do::Start);
    }
    // Accepted, and the document does not know yet.
    let over = Want::HandOver { next: epoch(5), last_cycle: false, power_off: true };
    let before = Wanted {
        epoch: epoch(4),
        owner: THERE,
        other: HERE,
        ..wanted(over, Want::Accept { next: epoch(5) })
    };
    assert_eq!(converge(&held, HERE, &before, &here()), Do::Nothing);
    assert_eq!(converge(&held, HERE, &before, &cut), Do::Start);
    let as_left = Want::BringUp { point: Choice::AsLeft, overlay: Overlay::AsLeft, order: 3 };
    let up = Do::BringUp { point: Choice::AsLeft, overlay: Overlay::AsLeft, order: 3 };
    assert_eq!(next(as_left, &here()), Do::Nothing);
    assert_eq!(next(as_left, &cut), up);
    assert_eq!(next(as_left, &Here { fresh: false, ..cut }), Do::Nothing, "a word of before stops nothing");
    assert!(matches!(converge(&sealed(5), HERE, &wanted(Want::Own, Want::Receive), &cut), Do::AskRefusal(_)));
}

#[test]
fn whether_a_protected_machine_runs_is_its_users_business_except_after_a_boot() {
    let (held, mine) = (lineage(5, HERE), wanted(Want::Own, Want::Receive));
    let off = Here { runs: false, ..here() };
    assert_eq!(converge(&held, HERE, &mine, &here()), Do::Nothing);
    assert_eq!(converge(&held, HERE, &mine, &off), Do::Nothing);
    assert_eq!(converge(&held, HERE, &mine, &Here { booted: true, ..off }), Do::Nothing, "shut down before");
    assert_eq!(converge(&held, HERE, &mine, &Here { booted: true, ran: true, ..off }), Do::AskWitness);
    assert_eq!(converge(&held, HERE, &wanted(Want::Run, Want::Receive), &off), Do::Start);
    let contested = wanted(Want::Hold, Want::Hold);
    assert_eq!(converge(&held, HERE, &contested, &Here { booted: true, ran: true, ..off }), Do::Nothing);
}

/// A host boots that has accepted a machine and never ran it, and one whose machine a hand-over
/// has shut down: what they do by the document that they hold.
fn after_a_boot_without_a_run() -> [Do; 2] {
    let over = wanted(
        Want::HandOver { next: epoch(6), last_cycle: true, power_off: false },
        Want::Accept { next: epoch(6) },
    );
    let booted = Here { runs: false, booted: true, fresh: false, ..here() };
    let mut there = lineage(5, HERE);
    there.accept(THERE, &sealed(5).seal.unwrap()).unwrap();
    [converge(&there, THERE, &over, &booted), converge(&lineage(5, HERE), HERE, &over, &booted)]
}

#[test]
fn after_a_boot_no_machine_is_started_without_a_witness_though_it_never_ran_or_we_shut_it_down() {
    assert_eq!(after_a_boot_without_a_run(), [Do::AskWitness; 2]);
    let _planted = plant(Bug::StartsUnasked);
    assert_eq!(after_a_boot_without_a_run(), [Do::Start; 2], "the fault is caught");
}

#[test]
fn in_which_boots_a_machine_was_known_to_be_this_hosts() {
    let mut boots = Boots::default();
    assert!(boots.is_unsure(&1) && !boots.ran_before(&1), "nothing is known of an agent of before");
    boots.know(&1);
    assert!(!boots.is_unsure(&1) && boots.is_unsure(&2) && !boots.ran_before(&2));
    assert!(boots.look(&1, true, false) && !boots.look(&1, true, false));
    assert!(boots.ran_before(&2) && !boots.ran_before(&1));
    let mut shut = boots.clone();
    assert!(shut.look(&1, false, false) && !shut.ran_before(&2) && shut.is_unsure(&2));
    let mut moved = boots.clone();
    assert!(!moved.look(&1, false, true) && moved.ran_before(&2), "it was shut down by a move");
    // A look after the boot changes nothing before the witness has spoken.
    assert!(!boots.look(&2, false, false) && boots.ran_before(&2) && boots.is_unsure(&2));
    boots.know(&2);
    assert!(!boots.is_unsure(&2));
    boots.forget();
    assert!(boots.is_unsure(&2));
}

#[test]
fn the_next_owner_accepts_its_seal_and_starts_without_being_told_again() {
    let seal = sealed(5).seal;
    let over = wanted(
        Want::HandOver { next: epoch(6), last_cycle: true, power_off: false },
        Want::Accept { next: epoch(6) },
    );
    let off = Here { runs: false, fresh: false, ..here() };
    let mut there = lineage(5, HERE);
    assert_eq!(converge(&there, THERE, &over, &off), Do::Nothing);
    let came = Here { seal, ..off };
    assert_eq!(converge(&there, THERE, &over, &came), Do::Accept(seal.unwrap()));
    there.accept(THERE, &seal.unwrap()).unwrap();
    assert_eq!(converge(&there, THERE, &over, &came), Do::Start);
    assert_eq!(converge(&there, THERE, &over, &Here { booted: true, ..came }), Do::AskWitness);
    let mut refuses = lineage(5, HERE);
    let back = wanted(Want::Run, Want::Refuse { next: epoch(6) });
    assert_eq!(converge(&refuses, THERE, &back, &came), Do::Refuse(epoch(6)));
    refuses.refuse(&epoch(6)).unwrap();
    assert_eq!(converge(&refuses, THERE, &over, &came), Do::Nothing, "what was refused is never accepted");
}

/// What is done about a machine that was migrated here, to a host which the document does not
/// name yet, or not any more.
fn about_a_migrated_one() -> Do {
    let third = HostId(Uuid::from_u128(0x77));
    let calm = Wanted { owner: THERE, other: third, ..wanted(Want::Own, Want::Receive) };
    converge(&lineage(5, THERE), HERE, &calm, &here())
}

#[test]
fn a_machine_that_was_migrated_here_is_not_stopped_because_the_vault_has_not_heard_yet() {
    assert_eq!(about_a_migrated_one(), Do::Nothing);
    let _planted = plant(Bug::FencesBystanders);
    assert_eq!(about_a_migrated_one(), Do::Fence(Fence::Stop), "the fault is caught");
}

#[test]
fn an_old_primary_is_fenced_by_a_fresh_document_and_keeps_what_it_wrote() {
    let up = Wanted {
        epoch: epoch(6),
        owner: THERE,
        other: HERE,
        source: Want::BringUp { point: Choice::Latest, overlay: Overlay::Fresh, order: 1 },
        target: Want::Fence,
        copies: false,
        drill: None,
        flatten: false,
    };
    let mut old = lineage(5, HERE);
    assert_eq!(converge(&old, HERE, &up, &here()), Do::Hear);
    old.hear(&epoch(6), THERE);
    assert_eq!(converge(&old, HERE, &up, &here()), Do::Fence(Fence::Stop));
    assert_eq!(converge(&old, HERE, &up, &Here { fresh: false, ..here() }), Do::Nothing);
    let reverse = Wanted { source: Want::Run, target: Want::Adopt, ..up.clone() };
    assert_eq!(converge(&old, HERE, &reverse, &Here { runs: false, ..here() }), Do::Adopt);
    let begins = Do::BringUp { point: Choice::Latest, overlay: Overlay::Fresh, order: 1 };
    assert_eq!(converge(&old, THERE, &up, &Here { runs: false, ..here() }), begins);
}

#[test]
fn each_order_to_bring_a_machine_up_is_carried_out_once_and_none_from_a_cache_stops_it() {
    let (point, overlay) = (Choice::At(PointId { epoch: 4, number: 7 }), Overlay::Fresh);
    let other = wanted(Want::BringUp { point, overlay, order: 2 }, Want::Fence);
    let held = lineage(5, HERE);
    let at = |brought_up, fresh| Here { brought_up: Some(brought_up), fresh, ..here() };
    let begins = Do::BringUp { point, overlay, order: 2 };
    assert_eq!(converge(&held, HERE, &other, &at(1, true)), begins);
    assert_eq!(converge(&held, HERE, &other, &at(1, false)), Do::Nothing, "it runs, and is stopped by that");
    assert_eq!(converge(&held, HERE, &other, &at(2, true)), Do::Nothing);
    let off = Here { runs: false, ..at(2, true) };
    assert_eq!(converge(&held, HERE, &other, &off), Do::Start, "nothing that it wrote is given up");
    let booted = Here { booted: true, ..off };
    assert_eq!(converge(&held, HERE, &other, &booted), Do::AskWitness);
    assert_eq!(converge(&held, HERE, &other, &Here { brought_up: Some(1), ..booted }), begins);
}
