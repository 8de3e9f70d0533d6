//! The kill matrix: every job, every step, before and after what it asks for and after that is
//! recorded, and each of vault, site servers and agents. Whoever is killed, a job ends as it
//! would have, or cleanly undone, and nothing is asked for twice by two names.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use farshore_control::Body;
use farshore_job::{Ending, Job, JobNode, State};
use farshore_policy::{Change, OnDisable, PolicyPatch};
use farshore_types::{HostId, RequestId};

use super::{
    courses::{Course, WITH_JOBS, where_is},
    strikes::{Instant, Kill, Place, Process},
    world::{World, id},
};
use crate::{
    Bug, Command, Enable, Start,
    jobs::{Act, Goal, Kind, registry},
    rows::ReplicaFate,
};

/// What is played: a kind of job as it is made by a command of its own, or a course of a life.
#[derive(Clone, Copy)]
pub(super) enum Story {
    Of(Kind),
    Life(&'static Course),
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Story::Of(kind) => f.write_str(kind.name()),
            Story::Life(course) => write!(f, "{} {}", course.operation.name(), course.when),
        }
    }
}

impl Story {
    /// All in which a job is begun by the order.
    pub(super) fn all() -> impl Iterator<Item = Story> {
        let own = Kind::ALL.into_iter().filter(|kind| !Kind::OF_LIVES.contains(kind)).map(Story::Of);
        own.chain(WITH_JOBS.iter().map(Story::Life))
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Story::Of(kind) => kind,
            Story::Life(course) => course.kind,
        }
    }

    fn ending(self) -> Ending {
        match self {
            Story::Of(_) => Ending::Succeeded,
            Story::Life(course) => course.ending,
        }
    }

    fn pace_ms(self) -> u64 {
        match self {
            Story::Of(_) => 0,
            Story::Life(course) => course.pace_ms,
        }
    }
}

/// Most rounds of one story.
const ROUNDS: usize = 40;

const PROCESSES: [Process; 3] = [Process::Vault, Process::Site, Process::Agent];
const INSTANTS: [Instant; 3] = [Instant::BeforeEffect, Instant::AfterEffect, Instant::AfterRecord];

/// A world in which what a kind of job needs is there.
pub(super) fn set(story: Story) -> World {
    let kind = match story {
        Story::Of(kind) => kind,
        Story::Life(course) => return where_is(course.set),
    };
    let mut world = where_is(|_| {});
    match kind {
        Kind::Enable | Kind::Associate => {}
        Kind::Disable | Kind::ChangePolicy | Kind::Resync | Kind::Move => copied(&mut world),
        Kind::Forget => {
            copied(&mut world);
            // The target is lost: one of the two in the far cloud.
            let target = world.core.protection(id(1)).unwrap().target();
            world.lost = (0..4).filter(|at| world.hosts[*at] == target).collect();
        }
        Kind::Discard => {
            copied(&mut world);
            let command = Command::Disable { machine: id(1), replica: Some(OnDisable::Keep), force: false };
            world.run(&command);
            (0..5).for_each(|_| world.round());
        }
        lives => unreachable!("{lives:?} is one of a life"),
    }
    world
}

pub(super) fn copied(world: &mut World) {
    world.enable(1);
    (0..10).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()), "the first copy is made");
}

fn command(story: Story, world: &World) -> Command {
    let machine = id(1);
    let kind = match story {
        Story::Of(kind) => kind,
        Story::Life(course) => return course.command(world),
    };
    match kind {
        Kind::Enable => Command::Enable(Enable { machines: vec![machine], ..Enable::default() }),
        Kind::Disable => Command::Disable { machine, replica: Some(OnDisable::Delete), force: false },
        Kind::Associate => Command::Associate { cloud: world.clouds[0], policy: Some(world.policy) },
        Kind::ChangePolicy => {
            let settings = PolicyPatch { copy_frequency_secs: Change::Set(7), ..PolicyPatch::default() };
            Command::ChangePolicy { policy: world.policy, settings }
        }
        Kind::Resync => Command::Resync { machine },
        Kind::Move => Command::MoveReplica { machine, to: None, delete_old: true },
        // A vault that was started again has not had the time to find out that nobody answers.
        Kind::Forget => Command::Forget { machine, force: true },
        Kind::Discard => {
            let host = world.core.protection(machine).unwrap().target();
            Command::DiscardReplica { host, machine, force: false }
        }
        lives => unreachable!("{lives:?} is one of a life"),
    }
}

