"""The study of courses: how it cuts and pools lives, and that its page says what the code computes."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import daytwo
from daytwo.evaluation import Result

ROOT = Path(__file__).resolve().parents[2]
CHEAP = [("Bandit", "reference", "fresh"), ("LearningSet", "reference", "isolated"), ("DarkRoom", "reactive", "review")]


@pytest.fixture(scope="module")
def study():
    """The script as a module, with its neighbours in reach while it is loaded."""
    spec = importlib.util.spec_from_file_location("course_study", ROOT / "benchmarks" / "course_study.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        spec.loader.exec_module(module)
    return module


def row(course: str, *, seed: int = 0, lifetimes: int = 4, **figures: tuple[float, float]) -> dict:
    names = {"family": "Bandit", "agent": "rl2", "seed": seed, "course": course, "lifetimes": lifetimes}
    return names | {"seconds": 1.0, "figures": figures}


def test_seeds_are_pooled_by_their_lifetimes(study):
    rows = [row("review", lifetimes=100, retention=(0.0, 0.3)), row("review", lifetimes=300, retention=(0.4, 0.1))]
    mean, half = study.pooled(rows, "retention")
    assert mean == pytest.approx(0.3)
    assert half == pytest.approx(np.hypot(0.25 * 0.3, 0.75 * 0.1))


def test_pooled_seeds_have_the_interval_of_all_lifetimes_together(study):
    values = np.random.default_rng(0).normal(0.2, 1.0, (3, 400))
    rows = [row("review", seed=k, lifetimes=400, retention=study.mean_and_error(one)) for k, one in enumerate(values)]
    assert study.pooled(rows, "retention") == pytest.approx(study.mean_and_error(values.ravel()), abs=1e-3)


def test_an_agent_whose_courses_are_not_all_there_is_left_out(study):
    assert study.measures([row("progressive", top=(0.5, 0.1))], "Bandit", "rl2") == {}


def test_interference_is_paired_with_nothing(study):
    rows = [row(course) for course in study.COURSES if course not in ("isolated", "fresh")]
    rows += [row("isolated", first=(0.2, 0.03)), row("fresh", first=(0.5, 0.04))]
    mean, half = study.measures(rows, "Bandit", "rl2")["isolated", "interference"]
    assert (mean, half) == (pytest.approx(-0.3), pytest.approx(0.05))


def test_progress_survives_a_stop_at_any_moment(study, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(study, "LIFETIMES", 8)
    kept, whole = [], []
    study.run(whole, ["Bandit"], ["reference"], [0])
    figures_of = study.figures_of

    def stopped(course: str, *others: object) -> dict:
        if course == "reversed":
            raise KeyboardInterrupt
        return figures_of(course, *others)

    monkeypatch.setattr(study, "figures_of", stopped)
    with pytest.raises(KeyboardInterrupt):
        study.run(kept, ["Bandit"], ["reference"], [0])
    kept = study.read()
    assert [one["course"] for one in kept] == ["progressive", "isolated", "shuffled"]
    monkeypatch.setattr(study, "figures_of", figures_of)
    study.run(kept, ["Bandit"], ["reference"], [0])
    assert [one["figures"] for one in kept] == [one["figures"] for one in whole]
    assert [study.key_of(one) for one in study.read()] == [study.key_of(one) for one in whole]


@pytest.mark.parametrize("family", ["Bandit", "LearningSet"])
def test_courses_that_begin_alike_are_lived_alike(study, monkeypatch, family):
    """So that every difference is the course's doing: reversed begins like a fresh life at the top."""
    monkeypatch.setattr(study, "LIFETIMES", 16)
    lives: dict[str, Result] = {
        course: study.live(family, "reference", 5, course=course)
        for course in ("progressive", "isolated", "review", "reversed", "single")
    }
    stage = lives["single"].normalized.shape[1]
    begins = {course: result.normalized[:, :stage] for course, result in lives.items()}
    np.testing.assert_array_equal(begins["isolated"], begins["progressive"])
    np.testing.assert_array_equal(begins["review"], begins["progressive"])
    np.testing.assert_array_equal(begins["reversed"], begins["single"])


def test_as_many_steps_are_counted_by_the_levels_horizons(study):
    assert study.episodes_that_fit("Alchemy") == 4  # 10 episodes of 4 steps at each of two levels, of 20 at the top
    assert study.episodes_that_fit("LearningSet") == 30


@pytest.mark.parametrize(("family", "agent", "course"), CHEAP)
def test_kept_figures_are_what_the_code_computes(study, family, agent, course):
    (kept,) = (one for one in study.read() if study.key_of(one)[:4] == (family, agent, 0, course))
    progressive = study.live(family, agent, 0, course="progressive")
    figures = study.figures_of(course, progressive, family, agent, 0)
    assert figures.keys() == kept["figures"].keys()
    for name, values in figures.items():
        assert kept["figures"][name] == pytest.approx(study.mean_and_error(values), abs=2e-4), name


def test_all_families_but_the_mixture_are_studied(study):
    assert {f"daytwo/{family}-v0" for family in study.FAMILIES} == set(daytwo.env_ids()) - {"daytwo/Mixture-v0"}


def test_every_family_agent_and_course_is_kept_and_on_the_page(study):
    rows = study.read()
    wanted = {
        (family, agent, seed, course, study.lifetimes_of(family, agent))
        for family in study.FAMILIES
        for agent in study.AGENTS
        for seed in study.SEEDS
        for course in study.COURSES
    }
    assert {study.key_of(one) for one in rows} == wanted
    assert len(rows) == len(wanted)
    page = (ROOT / "docs" / study.PAGE).read_text()
    assert study.tables(rows).strip() in page, "run: python benchmarks/course_study.py --only-pages"
