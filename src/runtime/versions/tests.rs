//! The registry: what a run is told to do, what survives it, what commands beside it may ask.

use super::*;

fn open(dir: &tempfile::TempDir) -> Versions {
    Versions::open(dir.path(), "shop").unwrap()
}

const ZERO: ReplayFrom = ReplayFrom::Beginning;

/// Some logic, by its name.
fn logic(name: &str) -> Plan {
    let yaml = format!(
        "topology: shop\nsource:\n  topic: shop.events\n  format: json\n  event_time: ts\n  schema: {{user_id: string, ts: \
         timestamp_ms}}\nentities:\n  user:\n    key: user_id\n    features:\n      {name}: {{count: \"*\", window: lifetime}}\n"
    );
    crate::topology::parse("shop.yaml", &yaml).unwrap()
}

/// Version 1 of logic `a` is live.
fn first(dir: &tempfile::TempDir) -> Version {
    let Choice::Live(first) = open(dir).choose(&logic("a"), None, false).unwrap() else { panic!("not live") };
    record(dir, &first);
    first
}

fn record(dir: &tempfile::TempDir, version: &Version) {
    let put = |versions: &mut Versions| {
        versions.put(version);
        Ok(())
    };
    open(dir).change(put).unwrap();
}

fn build(dir: &tempfile::TempDir, name: &str, again: bool) -> Version {
    let choice = open(dir).choose(&logic(name), Some(&ZERO), again).unwrap();
    let Choice::Build(version) = choice else { panic!("{choice:?}") };
    record(dir, &version);
    version
}

fn cut_over(dir: &tempfile::TempDir, number: u32) -> u64 {
    let mut versions = open(dir);
    let generation = versions.change(|versions| Ok(versions.begin_cut_over(number))).unwrap();
    let end = |versions: &mut Versions| {
        versions.end_cut_over(number);
        Ok(())
    };
    versions.change(end).unwrap();
    generation
}

#[test]
fn the_first_version_is_live_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let first = first(&dir);
    assert_eq!((first.number, first.standing, first.generation), (1, Standing::Live, 1));
    assert_eq!(open(&dir).choose(&logic("a"), None, false).unwrap(), Choice::Live(first.clone()));
    assert_eq!(open(&dir).choose(&logic("a"), Some(&ZERO), false).unwrap(), Choice::Live(first));
}

#[test]
fn changed_logic_is_refused_without_a_replay_and_built_beside_with_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = first(&dir);
    let refused = open(&dir).choose(&logic("b"), None, false).unwrap_err();
    assert!(refused.to_string().contains("--replay-from 0"), "{refused}");
    assert!(refused.to_string().contains("in what is not known"), "{refused}");
    let second = build(&dir, "b", false);
    assert_eq!((second.number, second.standing, second.generation), (2, Standing::Building, 2));
    assert_eq!(open(&dir).choose(&logic("b"), Some(&ZERO), true).unwrap(), Choice::Build(second));
    assert_eq!(open(&dir).choose(&logic("a"), None, false).unwrap(), Choice::Live(first));
    let refused = open(&dir).choose(&logic("b"), None, false).unwrap_err();
    assert!(refused.to_string().contains("kappa promote 2"), "{refused}");
}

#[test]
fn what_differs_is_said_of_the_topology_that_the_live_version_keeps() {
    let dir = tempfile::tempdir().unwrap();
    let first = first(&dir);
    open(&dir).keep_plan(first.number, &logic("a")).unwrap();
    let refused = open(&dir).choose(&logic("b"), None, false).unwrap_err().to_string();
    let (old, new) = (first.fingerprint, logic("b").fingerprint);
    assert!(refused.contains(&format!("(new: user.b; gone: user.a; fingerprint {old}, now {new})")), "{refused}");
}