/// Hosts whose agent has a replica.
fn keepers(world: &World) -> Vec<HostId> {
    world
        .agents
        .values()
        .filter(|agent| agent.replicas.contains_key(&id(1)))
        .map(|agent| agent.host)
        .collect()
}

/// How a story went.
struct Told {
    world: World,
    job: Job,
    fired: bool,
    /// What agents were asked, in this story.
    asked: BTreeSet<RequestId>,
}

/// Plays a job to its end; it is cancelled when it waits in that step.
fn play(story: Story, set: &World, kill: Option<Kill>, cancel: Option<&str>, bug: Option<Bug>) -> Told {
    let mut world = set.clone();
    let before = asked(&world);
    (world.kill, world.bug) = (kill, bug);
    let order = command(story, &world);
    let made = world.insist(&order).jobs;
    assert_eq!(made.len(), 1, "{story:?} names its job");
    if let Story::Life(course) = story {
        (course.then)(&mut world);
    }
    let (mut wanted, mut cancelled) = (false, false);
    for _ in 0..ROUNDS {
        let job = world.core.job(made[0]).unwrap().job.clone();
        if job.has_ended() {
            break;
        }
        let waits = |step: &str| job.node(step).is_some_and(|node| node.state == State::Running);
        wanted |= cancel.is_some_and(waits);
        if wanted && !cancelled {
            let command = Command::CancelJob { job: made[0], by: Some("ann".to_owned()) };
            let at = world.moment();
            let done = world.core.run(&command, None, &at).is_ok();
            cancelled = world.commit() && done;
        }
        world.round();
        world.pass(story.pace_ms());
    }
    // What is left to be said is said.
    (0..3).for_each(|_| world.round());
    let job = world.core.job(made[0]).unwrap().job.clone();
    let asked = asked(&world).difference(&before).copied().collect();
    Told { fired: world.kill.as_ref().is_some_and(|kill| kill.fired), job, asked, world }
}

fn asked(world: &World) -> BTreeSet<RequestId> {
    world.agents.values().flat_map(|agent| agent.worked.keys().copied()).collect()
}

fn steps(job: &Job) -> Vec<JobNode> {
    job.nodes.iter().filter(|node| node.spec().is_some()).cloned().collect()
}

/// What must be so when a job has ended.
fn is_as_ordered(story: Story, told: &Told) {
    let world = &told.world;
    let kind = match story {
        Story::Of(kind) => kind,
        Story::Life(course) => {
            course.is_where_it_was_to_come(world);
            return nothing_is_left_over(told);
        }
    };
    let row = world.core.protection(id(1));
    let target = row.map(|row| &world.agents[&row.target()]);
    match kind {
        Kind::Enable => {
            assert!(row.unwrap().is_live());
            assert!(target.unwrap().replicas.contains_key(&id(1)));
        }
        Kind::Disable => {
            let ended = row.unwrap().ended.as_ref().unwrap();
            assert_eq!(ended.replica, ReplicaFate::Deleted);
            assert!(target.unwrap().replicas.is_empty());
            assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
        }
        Kind::ChangePolicy => assert_eq!(world.protection(0, 1).settings.copy_frequency_secs, 7),
        Kind::Resync => assert_eq!(world.protection(0, 1).resync, row.unwrap().resync),
        Kind::Associate => assert!(world.core.policy_of(world.clouds[0]).is_some()),
        Kind::Move => {
            let row = row.unwrap();
            assert!(row.is_live() && row.leaving.is_none());
            assert_eq!(keepers(world), [row.target()], "the new one has it, the old one has it no more");
            assert_eq!(world.protection(0, 1).target.host, row.target());
        }
        Kind::Forget => {
            let row = row.unwrap();
            assert_eq!(row.ended.as_ref().unwrap().replica, ReplicaFate::Kept);
            assert_eq!(keepers(world), [row.target()], "who is lost keeps what it has");
            assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
        }
        Kind::Discard => assert!(keepers(world).is_empty()),
        lives => unreachable!("{lives:?} is one of a life"),
    }
    nothing_is_left_over(told);
}

