"""Tuned options: chosen on the validation split, stored with where they come from, and found again."""

import json

import numpy as np
import pytest

import daytwo
from daytwo import agent
from daytwo.agent import register_agent
from daytwo.baselines import tuning
from daytwo.baselines.bandits import UCB1, EpsilonGreedy, Gittins, OptimisticThompson
from daytwo.baselines.tuning import combinations, course_key, resolve_options, stored_options, tune
from daytwo.course import Course, Stage, named_course
from daytwo.streams import lifetime_seeds

ENV_ID = "daytwo/Bandit-v0"
SETTINGS = {"arms": 5, "pulls": 4, "course": "single", "episodes": 1}


def spec_of(**settings):
    return daytwo.LifetimeVectorEnv(ENV_ID, num_envs=1, **settings).lifetime_spec


def best_near(peak):
    """An evaluation whose score is highest where c is nearest to ``peak``."""
    calls = []

    def evaluate(agent, env_id, settings, split, lifetimes, seed):
        agent.begin(spec_of(**settings), lifetime_seeds(seed, 0, 1))
        calls.append((agent.options["c"], env_id, dict(settings), split, lifetimes, seed))
        return np.full(lifetimes, -abs(agent.options["c"] - peak)) + np.array([0.1, -0.1])

    return evaluate, calls


def test_the_best_of_the_whole_grid_is_chosen_on_the_validation_split(tmp_path):
    evaluate, calls = best_near(0.68)
    path = tmp_path / "tuned.json"
    rows = []
    tuned = tune("ucb1", ENV_ID, lifetimes=2, seed=5, evaluate=evaluate, path=path, progress=rows.append, **SETTINGS)
    assert tuned.options == {"c": 0.7}
    assert [row["options"]["c"] for row in tuned.grid] == [k / 10 for k in range(11)] == [call[0] for call in calls]
    assert all(call[1:] == (ENV_ID, SETTINGS, "validation", 2, 5) for call in calls)
    assert rows == list(tuned.grid)
    assert tuned.grid[7]["score"] == pytest.approx(-0.02)
    assert tuned.grid[7]["error"] == pytest.approx(0.1)


def test_the_outcome_is_stored_with_its_provenance_and_found_by_settings_and_course(tmp_path, monkeypatch):
    path = tmp_path / "tuned.json"
    monkeypatch.setattr(tuning, "TUNED_PATH", path)
    tune("ucb1", ENV_ID, lifetimes=2, seed=5, evaluate=best_near(0.68)[0], **SETTINGS)
    tune("ucb1", ENV_ID, lifetimes=2, seed=5, evaluate=best_near(0.31)[0], **{**SETTINGS, "pulls": 9})
    row = json.loads(path.read_text())[ENV_ID]['{"arms": 5, "kind": "bernoulli", "pulls": 4}']["1:1"]["ucb1"]
    assert row["options"] == {"c": 0.7}
    assert (row["split"], row["lifetimes"], row["seed"], row["version"]) == ("validation", 2, 5, daytwo.__version__)
    assert row["command"].startswith("daytwo tune ucb1 daytwo/Bandit-v0 --lifetimes 2 --seed 5")
    assert len(row["grid"]) == 11
    assert stored_options("ucb1", spec_of(**SETTINGS), path=path) == {"c": 0.7}
    assert stored_options("ucb1", spec_of(**{**SETTINGS, "pulls": 9}), path=path) == {"c": 0.3}
    assert stored_options("ucb1", spec_of(**{**SETTINGS, "episodes": 2}), path=path) == {}
    assert stored_options("gittins", spec_of(**SETTINGS), path=path) == {}


def test_what_was_tuned_on_the_default_course_holds_for_every_other_course(tmp_path):
    path, own = tmp_path / "tuned.json", {"arms": 5, "pulls": 4}
    tune("ucb1", ENV_ID, lifetimes=2, evaluate=best_near(0.52)[0], path=path, **own)
    assert tune("ucb1", ENV_ID, lifetimes=2, evaluate=best_near(0.1)[0], path=path, **SETTINGS).course == "1:1"
    assert stored_options("ucb1", spec_of(**own), path=path) == {"c": 0.5}
    assert stored_options("ucb1", spec_of(**own, course="isolated", episodes=3), path=path) == {"c": 0.5}
    assert stored_options("ucb1", spec_of(**SETTINGS), path=path) == {"c": 0.1}


