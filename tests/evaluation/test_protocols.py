"""Protocols: what each asks for, under an id that changes whenever its evaluations do."""

import hashlib
from collections import Counter

import numpy as np
import pytest

import daytwo
from daytwo.course import Course
from daytwo.evaluation.protocols import LENGTHS, PROTOCOLS, find_protocols
from daytwo.evaluation.store import canonical
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.registration import family_class

BANDIT = "daytwo/Bandit-v0"
CONDITIONS = {("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn")}
COMPARING = ("transfer", "retention", "switch", "length", "generalisation")


def fingerprint(protocol):
    """What a protocol asks of one agent on one family, without what changes with the code."""
    cells = [cell.describe() for cell in protocol.cells([BANDIT], ["reference"])]
    plain = sorted(canonical({k: v for k, v in cell.items() if k not in ("version", "code")}) for cell in cells)
    return hashlib.sha256("\n".join(plain).encode()).hexdigest()[:12]


def test_a_protocol_that_changes_gets_a_new_version():
    """If this fails, raise the version of the protocol that changed and write its new fingerprint down here."""
    assert {protocol.id: fingerprint(protocol) for protocol in PROTOCOLS.values()} == {
        "core-v1": "a3800c0807f1",
        "adapt-v1": "e031bdca5475",
        "transfer-v1": "cb45d4805356",
        "retention-v1": "6e886aa4600e",
        "switch-v1": "9b66612a0da4",
        "length-v1": "aedd54251fae",
        "generalisation-v1": "a25bb199ee8d",
        "quick-v1": "936f4e2efd86",
    }


@pytest.mark.parametrize("name", ["core", "adapt", "quick"])
def test_every_agent_that_fits_lives_with_both_controls(name):
    cells = PROTOCOLS[name].cells()
    assert len({cell.key for cell in cells}) == len(cells)
    found = {}
    for cell in cells:
        found.setdefault((cell.env_id, cell.agent), set()).add((cell.memory, cell.task))
        assert cell.protocol == PROTOCOLS[name].id and cell.lifetimes == PROTOCOLS[name].lifetimes
        assert cell.split == "test"
    assert set(map(frozenset, found.values())) == {frozenset(CONDITIONS)}
    for env_id in daytwo.env_ids():
        family = daytwo.make_family(env_id)
        agents = {agent for where, agent in found if where == env_id}
        assert {"random", "oracle", family.reference, family.reactive} <= agents, env_id
    assert {cell.settings["course"] for cell in cells} == {"single" if name == "adapt" else "progressive"}


def test_a_reference_learner_is_evaluated_once_under_its_own_name():
    cells = PROTOCOLS["adapt"].cells([BANDIT], ["gittins", "reference", "reactive"])
    assert Counter(cell.agent for cell in cells) == {"gittins": 3, "win-stay": 3}


def test_transfer_asks_for_every_pair_of_levels_and_every_fresh_life():
    cells = PROTOCOLS["transfer"].cells([BANDIT], ["reference"])
    courses = [cell.settings["course"] for cell in cells]
    pairs = [tuple(stage.level for stage in course.stages) for course in courses if isinstance(course, Course)]
    assert sorted(pairs) == [(i, j) for i in range(3) for j in range(3)]
    fresh = [cell for cell in cells if cell.settings["course"] == "single"]
    assert sorted(cell.settings["level"] for cell in fresh) == [0, 1, 2]
    assert Counter(course for course in courses if course in ("progressive", "shuffled", "isolated")) == {
        "progressive": 2, "shuffled": 2, "isolated": 1,
    }  # fmt: skip