/// A move was taken back, or was over before that: one host has the replica, and it is whole.
fn is_moved_or_back(told: &Told, from: HostId) {
    let (world, row) = (&told.world, told.world.core.protection(id(1)).unwrap());
    assert!(row.is_live() && row.leaving.is_none());
    let keepers = keepers(world);
    assert!(keepers.contains(&row.target()), "who counts has it");
    match row.target() == from {
        true => assert_eq!(keepers, [from], "half a copy is gone"),
        // Cancelled while the switch was under way: what is whole there is not thrown away.
        false => assert!(told.job.node("switch").is_some_and(|node| node.started_ms.is_some())),
    }
    assert_eq!(world.protection(0, 1).target.host, row.target());
    nothing_is_left_over(told);
}

/// Enabling was taken back: both hosts have stopped, and what was copied is gone.
fn is_undone(told: &Told) {
    let (world, row) = (&told.world, told.world.core.protection(id(1)).unwrap());
    assert_eq!(row.ended.as_ref().unwrap().replica, ReplicaFate::Deleted);
    assert!(world.agents.values().all(|agent| agent.replicas.is_empty()));
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
    nothing_is_left_over(told);
}

fn nothing_is_left_over(told: &Told) {
    for row in told.world.core.requests() {
        assert!(!row.is_open(), "{:?} is still asked", row.request.action);
    }
    let mut restart = told.world.clone();
    restart.kill = None;
    let jobs: Vec<Job> = restart.core.jobs().map(|row| row.job.clone()).collect();
    restart.start(restart.stored.clone(), Start::Continued);
    assert!(restart.core.jobs().map(|row| &row.job).eq(&jobs), "an ended job stays as it is");
}

/// Every kill in every step of a job, the way there or the way back.
fn kills(kind: Kind, step: &str, undo: bool) -> impl Iterator<Item = Kill> {
    let at = Place::Step { kind, step: step.to_owned(), undo };
    PROCESSES.into_iter().flat_map(move |process| {
        let at = at.clone();
        INSTANTS.into_iter().map(move |instant| Kill { at: at.clone(), process, instant, fired: false })
    })
}

/// What a step asks for, by the names that the shipped code gives to it.
fn asks_for(action: &serde_json::Value) -> String {
    let name = |key: &str| action[key].as_str();
    name("goal").map_or_else(|| name("act").unwrap().to_owned(), of_course)
}

fn of_course(goal: &str) -> String {
    format!("course: {goal}")
}

/// All names of a tagged enum, as serde has them: none can be forgotten.
fn names<T: serde::de::DeserializeOwned + std::fmt::Debug>(tag: &str) -> BTreeSet<String> {
    let refusal = serde_json::from_value::<T>(serde_json::json!({ tag: "?" })).unwrap_err().to_string();
    let (_, expected) = refusal.split_once("expected one of ").unwrap();
    let names: BTreeSet<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 10, "{refusal}");
    names
}

/// What only the way back asks for.
const UNDOES: [&str; 2] = ["move-back", "withdraw"];