def test_an_option_is_as_given_else_as_stored_else_by_default(monkeypatch):
    spec = spec_of(**SETTINGS)
    monkeypatch.setattr(tuning, "stored_options", lambda agent, spec: {"c": 0.7} if agent == "ucb1" else {})
    assert resolve_options(UCB1, spec, {"c": 0.0}) == {"c": 0.0}
    assert resolve_options(UCB1, spec, {"c": None}) == {"c": 0.7}
    assert resolve_options(EpsilonGreedy, spec, {"epsilon": None}) == {"epsilon": 0.1}
    agent = UCB1()
    agent.begin(spec, lifetime_seeds(0, 0, 1))
    assert agent.options == {"c": 0.7}


def test_by_default_the_environment_itself_judges():
    # With 4 pulls of 5 arms, an agent that always pulls at random is the worst there is.
    tuned = tune("daytwo.baselines.bandits:EpsilonGreedy", ENV_ID, lifetimes=1000, store=False, **SETTINGS)
    assert tuned.options["epsilon"] < 0.4
    scores = [row["score"] for row in tuned.grid]
    assert scores[-1] == min(scores)
    assert scores[-1] == pytest.approx(0.0, abs=4 * tuned.grid[-1]["error"])


def test_families_with_too_few_tasks_to_split_are_tuned_on_all_of_them():
    tuned = tune(
        "ucb1", ENV_ID, lifetimes=2, evaluate=best_near(0.2)[0], store=False, kind="dependent-easy", episodes=1
    )
    assert tuned.split == "all"


class Twofold:
    name = "twofold"
    tuned_options = {"depth": (1, 2), "width": (3, 4)}
    default_options = {"depth": 1, "width": 3}


def test_several_options_are_tried_in_every_combination():
    assert combinations(Twofold) == [
        {"depth": 1, "width": 3},
        {"depth": 1, "width": 4},
        {"depth": 2, "width": 3},
        {"depth": 2, "width": 4},
    ]
    assert [len(combinations(agent)) for agent in (UCB1, EpsilonGreedy, OptimisticThompson, Gittins)] == [11, 11, 20, 4]


def test_courses_are_told_apart():
    courses = {name: course_key(named_course(name, levels=3, episodes=4)) for name in ("progressive", "shuffled")}
    courses["switch"] = course_key(named_course("switch", levels=3, episodes=4))
    courses["isolated"] = course_key(named_course("isolated", levels=3, episodes=4))
    assert courses == {
        "progressive": "0:4 1:4 2:4",
        "shuffled": "0:4 1:4 2:4 shuffled",
        "switch": "2:4+switch-after-2",
        "isolated": "0:4 1:4+new-task 2:4+new-task",
    }
    assert course_key(Course([Stage(0, 4), Stage(1, 4), Stage(2, 4)], name="mine")) == courses["progressive"]


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(ValueError, match="no options to tune"):
        tune("thompson", ENV_ID, **SETTINGS)
    with pytest.raises(ValueError, match="leave `split` out"):
        tune("ucb1", ENV_ID, split="test", **SETTINGS)
    with pytest.raises(ValueError, match="lifetimes must be an integer of at least 2, received 1"):
        tune("ucb1", ENV_ID, lifetimes=1, **SETTINGS)


def test_a_user_s_own_agent_is_tuned_like_ours(monkeypatch):
    monkeypatch.setattr(agent, "_agents", dict(agent._agents))  # other tests ask which agents there are
    register_agent("own-ucb1", "daytwo.baselines.bandits:UCB1")
    tuned = tune("own-ucb1", ENV_ID, lifetimes=2, evaluate=best_near(1.0)[0], store=False, **SETTINGS)
    assert tuned.options == {"c": 1.0}
