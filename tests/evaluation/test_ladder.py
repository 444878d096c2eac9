"""The oracle ladder: honest rungs, a choice that is made on other tasks, and a table that goes stale."""

import json
import math

import numpy as np
import pytest

import daytwo
from daytwo.envs import standard_settings
from daytwo.evaluation import evaluate
from daytwo.evaluation.ladder import (
    EPISODES,
    Rungs,
    climb,
    constant_actions,
    ladder_row,
    markdown,
    rows_to_keep,
    train_ppo,
)
from daytwo.evaluation.rungs import dynamics_code, memoryless_rungs, store_rungs, stored_rungs
from daytwo.evaluation.statistics import Estimate
from daytwo.registration import make_family
from tests.toy import Counting, Steering

BANDIT = "daytwo/Bandit-v0"


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    store = tmp_path_factory.mktemp("ladder") / "ladder.sqlite"
    options = {"lifetimes": 256, "store": store, "jobs": 1, "progress": False}
    known = {(BANDIT, 2): Estimate(0.5, 0.4, 0.6)}
    first = climb([BANDIT], ppo=known, **options)
    size = store.stat().st_size
    second = climb([BANDIT], ppo=known, **options)
    assert store.stat().st_size == size, "what is stored is not computed again"
    assert [ladder_row(one) for one in first] == [ladder_row(one) for one in second]
    return first


def test_every_level_has_its_rungs_in_order(climbed):
    assert [one.level for one in climbed] == [0, 1, 2]
    for one in climbed:
        assert one.reference.shape == (3, EPISODES)
        assert one.memoryless[1].value < one.twin_final.value < one.reference_final.value
        assert one.reference_final.value < one.oracle.high
    top = climbed[2]
    assert abs(top.constant.value) < 0.1  # all arms are alike before anything is known
    assert top.memoryless == ("PPO", Estimate(0.5, 0.4, 0.6))
    assert climbed[0].ppo is None and climbed[0].memoryless[0] == "reactive"


def test_the_rungs_are_those_that_evaluate_measures(climbed):
    alone = evaluate("gittins", BANDIT, lifetimes=256, course="single", level=1, episodes=EPISODES)
    assert climbed[1].reference[0] == pytest.approx(alone.normalized.mean(axis=0))
    wiped = evaluate("gittins", BANDIT, lifetimes=256, memory="wiped", course="single", level=1, episodes=EPISODES)
    assert climbed[1].twin_final.value == pytest.approx(wiped.normalized[:, -1].mean())


def test_what_was_learnt_below_pays_above(climbed):
    assert climbed[0].transfer is None
    for one in climbed[1:]:
        assert one.transfer.low > 0.1
        assert one.transfer.value == pytest.approx(one.progressive_first.value - one.isolated_first.value)


def test_shortfalls_say_what_is_missing():
    fine = Estimate(0.95, 0.94, 0.96)
    rungs = Rungs(
        env_id="x", settings={}, level=1, level_name="one", constant=Estimate(0.1, 0.0, 0.2), constant_action=0,
        reactive=Estimate(0.3, 0.2, 0.4), ppo=None, reference=np.zeros((3, EPISODES)),
        reference_first=Estimate(0.2, 0.1, 0.3), reference_final=fine, twin_final=Estimate(0.2, 0.1, 0.3),
        oracle=Estimate(1.0, 1.0, 1.0), progressive_first=fine, isolated_first=fine, transfer=Estimate(0.1, 0.05, 0.2),
    )  # fmt: skip
    assert rungs.shortfalls == ()
    assert rungs.memoryless == ("reactive", rungs.reactive)
    from dataclasses import replace

    bad = replace(
        rungs,
        reference_first=Estimate(0.6, 0.5, 0.7),
        reference_final=Estimate(0.7, 0.6, 0.8),
        twin_final=Estimate(0.6, 0.5, 0.7),
        ppo=Estimate(0.65, 0.6, 0.7),
        transfer=Estimate(0.1, -0.01, 0.2),
    )
    assert len(bad.shortfalls) == 5