def test_length_switch_and_generalisation_ask_for_what_they_compare():
    episodes = daytwo.make_family(BANDIT).episodes
    lengths = {cell.settings["episodes"] for cell in PROTOCOLS["length"].cells([BANDIT], ["reference"])}
    assert lengths == {factor * episodes for factor in LENGTHS}
    (course,) = {cell.settings["course"] for cell in PROTOCOLS["switch"].cells([BANDIT], ["reference"])}
    assert course == "switch"
    cells = PROTOCOLS["generalisation"].cells([BANDIT], ["reference"])
    asked = {(cell.split, cell.settings.get("pulls")) for cell in cells}
    assert asked == {("test", None), ("train", None), ("test", 10)}


def test_other_numbers_of_lifetimes_and_settings_do_not_pass_for_the_protocol():
    assert {cell.protocol for cell in PROTOCOLS["core"].cells([BANDIT], ["random"], lifetimes=8)} == {
        "core-v1 with lifetimes=8"
    }
    assert {cell.protocol for cell in PROTOCOLS["core"].cells([BANDIT], ["random"], arms=4)} == {"core-v1 with arms=4"}
    assert {cell.protocol for cell in PROTOCOLS["core"].cells([BANDIT], ["random"], lifetimes=1024)} == {"core-v1"}


def test_protocols_that_share_an_evaluation_share_its_key():
    core = {cell.key for cell in PROTOCOLS["core"].cells([BANDIT], ["random"], lifetimes=8)}
    quick = {cell.key for cell in PROTOCOLS["quick"].cells([BANDIT], ["random"], lifetimes=8)}
    assert core == quick


def test_families_with_too_few_tasks_to_split_live_on_all_of_them(monkeypatch):
    from daytwo.envs.bandit import Bandit

    monkeypatch.setattr(Bandit, "splits", property(lambda self: ("all",)))
    assert {cell.split for cell in PROTOCOLS["core"].cells([BANDIT], ["random"])} == {"all"}
    assert {cell.split for cell in PROTOCOLS["generalisation"].cells([BANDIT], ["random"])} == {"all"}


def test_agents_that_fit_nowhere_are_left_out_and_unknown_ones_refused():
    assert PROTOCOLS["core"].cells(["daytwo/Maze-v0"], ["gittins"]) == []
    with pytest.raises(ValueError, match="Unknown agent 'nobody'"):
        PROTOCOLS["core"].cells([BANDIT], ["nobody"])
    with pytest.raises(ValueError, match="Unknown environment"):
        PROTOCOLS["core"].cells(["daytwo/No-v0"])


def test_a_users_own_agent_and_family_have_a_place():
    cells = PROTOCOLS["quick"].cells(["tests.toy:Counting"], ["daytwo.baselines.basic:Random"])
    assert {(cell.agent, cell.env_id) for cell in cells} == {("daytwo.baselines.basic:Random", "tests.toy:Counting")}


def test_protocols_are_found_by_name():
    assert [one.id for one in find_protocols("core, adapt,core")] == ["core-v1", "adapt-v1"]
    assert [one.name for one in find_protocols("all")] == ["core", "adapt", *COMPARING]
    for wrong in ("nonsense", "core,nonsense", "", ","):
        with pytest.raises(ValueError, match=r"(Unknown|at least one) protocol"):
            find_protocols(wrong)


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_harder_settings_have_the_spaces_of_the_defaults(env_id):
    """So that an agent that was trained on the defaults can be tried under them."""
    harder = family_class(env_id).harder
    assert harder
    default, hard = LifetimeVectorEnv(env_id, 1), LifetimeVectorEnv(env_id, 1, **harder)
    assert hard.single_action_space == default.single_action_space
    assert hard.single_observation_space.shape == default.single_observation_space.shape
    assert list(hard.lifetime_spec.layout) == list(default.lifetime_spec.layout)
    assert len(hard.family.levels) == len(default.family.levels)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_harder_settings_are_harder_for_the_reference_learner(env_id):
    course = {"lifetimes": 64, "episodes": 3}
    easy = daytwo.evaluate("reference", env_id, **course).normalized
    hard = daytwo.evaluate("reference", env_id, **course, **family_class(env_id).harder).normalized
    assert np.nanmean(hard) < np.nanmean(easy) + 0.02