#[test]
fn a_cut_over_retires_the_live_version_and_a_rollback_outranks_it() {
    let dir = tempfile::tempdir().unwrap();
    first(&dir);
    build(&dir, "b", false);
    assert_eq!(cut_over(&dir, 2), 2);
    let versions = open(&dir);
    assert_eq!(versions.live().map(|v| v.number), Some(2));
    assert_eq!((versions.get(1).map(|v| v.standing), versions.previous()), (Some(Standing::Retired), Some(1)));
    assert_eq!(cut_over(&dir, 1), 3);
    let versions = open(&dir);
    assert_eq!((versions.live().map(|v| v.number), versions.previous()), (Some(1), Some(2)));
    // The command line still says --replay-from 0 with the new file: that has been done, and taken back.
    assert!(matches!(versions.choose(&logic("b"), Some(&ZERO), false).unwrap(), Choice::Done(v) if v.number == 2));
}

#[test]
fn a_cut_over_that_was_cut_short_keeps_its_rank() {
    let dir = tempfile::tempdir().unwrap();
    first(&dir);
    build(&dir, "b", false);
    cut_over(&dir, 2);
    let mut versions = open(&dir);
    versions.change(|versions| versions.want(1)).unwrap();
    let begun = versions.change(|versions| Ok(versions.begin_cut_over(1))).unwrap();
    let cut = |versions: &mut Versions| {
        versions.edit(1, |v| v.cut = [(0, 7)].into());
        Ok(())
    };
    versions.change(cut).unwrap();
    assert_eq!(open(&dir).change(|versions| Ok(versions.begin_cut_over(1))).unwrap(), begun);
    assert_eq!(open(&dir).wanted(), Some(1));
}

#[test]
fn again_makes_a_new_number_of_the_same_logic() {
    let dir = tempfile::tempdir().unwrap();
    first(&dir);
    let again = build(&dir, "a", true);
    assert_eq!((again.number, again.standing), (2, Standing::Building));
}

#[test]
fn again_goes_on_with_a_version_that_is_being_built_and_leaves_one_that_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    first(&dir);
    let begun = build(&dir, "b", true);
    assert_eq!(build(&dir, "b", true), begun);
    let ready = Version { standing: Standing::Ready, ..begun };
    record(&dir, &ready);
    assert_eq!(open(&dir).choose(&logic("b"), Some(&ZERO), false).unwrap(), Choice::Build(ready));
    let another = build(&dir, "b", true);
    assert_eq!((another.number, another.standing), (3, Standing::Building));
}

#[test]
fn a_dropped_number_is_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    first(&dir);
    build(&dir, "b", false);
    open(&dir).change(|versions| versions.remove(2)).unwrap();
    assert_eq!(build(&dir, "b", false).number, 3);
    let unknown = open(&dir).known(2).unwrap_err().to_string();
    assert!(unknown.contains("there is: 1, 3"), "{unknown}");
}

#[test]
fn one_process_at_a_time_runs_a_version() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(&dir).claim(1).unwrap();
    assert!(held.is_some() && open(&dir).claim(1).unwrap().is_none());
    drop(held);
    assert!(open(&dir).claim(1).unwrap().is_some());
}

#[test]
fn a_registry_of_an_earlier_program_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("shop")).unwrap();
    let text = r#"{"versions": [{"number": 3, "fingerprint": "a", "start": "beginning", "standing": "live",
                    "generation": 5, "partitions": 8, "topic_id": null}]}"#;
    std::fs::write(dir.path().join("shop/versions.json"), text).unwrap();
    assert_eq!(open(&dir).live().map(|v| (v.number, v.start.clone())), Some((3, ZERO)));
    let next = build(&dir, "b", false);
    assert_eq!((next.number, next.generation), (4, 6));
}

#[test]
fn the_partitions_of_a_topic_are_known_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let version = first(&dir);
    record(&dir, &Version { partitions: 4, topic_id: Some("x".into()), ..version });
    let of = |id: Option<&str>| open(&dir).partitions_of(id).collect::<Vec<_>>();
    assert_eq!((of(Some("x")), of(Some("y")), of(None)), (vec![4], vec![], vec![]));
}