def test_constant_actions_are_those_that_the_level_offers():
    assert constant_actions(Counting(), 0) == [0, 1]  # quitting is not offered there
    assert constant_actions(Counting(), 1) == [0, 1, 2]
    assert len(constant_actions(Steering(), 0)) == 9


def test_the_dynamics_code_changes_with_settings_and_not_with_words():
    assert dynamics_code(make_family(BANDIT)) == dynamics_code(make_family(BANDIT))
    assert dynamics_code(make_family(BANDIT)) != dynamics_code(make_family(BANDIT, arms=5, pulls=10))
    codes = {dynamics_code(make_family(env_id)) for env_id in daytwo.env_ids()}
    assert len(codes) == len(daytwo.env_ids())


def test_a_stored_rung_counts_only_for_the_dynamics_it_was_measured_on(tmp_path):
    table, family = tmp_path / "ladder.json", make_family(BANDIT)
    assert stored_rungs(family, table) == {}
    row = {"value": 0.4, "low": 0.3, "high": 0.5, "settings": "{}", "family": dynamics_code(family)}
    store_rungs({(BANDIT, 0, "ppo"): row, (BANDIT, 1, "ppo"): {**row, "family": "another"}}, table)
    assert stored_rungs(family, table) == {(0, "ppo"): Estimate(0.4, 0.3, 0.5)}
    store_rungs({(BANDIT, 0, "ppo"): {**row, "value": 0.45}, (BANDIT, 0, "reactive"): row}, table)
    assert {key: one.value for key, one in stored_rungs(family, table).items()} == {
        (0, "ppo"): 0.45,
        (0, "reactive"): 0.4,
    }
    assert len(json.loads(table.read_text())) == 3
    assert stored_rungs(make_family(BANDIT, arms=5, pulls=10), table) == {}


def test_what_was_measured_can_be_kept(climbed, tmp_path):
    table, family = tmp_path / "ladder.json", make_family(BANDIT)
    store_rungs(rows_to_keep(climbed, {}, lifetimes=256, seed=0), table)
    kept = stored_rungs(family, table)
    assert set(kept) == {(level, kind) for level in range(3) for kind in ("constant", "reactive")}
    assert kept[1, "reactive"] == climbed[1].reactive


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_every_level_of_every_family_has_a_best_memoryless_rung(env_id):
    family = make_family(env_id)
    found, best = stored_rungs(family), memoryless_rungs(family)
    for level in range(len(family.levels)):
        assert {"reactive", "ppo"} <= {kind for at, kind in found if at == level}
        assert best[level] == max(0.0, *(one.value for (at, _), one in found.items() if at == level))


def test_rungs_of_other_settings_and_of_outside_families_are_unknown():
    assert all(math.isnan(one) for one in memoryless_rungs(make_family(BANDIT, arms=7)))
    assert all(math.isnan(one) for one in memoryless_rungs(Counting()))


def test_ppo_rungs_are_trained_once_and_measured(tmp_path):
    train = pytest.importorskip("daytwo.integrations.training").train
    options = {"steps": 2000, "lifetimes": 64, "folder": tmp_path, "progress": False, "arms": 2, "pulls": 5}
    found = train_ppo([BANDIT], train, **options)
    assert list(found) == [(BANDIT, 0)]

    def never(*arguments, **keywords):
        raise AssertionError("trained again")

    assert train_ppo([BANDIT], never, **options) == found


def test_the_markdown_table_has_one_row_per_level(climbed):
    lines = markdown(climbed).splitlines()
    assert sum(line.startswith("| 2 ") for line in lines) == 2
    assert all(line.count("|") == lines[0].count("|") for line in lines[:5])


def test_every_family_names_a_reference_learner_and_a_reactive_agent():
    for env_id, settings in standard_settings():
        family = make_family(env_id, **settings)
        assert family.reference in daytwo.agent_names(), env_id
        assert family.reactive in daytwo.agent_names(), env_id