#[test]
fn whoever_is_killed_at_whatever_step_every_job_ends_as_ordered() {
    let (mut cases, mut killed_at, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for story in Story::all() {
        let set = set(story);
        let plain = play(story, &set, None, None, None);
        let end = plain.job.end.as_ref().unwrap_or_else(|| panic!("{story:?}: {:?}", plain.job));
        assert_eq!(end.ending, story.ending(), "{story:?}: {:?}", plain.job);
        is_as_ordered(story, &plain);
        for step in steps(&plain.job).into_iter().filter(|step| step.started_ms.is_some()) {
            for kill in kills(story.kind(), &step.name, false) {
                let case = format!("{story:?}: {kill:?}");
                let ends = || {
                    let told = play(story, &set, Some(kill), None, None);
                    assert!(told.fired, "nobody was killed");
                    let end = told.job.end.as_ref().unwrap_or_else(|| panic!("{:?}", told.job));
                    assert_eq!(end.ending, story.ending(), "{end:?}");
                    assert_eq!(told.asked.len(), plain.asked.len(), "asked by other names");
                    is_as_ordered(story, &told);
                };
                // All that go wrong are told of.
                let well = catch_unwind(AssertUnwindSafe(ends)).is_ok();
                wrong.extend((!well).then_some(case));
                cases += 1;
            }
            killed_at.insert(asks_for(&step.doing.as_ref().unwrap().action));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut shipped = names::<Act>("act");
    shipped.extend(names::<Goal>("goal").iter().map(|goal| of_course(goal)));
    shipped.retain(|name| name != "course" && !UNDOES.contains(&name.as_str()));
    assert_eq!(killed_at, shipped, "a step that nobody was killed at: give it a course");
    assert!(cases >= 9 * 87, "{cases}");
}

#[test]
fn cancelled_at_whatever_step_every_job_ends_and_enabling_is_undone_whoever_is_killed() {
    let (mut undone, mut undid) = (0, BTreeSet::new());
    for story in Story::all() {
        let set = set(story);
        let plain = play(story, &set, None, None, None);
        for step in steps(&plain.job) {
            let told = play(story, &set, None, Some(&step.name), None);
            let end =
                told.job.end.as_ref().unwrap_or_else(|| panic!("{story:?} {}: {:?}", step.name, told.job));
            if end.ending != Ending::Cancelled {
                // It was over before anybody could say a word.
                assert_eq!(end.ending, story.ending(), "{story:?} {}", step.name);
                // The switch takes two looks, which are one round here.
                // Of a life, more than one host says something in a round.
                let looks = step.name == "switch" || matches!(story, Story::Life(_));
                let brief = step.ended_ms == step.started_ms || looks;
                assert!(brief, "{story:?} {} can be cancelled", step.name);
                continue;
            }
            let undoes = matches!(story, Story::Of(Kind::Enable | Kind::Move));
            if !undoes {
                assert!(end.left.iter().all(|left| left.safe), "{end:?}");
                continue;
            }
            let from = moved_from(&told.job);
            is_taken_back(story.kind(), &told, from);
            if step.name == "old" {
                // The new replica counts by then: who dies decides whether it is heard in time.
                continue;
            }
            undid.extend(
                told.job.nodes.iter().filter_map(|node| Some(asks_for(&node.undoing.as_ref()?.action))),
            );
            for kill in kills(story.kind(), "order", true) {
                let case = format!("{}: {kill:?}", step.name);
                let told = play(story, &set, Some(kill), Some(&step.name), None);
                assert!(told.fired, "{case}: nobody was killed");
                assert_eq!(told.job.end.as_ref().map(|end| end.ending), Some(Ending::Cancelled), "{case}");
                is_taken_back(story.kind(), &told, from);
                undone += 1;
            }
        }
    }
    let steps = ["asking, preparing, copying", "the same of a move"];
    assert_eq!(undone, 9 * (3 + 3), "{steps:?}");
    assert_eq!(undid, UNDOES.map(str::to_owned).into());
}

fn moved_from(job: &Job) -> HostId {
    serde_json::from_value(job.input["from"].clone()).unwrap_or(HostId(uuid::Uuid::nil()))
}

fn is_taken_back(kind: Kind, told: &Told, from: HostId) {
    match kind {
        Kind::Move => is_moved_or_back(told, from),
        _ => is_undone(told),
    }
}

#[test]
fn a_vault_that_leaves_its_jobs_after_a_kill_is_caught() {
    let kill = kills(Kind::Enable, "copy", false).find(|kill| kill.process == Process::Vault);
    let story = Story::Of(Kind::Enable);
    let told = play(story, &set(story), kill, None, Some(Bug::LeavesJobs));
    assert!(told.fired && told.job.end.is_none());
}

/// What no agent plays a part in: each step's effect with each outcome, each crash, each cancel.
#[test]
fn every_story_of_every_kind_ends_well() {
    let kinds: BTreeSet<&str> = registry().kinds().collect();
    let told: BTreeSet<&str> = Story::all().map(|story| story.kind().name()).collect();
    assert_eq!(told, kinds, "each kind is in both matrices");
    let mut tried = BTreeSet::new();
    for story in Story::all() {
        let mut job = play(story, &set(story), None, None, None).job;
        let names: Vec<String> = job.nodes.iter().map(|node| node.name.clone()).collect();
        if !tried.insert((job.kind.clone(), names)) {
            continue;
        }
        if let Some(hosts) = job.input["hosts"].as_array_mut() {
            hosts.truncate(2);
        }
        let tried = farshore_job::matrix::run(registry(), story.kind().name(), &job.input);
        let tried = tried.unwrap_or_else(|e| panic!("{story:?}: {e}"));
        assert!(tried.stories > 20, "{story:?}: {tried:?}");
    }
}
