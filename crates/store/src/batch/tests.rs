//! Plans against a model that applies one transaction after the other.

use proptest::prelude::*;

use super::*;

fn row(n: u8) -> RowId {
    RowId::new("k", n.to_string())
}

fn put(n: u8, expect: Expect) -> Changes {
    Changes::new().put(row(n), expect, "x")
}

#[test]
fn one_failing_precondition_fails_only_its_transaction() {
    let mut index = Index::default();
    let plan = index.plan(&[put(1, Expect::Absent), put(1, Expect::Absent), put(2, Expect::Absent)]);
    assert!(matches!(
        plan.outcomes[..],
        [Ok(Version(1)), Err(StoreError::Conflict { version: Some(Version(1)), .. }), Ok(Version(2))]
    ));
    assert_eq!(plan.ops.len(), 2);
}

#[test]
fn a_failing_precondition_on_the_second_row_leaves_the_first_alone() {
    let mut index = Index::default();
    let both = put(1, Expect::Anything).put(row(2), Expect::Present, "y");
    let plan = index.plan(&[both]);
    assert!(plan.is_empty() && plan.outcomes[0].is_err() && index.versions.is_empty());
    assert_eq!(plan.after, Version(0), "it took no number");
}

#[test]
fn a_row_made_again_never_has_a_version_of_before() {
    let mut index = Index::default();
    index.plan(&[put(1, Expect::Absent), Changes::new().delete(row(1), Expect::At(Version(1)))]);
    let plan = index.plan(&[put(1, Expect::Absent), put(1, Expect::At(Version(1)))]);
    assert!(matches!(plan.outcomes[..], [Ok(Version(3)), Err(_)]));
}

#[test]
fn what_changes_nothing_takes_no_number_and_no_write() {
    let mut index = Index::default();
    let looks = Changes::new().require(row(1), Expect::Absent).delete(row(2), Expect::Anything);
    let plan = index.plan(&[looks, Changes::new()]);
    assert!(plan.is_empty() && plan.after == Version(0));
    assert!(!index.plan(&[Changes::new().learned()]).is_empty());
}

#[derive(Clone, Debug)]
struct Step {
    row: u8,
    expect: u8,
    delete: bool,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..4u8, 0..8u8, any::<bool>()).prop_map(|(row, expect, delete)| Step { row, expect, delete });
    prop::collection::vec(prop::collection::vec(step, 1..3), 1..20)
}

fn changes_of(steps: &[Step], versions: &HashMap<RowId, Version>) -> Changes {
    steps.iter().fold(Changes::new(), |changes, step| {
        let id = row(step.row);
        if changes.writes.iter().any(|write| write.id == id) {
            return changes;
        }
        let current = versions.get(&id).copied().unwrap_or_default();
        let expect = match step.expect {
            0..=2 => Expect::Anything,
            3 => Expect::Absent,
            4 => Expect::Present,
            5 | 6 => Expect::At(current),
            _ => Expect::At(Version(current.0 + 1)),
        };
        if step.delete { changes.delete(id, expect) } else { changes.put(id, expect, "b") }
    })
}

/// The database, as the statements would leave it; panics where one would not hit its row.
fn apply(ops: &[Op], table: &mut HashMap<RowId, Version>) {
    for op in ops {
        match op {
            Op::Insert { id, new, .. } => assert_eq!(table.insert(id.clone(), *new), None),
            Op::Update { id, old, new, .. } => assert_eq!(table.insert(id.clone(), *new), Some(*old)),
            Op::Delete { id, old } => assert_eq!(table.remove(id), Some(*old)),
            Op::Event { .. } => {}
        }
    }
}

proptest! {
    /// However transactions are grouped, the outcomes and the table are those of one by one.
    #[test]
    fn a_group_does_what_one_by_one_does(all in steps(), group in 1..7usize) {
        let (mut grouped, mut single) = (Index::default(), Index::default());
        let mut table = HashMap::new();
        for chunk in all.chunks(group) {
            let changes: Vec<Changes> = chunk.iter().map(|s| changes_of(s, &single.versions)).collect();
            let plan = grouped.plan(&changes);
            apply(&plan.ops, &mut table);
            for (changes, outcome) in changes.iter().zip(plan.outcomes) {
                let alone = single.plan([changes]).outcomes.remove(0);
                prop_assert_eq!(format!("{:?}", alone), format!("{:?}", outcome));
            }
            prop_assert_eq!(&grouped.versions, &single.versions);
            prop_assert_eq!(&grouped.versions, &table);
        }
    }

    /// A plan that was not written leaves no trace.
    #[test]
    fn undoing_a_plan_leaves_the_index_as_before(first in steps(), second in steps()) {
        let mut index = Index::default();
        for steps in &first {
            index.plan(&[changes_of(steps, &HashMap::new())]);
        }
        let before = index.clone();
        let all: Vec<Changes> = second.iter().map(|steps| changes_of(steps, &before.versions)).collect();
        let plan = index.plan(&all);
        index.undo(&plan);
        prop_assert_eq!(index.versions, before.versions);
        prop_assert_eq!(index.newest, before.newest);
    }
}
