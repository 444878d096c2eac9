"""What a family tells about how an episode was lived: in info, in results, in the store, and nowhere else."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from daytwo.evaluation import PROTOCOLS, Store, evaluate, run_suite, score, write_report
from daytwo.observation import Field
from tests.toy import QUIT, SCORE, WAIT, Counting, Diagnosed, count_steps, episodes_of, live, make_single, make_vector


class Quitter:
    """Scores once and quits where that is offered."""

    def begin(self, spec, seeds):
        self.level, self.start = spec.layout["level"], spec.layout["episode_start"].start

    def act(self, observations, fresh):
        early = observations[:, self.level].argmax(axis=1) > 0
        return np.where(early & (observations[:, self.start] == 0), QUIT, SCORE)


def test_info_describes_the_episode_that_just_finished():
    ends = episodes_of(live(make_single(Diagnosed, course="progressive", episodes=2), [SCORE], seed=1))
    assert [info["steps"] for info in ends] == [2, 2, 3, 3, 4, 4]
    assert [info["pair"][0] for info in ends] == [0, 0, 1, 1, 2, 2]
    assert all(np.isnan(info["pair"][1]) for info in ends)
    ends = episodes_of(live(make_single(Diagnosed, course="single", level=1), [QUIT], seed=1))
    assert [info["pair"].tolist() for info in ends] == [[1.0, 0.0], [1.0, 0.0]]
    assert all(type(info["steps"]) is float for info in ends)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_form_has_gymnasiums_masks(mode):
    env = make_vector(Diagnosed, 3, course="single", level=1, episodes=1, autoreset_mode=mode)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.array([SCORE, QUIT, WAIT]))
    assert info["_steps"].tolist() == info["_pair"].tolist() == [False, True, False]
    assert info["steps"].shape == (3,) and info["pair"].shape == (3, 2)
    assert info["steps"][1] == 1 and info["pair"][1].tolist() == [1.0, 0.0]
    assert info["steps"][[0, 2]].tolist() == [0, 0] and not info["pair"][[0, 2]].any()
    if mode is AutoresetMode.SAME_STEP:
        assert info["final_info"]["steps"].tolist() == [0, 1, 0]
        assert info["final_info"]["pair"].tolist() == [[0, 0], [1, 0], [0, 0]]
    _, _, _, _, info = env.step(np.array([SCORE, SCORE, SCORE]))
    assert "steps" not in info or not info["_steps"][[0, 2]].any()


def test_they_are_not_in_the_observation_and_change_nothing():
    plain, told = make_vector(Counting, 4), make_vector(Diagnosed, 4)
    first, second = plain.reset(seed=3)[0], told.reset(seed=3)[0]
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert first.tobytes() == second.tobytes()
        actions = rng.integers(0, 3, 4)
        (first, pay, *_), (second, other, *_) = plain.step(actions), told.step(actions)
        assert pay.tobytes() == other.tobytes()


@pytest.mark.parametrize("compiled", [False, True])
def test_results_keep_them_by_episode(compiled, tmp_path):
    result = evaluate(
        Quitter(), Diagnosed, lifetimes=5, course="progressive", episodes=2, num_envs=2, compiled=compiled
    )
    assert result.diagnostics["steps"].tolist() == [[2, 2, 2, 2, 2, 2]] * 5
    assert result.diagnostics["pair"].shape == (5, 6, 2)
    assert result.diagnostics["pair"][0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert np.isnan(result.diagnostics["pair"][..., 1]).all()
    with pytest.raises(ValueError, match="read-only"):
        result.diagnostics["steps"][0, 0] = 1
    with Store(tmp_path / "results.sqlite", write=True) as store:
        key = store.add({"name": "cell"}, result)
        back = store.get(key).result
    assert list(back.diagnostics) == ["steps", "pair"]
    for name, values in result.diagnostics.items():
        assert np.array_equal(back.diagnostics[name], values, equal_nan=True)


def test_scores_and_report_have_them_by_stage(tmp_path):
    store = tmp_path / "results.sqlite"
    agents = ["random", "tests.test_diagnostics:Quitter"]
    cells = PROTOCOLS["core"].cells(["tests.toy:Diagnosed"], agents, lifetimes=8, episodes=2)
    assert not run_suite(cells, store, jobs=1, progress=False).failures
    with Store(store) as opened:
        kept = [row.result for row in opened.rows() if row.result.agent.endswith("Quitter")]
    scores = score(next(one for one in kept if one.memory == "kept" and one.task == "fixed"))
    steps = [one for one in scores.diagnostics if one.name == "steps"]
    assert [(one.level, one.first[0].value, one.final[0].value, one.mean[0].value) for one in steps] == [
        (0, 2, 2, 2),
        (1, 2, 2, 2),
        (2, 2, 2, 2),
    ]
    pair = [one for one in scores.diagnostics if one.name == "pair"]
    assert [one.mean[0].value for one in pair] == [0, 1, 2]
    assert all(np.isnan(one.mean[1].value) for one in pair)
    assert "steps, stage 2 (level 1): first 2.000" in str(scores)
    page, table, _, _ = write_report(store, tmp_path / "report.html").paths
    assert "<summary>Steps</summary>" in page.read_text() and "<summary>Pair</summary>" in page.read_text()
    rows = [line for line in table.read_text().splitlines() if "Quitter" in line and ",steps_final," in line]
    assert len(rows) == 3 and all(",2.0,2.0,2.0" in row for row in rows)


def test_a_family_without_them_has_none():
    result = evaluate("random", Counting, lifetimes=3, compiled=False)
    assert result.diagnostics == {}


def test_declarations_that_do_not_fit_are_refused():
    class Wordy(Counting):
        told = (Field("steps", 1),)

    with pytest.raises(ValueError, match="go together; received diagnostics alone"):
        Wordy()

    class Silent(Counting):
        diagnose = staticmethod(count_steps)

    with pytest.raises(ValueError, match="go together; received diagnose alone"):
        Silent()

    class Clashing(Diagnosed):
        told = (Field("bar", 1), Field("pair", 2))

    with pytest.raises(ValueError, match=r"must differ from .*raw_reward.*; received bar, pair"):
        Clashing()
