"""What several results files hold is put together without mixing what cannot be compared."""

import math
from dataclasses import replace

import pytest

from daytwo.evaluation.collecting import collect, judge, protocol_name
from daytwo.evaluation.store import Store, StoreError
from tests.evaluation.examples import CORE, FLAT, OTHER, UP, conditions, everybody, fill
from tests.evaluation.synthetic import make_cell, make_result


def labels(collection):
    return {entry.label for entry in collection.entries}


def test_agents_of_one_course_stand_together_with_their_controls(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    collection = collect([tmp_path / "r.sqlite"])
    assert [(group.protocol, group.env_id) for group in collection.groups] == [
        (CORE, "daytwo/Bandit-v0"),
        (CORE, OTHER),
    ]
    bandit = collection.groups[0]
    assert bandit.without_twin == ["lonely"] and "lonely" not in {entry.label for entry in bandit.reported}
    (leaky,) = (entry for entry in bandit.entries if entry.label == "leaky")
    assert leaky.twin.memory == "wiped" and leaky.redrawn.task == "redrawn"
    assert bandit.memoryless == (0.2, 0.1) and bandit.tags == ("exploration",)
    assert collection.tallies[CORE].stored == 30 and collection.mixed == () and collection.older == 0


def test_results_that_belong_to_no_protocol_are_found(tmp_path):
    fill(tmp_path / "r.sqlite", conditions("learner", UP, FLAT, FLAT), protocol=None)
    collection = collect([tmp_path / "r.sqlite"])
    assert [group.protocol for group in collection.groups] == [""]
    assert [entry.label for group in collection.of("") for entry in group.entries] == ["learner"]


def test_an_evaluation_that_two_protocols_share_is_in_both(tmp_path):
    keys = fill(tmp_path / "r.sqlite", conditions("learner", UP, FLAT, FLAT))
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.link("transfer-v1", keys[:2])
    collection = collect([tmp_path / "r.sqlite"])
    assert [(group.protocol, len(group.entries)) for group in collection.groups] == [(CORE, 1), ("transfer-v1", 1)]
    assert collection.of("transfer")[0].entries[0].redrawn is None


def test_what_is_missing_and_what_failed_is_counted(tmp_path):
    keys = fill(tmp_path / "r.sqlite", conditions("learner", UP, FLAT, FLAT))
    broken = make_cell(next(iter(conditions("broken", UP, None, None))))
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.fail(broken, "Traceback\nValueError: no idea")
        failed = store.failures()[0].key
        store.link(CORE, [*keys, failed, "never-run"])
    collection = collect([tmp_path / "r.sqlite"])
    tally = collection.tallies[CORE]
    assert (tally.stored, tally.failed, tally.missing) == (3, 1, 1)
    assert [(file, failure.cell["agent"]) for file, failure in collection.failures] == [("r.sqlite", "broken")]


def test_a_file_with_failures_alone_can_be_collected(tmp_path):
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.fail(make_cell(next(iter(conditions("broken", UP, None, None)))), "ValueError: no idea")
    collection = collect([tmp_path / "r.sqlite"])
    assert collection.groups == [] and len(collection.failures) == 1


def test_several_files_are_merged_and_equal_agents_told_apart(tmp_path):
    mine, theirs = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    fill(mine, everybody())
    shared = list(conditions("leaky", UP, FLAT, UP, 2))  # the very same evaluations
    fill(theirs, [*conditions("newcomer", UP, FLAT, FLAT, 20), *shared])
    fill(theirs, conditions("learner", FLAT, FLAT, FLAT, 8), code="abc-theirs")  # their own version of the agent
    collection = collect([mine, theirs])
    found = labels(collection)
    assert {"learner · a.sqlite", "learner · b.sqlite", "newcomer", "leaky"} <= found
    assert [entry.label for entry in collection.entries].count("leaky") == 1
    assert collection.files == ("a.sqlite", "b.sqlite")


@pytest.mark.parametrize("change", [{"version": "0.2.0"}, {"code": "other-agent"}])
def test_different_versions_are_not_mixed_without_a_word(tmp_path, change):
    mine, theirs = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    fill(mine, conditions("learner", UP, FLAT, FLAT, 1), code="env-agent")
    fill(theirs, conditions("learner", UP, FLAT, FLAT, 2), **{"code": "env-agent", **change})
    with pytest.raises(StoreError, match=r"different versions.*a\.sqlite: daytwo 0\.1\.0.*b\.sqlite: daytwo.*--mixed"):
        collect([mine, theirs])
    collection = collect([mine, theirs], mixed=True)
    assert len(collection.mixed) == 2 and len(labels(collection)) == 2


def test_a_family_from_outside_must_have_the_same_code(tmp_path):
    mine, theirs = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    fill(mine, conditions("learner", UP, FLAT, FLAT, 1), code="env-agent-family1")
    fill(theirs, conditions("other", UP, FLAT, FLAT, 2), code="env-agent-family2")
    with pytest.raises(StoreError, match=r"a\.sqlite: code family1 of daytwo/Bandit-v0; b\.sqlite: code family2"):
        collect([mine, theirs])
    fill(mine, conditions("other", UP, FLAT, FLAT, 2), code="env-agent-family2")
    collection = collect([mine])
    assert labels(collection) == {"other"} and collection.older == 3
    assert labels(collect([mine, theirs])) == {"other"}


def test_agents_with_code_of_their_own_may_be_compared(tmp_path):
    mine, theirs = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    fill(mine, conditions("learner", UP, FLAT, FLAT, 1), code="env-mine")
    fill(theirs, conditions("other", UP, FLAT, FLAT, 2), code="env-theirs")
    assert labels(collect([mine, theirs])) == {"learner", "other"}


def test_of_one_file_only_what_its_newest_code_made_counts(tmp_path):
    path = tmp_path / "r.sqlite"
    fill(path, [*conditions("learner", FLAT, FLAT, FLAT, 1), *conditions("gone", UP, FLAT, FLAT, 2)], code="old-a")
    fill(path, conditions("learner", UP, FLAT, FLAT, 3), code="new-a")
    collection = collect([path])
    assert labels(collection) == {"learner"} and collection.older == 6
    assert collection.entries[0].cell["code"] == "new-a"


def test_of_an_agent_whose_own_code_changed_the_latest_counts(tmp_path):
    path = tmp_path / "r.sqlite"
    fill(path, conditions("learner", FLAT, FLAT, FLAT, 1), code="env-a")
    fill(path, conditions("learner", UP, FLAT, FLAT, 2), code="env-b")
    collection = collect([path])
    assert [entry.cell["code"] for entry in collection.entries] == ["env-b"] and collection.older == 3


def test_seeds_tell_equal_agents_apart(tmp_path):
    path = tmp_path / "r.sqlite"
    fill(path, conditions("learner", UP, FLAT, FLAT, 1))
    fill(path, [replace(one, seed=1) for one in conditions("learner", UP, FLAT, FLAT, 2)])
    assert labels(collect([path])) == {"learner · seed 0", "learner · seed 1"}


def test_nothing_to_report_is_said(tmp_path):
    Store(tmp_path / "r.sqlite", write=True).close()
    with pytest.raises(StoreError, match="nothing to report"):
        collect([tmp_path / "r.sqlite"])
    with pytest.raises(StoreError, match="There is no results file"):
        collect([tmp_path / "no.sqlite"])


def test_controls_and_faults_are_judged(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    flags = {entry.label: entry.flag for entry in collection.groups[0].reported}
    assert flags["leaky"] == "exceeds" and flags["learner"] in ("", "above") and flags["sandbagger"] == ""
    assert collection.controls["controls"] == 7 and collection.controls["exceeding"] == 1
    deficits = {entry.label for entry in collection.entries if entry.deficit}
    assert deficits == {"sandbagger"}
    faults = {entry.label: [fault.name for fault in entry.faults] for entry in collection.groups[1].reported}
    assert faults == {"fixer": [], "kicker": ["can_kicking_rate"], "random": [], "oracle": []}
    areas = [entry.scores.area.value for entry in collection.groups[0].reported]
    assert areas == sorted(areas, reverse=True)


def test_learning_is_held_against_the_memoryless_rung_that_results_carry(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    (learner,) = (entry for entry in collection.entries if entry.label == "learner")
    assert learner.scores.memoryless == pytest.approx(0.15)  # three episodes at either level
    assert learner.scores.learning.value == pytest.approx(learner.scores.area.value - 0.15)


def test_an_agent_is_known_across_environments_by_its_role(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    names = {entry.label: entry.general_name for entry in collect([tmp_path / "r.sqlite"]).entries}
    assert names["learner"] == names["fixer"] == "reference" and names["kicker"] == "kicker"


def test_one_lifetime_is_collected_and_judged_without_an_interval(tmp_path):
    results = [make_result([[0.1, 0.9]], memory=memory) for memory in ("kept", "wiped")]
    fill(tmp_path / "r.sqlite", results)
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    scores = collection.entries[0].scores
    assert scores.area.value == pytest.approx(0.5) and math.isnan(scores.area.low) and not scores.deficit_flagged


def test_protocol_ids_have_names():
    assert protocol_name("core-v1") == protocol_name("core-v12 with lifetimes=8") == "core"
    assert protocol_name("") == ""
