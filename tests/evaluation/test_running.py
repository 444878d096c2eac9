"""`evaluate`: what is lived, what is recorded, what is refused."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import daytwo
from daytwo import kernels
from daytwo.calibration import ReferenceReturns
from daytwo.course import Course, Stage
from daytwo.evaluation.rungs import memoryless_rungs
from daytwo.evaluation.running import check_actions, evaluate
from daytwo.improvement import ImprovementRule
from daytwo.registration import make_family
from daytwo.streams import agent_streams, lifetime_seeds, uniform
from tests.toy import Counting, Steering

BANDIT = "daytwo/Bandit-v0"
SMALL = {"course": "single", "level": 0, "episodes": 3}  # 2 arms, 20 pulls: no settings to calibrate
ARRAYS = ("returns", "normalized", "levels", "stages", "reward")


class Guesser:
    """Pulls arms at random from per-lifetime streams, so that any slip in seeding or batching shows."""

    name = "guesser"

    def begin(self, spec, seeds):
        self.arms = int(spec.action_masks[0].sum())
        self.streams = agent_streams(seeds)

    def act(self, observations, fresh):
        with np.errstate(over="ignore"):
            draws = [uniform(self.streams, i) for i in range(len(fresh))]
        return np.array([int(draw * self.arms) for draw in draws])


class Recorder:
    """Pulls arm 0 and keeps all it was shown."""

    def __init__(self):
        self.seen, self.fresh, self.batches = [], [], []

    def begin(self, spec, seeds):
        self.layout = spec.layout
        self.batches.append(seeds.copy())

    def act(self, observations, fresh):
        self.seen.append(observations.copy())
        self.fresh.append(fresh.copy())
        return np.zeros(len(fresh), dtype=np.int64)


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in ARRAYS)


@pytest.mark.parametrize("memory, task", [("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn")])
def test_lifetimes_are_the_same_bit_for_bit_in_any_batch(memory, task):
    whole = evaluate(Guesser(), BANDIT, lifetimes=23, seed=4, memory=memory, task=task, **SMALL)
    assert whole.returns.shape == (23, 3)
    assert len(np.unique(whole.reward)) > 10
    for num_envs in (1, 7, 1000):
        part = evaluate(Guesser(), BANDIT, lifetimes=23, seed=4, memory=memory, task=task, num_envs=num_envs, **SMALL)
        assert same(whole, part), num_envs


@pytest.mark.parametrize("agent", ["random", "oracle"])
def test_registered_agents_live_the_same_lifetimes_in_any_batch(agent):
    whole = evaluate(agent, BANDIT, lifetimes=70, seed=1, episodes=2)
    for num_envs in (7, 64, 1000):
        assert same(whole, evaluate(agent, BANDIT, lifetimes=70, seed=1, episodes=2, num_envs=num_envs)), num_envs


def test_a_lifetime_depends_on_seed_and_its_number_only():
    few = evaluate(Guesser(), BANDIT, lifetimes=5, seed=9, **SMALL)
    many = evaluate(Guesser(), BANDIT, lifetimes=12, seed=9, **SMALL)
    other = evaluate(Guesser(), BANDIT, lifetimes=12, seed=10, **SMALL)
    for name in ARRAYS:
        assert np.array_equal(getattr(few, name), getattr(many, name)[:5])
    assert not np.array_equal(many.returns, other.returns)


@pytest.mark.parametrize("agent", ["random", "oracle", Guesser])
def test_interpreted_equals_compiled(agent):
    compiled = evaluate(agent, BANDIT, lifetimes=4, **SMALL)
    interpreted = evaluate(agent, BANDIT, lifetimes=4, compiled=False, **SMALL)
    assert same(compiled, interpreted)
    assert not kernels.is_interpreted()


def test_the_ladder_ends_where_it_should():
    """Random is 0 and the oracle 1 by definition; the tolerance is five standard errors."""
    for agent, expected in (("random", 0.0), ("oracle", 1.0)):
        result = evaluate(agent, BANDIT, lifetimes=4096, seed=3, course="single", episodes=2)
        means = result.normalized.mean(axis=1)
        assert abs(means.mean() - expected) < 5 * means.std() / 64


def test_normalised_returns_are_the_raw_ones_rescaled():
    result = evaluate(Guesser(), BANDIT, lifetimes=8, episodes=2)
    low, high = np.array(result.random_return)[result.levels], np.array(result.oracle_return)[result.levels]
    np.testing.assert_allclose(result.normalized, (result.returns - low) / (high - low), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", [{}, {"rate": 0.5}, {"reward": "final"}, {"reward": "best", "dense": False}])
def test_reward_is_what_the_rule_pays_for_the_recorded_returns(rule):
    result = evaluate(Guesser(), BANDIT, lifetimes=6, episodes=3, course="review", **rule)
    pays = ImprovementRule(rule.get("reward", "improvement"), rule.get("rate", 0.25), rule.get("dense", True))
    for g, levels, reward in zip(result.normalized, result.levels, result.reward, strict=True):
        total = sum(sum(pays.pay(list(g[levels == level]))) for level in np.unique(levels))
        assert reward == pytest.approx(total, abs=1e-9)


def test_levels_and_stages_are_those_of_the_course():
    result = evaluate("random", BANDIT, lifetimes=3, episodes=2, course="review")
    assert result.levels.tolist() == [[0, 0, 1, 1, 2, 2, 0, 0]] * 3
    assert result.stages.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 3
    assert result.course.name == "review"
    assert len(result.level_names) == 3


def test_lifetimes_that_end_early_are_padded():
    course = Course([Stage(0, 12), Stage(1, 2)], mastery=0.6)
    result = evaluate("oracle", "daytwo/DarkRoom-v0", lifetimes=9, course=course, compiled=False)
    assert result.returns.shape == (9, 14)
    lengths = (result.levels >= 0).sum(axis=1)
    assert (lengths == 5).all()  # the oracle masters stage one in the three episodes it takes to judge
    assert np.isnan(result.returns[:, 5:]).all() and np.isnan(result.normalized[:, 5:]).all()
    assert (result.stages[:, 5:] == -1).all()
    assert result.levels[:, :5].tolist() == [[0, 0, 0, 1, 1]] * 9


def test_the_amnesiac_twin_is_told_at_every_episode_and_sees_no_past():
    kept, wiped = Recorder(), Recorder()
    first = evaluate(kept, BANDIT, lifetimes=4, **SMALL)
    second = evaluate(wiped, BANDIT, lifetimes=4, memory="wiped", **SMALL)
    assert same(first, second)  # arm 0 always: memory changes nothing
    layout = kept.layout
    starts = np.array([rows[:, layout["episode_start"]][:, 0] > 0.5 for rows in kept.seen])
    assert starts.sum() == 4 * 3
    assert np.array_equal(np.array(wiped.fresh), starts)
    assert np.array_equal(np.array(kept.fresh), np.arange(len(starts))[:, None].repeat(4, 1) == 0)
    past = np.zeros(layout.size, dtype=bool)
    past[layout["previous_action"]] = past[layout["previous_reward"]] = True
    for rows, twin_rows, start in zip(kept.seen, wiped.seen, starts, strict=True):
        assert np.array_equal(rows[~start], twin_rows[~start])
        assert np.array_equal(rows[start][:, ~past], twin_rows[start][:, ~past])
        assert not twin_rows[start][:, past].any()
    later = [rows[start][:, past] for rows, start in zip(kept.seen[1:], starts[1:], strict=True)]
    assert any(part.any() for part in later)  # there was a past to wipe


def test_the_twin_needs_no_episode_start_in_view():
    shown, hidden = Recorder(), Recorder()
    evaluate(shown, BANDIT, lifetimes=3, memory="wiped", **SMALL)
    evaluate(hidden, BANDIT, lifetimes=3, memory="wiped", show=("previous_action", "previous_reward"), **SMALL)
    assert "episode_start" not in hidden.layout
    assert np.array_equal(np.array(shown.fresh), np.array(hidden.fresh))


def test_agent_and_environment_get_the_hashed_seed_of_each_lifetime():
    recorder = Recorder()
    evaluate(recorder, BANDIT, lifetimes=5, seed=7, num_envs=2, **SMALL)
    assert [len(batch) for batch in recorder.batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate(recorder.batches), lifetime_seeds(7, 0, 5))


def test_the_redrawn_control_takes_the_task_away():
    """Arm 0 has one chance for a whole lifetime, which correlates its episodes, unless the task is redrawn."""
    settings = {**SMALL, "episodes": 2}
    fixed = evaluate(Recorder(), BANDIT, lifetimes=400, **settings).returns
    redrawn = evaluate(Recorder(), BANDIT, lifetimes=400, task="redrawn", **settings).returns
    assert np.array_equal(fixed[:, 0], redrawn[:, 0])  # nothing differs before the first redraw
    assert np.corrcoef(fixed.T)[0, 1] > 0.7
    assert abs(np.corrcoef(redrawn.T)[0, 1]) < 0.2


def test_provenance():
    result = evaluate("random", BANDIT, lifetimes=2, seed=5, memory="wiped", split="all", **SMALL)
    assert (result.agent, result.env_id, result.seed, result.memory, result.task) == (
        "random",
        BANDIT,
        5,
        "wiped",
        "fixed",
    )
    assert result.split == "all" and not result.privileged and result.lifetimes == 2
    assert result.settings == SMALL
    assert {"daytwo", "numpy", "numba", "gymnasium", "python"} <= set(result.versions)
    assert result.seconds > 0
    assert evaluate("oracle", BANDIT, lifetimes=2, **SMALL).privileged
    with pytest.raises(ValueError):
        result.returns[0, 0] = 1.0


def test_a_result_knows_what_the_family_tests_and_what_no_memory_is_worth():
    result = evaluate("random", BANDIT, lifetimes=2, **SMALL)
    assert result.tags == daytwo.envs.bandit.Bandit.tags != ()
    assert result.memoryless == memoryless_rungs(make_family(BANDIT))
    assert len(result.memoryless) == 3 and all(0.0 < one < 1.0 for one in result.memoryless)
    own = evaluate(Recorder(), Counting, lifetimes=2, compiled=False, split="all")
    assert own.tags == () and np.isnan(own.memoryless).all() and len(own.memoryless) == 3  # nobody has measured


class Thinking(Recorder):
    pass


class Roles(Counting):
    reference = Thinking
    reactive = "random"


@pytest.mark.parametrize(
    "agent, env_id, role",
    [
        ("reference", BANDIT, "reference"),
        ("gittins", BANDIT, "reference"),
        ("reactive", BANDIT, "reactive"),
        ("win-stay", BANDIT, "reactive"),
        ("random", BANDIT, ""),
        ("oracle", BANDIT, ""),
        ("ucb1", BANDIT, ""),
        (Recorder, BANDIT, ""),
        ("reference", Roles, "reference"),
        (Thinking, Roles, "reference"),
        (Thinking(), Roles, "reference"),
        ("random", Roles, "reactive"),
        ("random", Counting, ""),
        (Recorder, Roles, ""),
    ],
)
def test_the_familys_own_agents_are_known_by_their_role(agent, env_id, role):
    settings = SMALL if env_id == BANDIT else {"course": "single", "episodes": 1, "compiled": False}
    assert evaluate(agent, env_id, lifetimes=2, **settings).role == role


def test_a_trained_agent_says_how_it_came_about():
    agent = Guesser()
    assert evaluate(agent, BANDIT, lifetimes=2, **SMALL).provenance == {}
    agent.provenance = {"seed": 3, "steps": 100, "privileged": False}
    assert evaluate(agent, BANDIT, lifetimes=2, **SMALL).provenance == agent.provenance
    for wrong in ({"seed": object()}, {"seconds": math.nan}, 7):
        agent.provenance = wrong
        with pytest.raises(ValueError, match=r"provenance of agent .* must be a mapping of plain values"):
            evaluate(agent, BANDIT, lifetimes=2, **SMALL)


def test_a_single_lifetime_is_the_first_of_many():
    one, many = (evaluate(Guesser(), BANDIT, lifetimes=count, seed=2, **SMALL) for count in (1, 9))
    assert one.returns.shape == (1, 3) and one.reward.shape == (1,)
    for name in ARRAYS:
        assert np.array_equal(getattr(one, name), getattr(many, name)[:1])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"lifetimes": 0}, "lifetimes must be an integer of at least 1, received 0"),
        ({"lifetimes": True}, "lifetimes"),
        ({"lifetimes": 2.5}, "lifetimes"),
        ({"seed": -1}, "seed must be an integer of at least 0, received -1"),
        ({"num_envs": 0}, "num_envs"),
        ({"memory": "lost"}, "memory must be one of 'kept', 'wiped', received 'lost'"),
        ({"task": "new"}, "task must be one of 'fixed', 'redrawn', received 'new'"),
        ({"split": "dev"}, "split must be one of .*received 'dev'"),
        ({"privileged": True}, "evaluate decides privileged itself"),
        ({"arms": -3}, "arms"),
        ({"course": "upwards"}, "upwards"),
        ({"nonsense": 1}, "nonsense"),
        ({"agent": "nobody"}, "Unknown agent 'nobody'"),
        ({"agent": object()}, "begin"),
        ({"agent": Recorder(), "agent_options": {"c": 1}}, "agent_options"),
        ({"env_id": "daytwo/Nowhere-v0"}, "Nowhere"),
    ],
)
def test_bad_arguments_are_refused_with_what_was_received(wrong, message):
    arguments = {"agent": "random", "env_id": BANDIT, "lifetimes": 2, **wrong}
    with pytest.raises(ValueError, match=message):
        evaluate(**arguments)


@pytest.mark.parametrize(
    "actions, message",
    [
        (np.zeros(3, dtype=np.int64), r"shape \(2,\).*received shape \(3,\)"),
        (np.zeros((2, 1), dtype=np.int64), "shape"),
        (np.zeros(2), "integers.*float64"),
        (np.array([0, 10]), r"0..9.*received 10 at \(1,\)"),
        (np.array([-1, 0]), "received -1"),
        (np.zeros(1, dtype=np.int64), r"shape \(2,\).*received shape \(1,\)"),
        (np.zeros(2, dtype=bool), "integers.*bool"),
        ([np.nan, 0], "integers.*float64"),
        (["0", "1"], "integers"),
        ([[0], [0, 1]], r"integers of shape \(2,\).*received rows of different lengths"),
        (0, r"received shape \(\) of dtype int64"),
        (None, r"received shape \(\) of dtype object"),
    ],
)
def test_bad_actions_are_refused_by_the_agents_name(actions, message):
    class Careless(Recorder):
        name = "careless"

        def act(self, observations, fresh):
            return actions

    with pytest.raises(ValueError, match="Agent 'careless'.*" + message):
        evaluate(Careless(), BANDIT, lifetimes=2, **SMALL)


def test_continuous_actions_are_checked_for_shape_range_and_nan():
    spec = SimpleNamespace(continuous=True, actions=2, env_id="x")
    good = check_actions(np.array([[0.5, -1.0]], dtype=np.float32), spec, 1, "a")
    assert good.dtype == np.float64 and good.tolist() == [[0.5, -1.0]]
    for bad in ([[np.nan, 0.0]], [[1.5, 0.0]], [[np.inf, 0.0]], [0.0, 0.0], [["a", "b"]]):
        with pytest.raises(ValueError, match="Agent 'a'"):
            check_actions(np.array(bad), spec, 1, "a")


@pytest.mark.parametrize(
    "actions, message",
    [
        (np.full((2, 2), np.nan), r"-1..1 on daytwo/Steering-v0, received nan at \(0, 0\)"),
        (np.array([[0.0, 0.0], [0.0, 1.01]]), r"received 1.01 at \(1, 1\)"),
        (np.zeros(2), r"numbers of shape \(2, 2\).*received shape \(2,\)"),
        (np.zeros((1, 2)), r"received shape \(1, 2\)"),
        (np.zeros((2, 2), dtype=complex), "complex128"),
        (None, "dtype object"),
    ],
)
def test_bad_continuous_actions_end_an_evaluation(actions, message):
    class Careless(Recorder):
        name = "careless"

        def act(self, observations, fresh):
            return actions

    with pytest.raises(ValueError, match="Agent 'careless'.*" + message):
        evaluate(Careless(), Steering, lifetimes=2, compiled=False, reference_returns=ReferenceReturns.given(0.0, 3.0))


def test_an_agent_that_breaks_half_way_says_so_itself():
    class Tired(Recorder):
        def act(self, observations, fresh):
            if len(self.seen) == 25:  # in the second episode
                raise ZeroDivisionError("tired")
            return super().act(observations, fresh)

    with pytest.raises(ZeroDivisionError, match="tired"):
        evaluate(Tired(), BANDIT, lifetimes=3, compiled=False, **SMALL)
    assert not kernels.is_interpreted()


def pay_nothing_real(amount):
    """A step in which waiting pays 1 and scoring an amount."""

    def step(settings, task, state, level, stream, i, action):
        state.count[i] += 1
        if action == 1:
            return amount, False
        return 1.0, False

    return step


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("num_envs", [2, 4, None])
def test_rewards_that_are_no_numbers_are_refused_where_they_were_paid(amount, num_envs):
    class Broken(Counting):
        name = "Broken"
        step = staticmethod(pay_nothing_real(amount))

    class Scoring(Recorder):
        """Waits, except in lifetime 5, where it scores from the second episode on."""

        def begin(self, spec, seeds):
            super().begin(spec, seeds)
            self.steps, self.before = 0, sum(map(len, self.batches)) - len(seeds)

        def act(self, observations, fresh):
            self.steps += 1
            lane = np.arange(len(fresh)) + self.before
            return np.where((lane == 5) & (self.steps > 4), 1, 0)

    settings = {"course": "single", "level": 1, "episodes": 3, "split": "all", "compiled": False}
    with pytest.raises(ValueError, match=rf"daytwo/Broken-v0 paid a return of {amount} in episode 1 of lifetime 5 "):
        evaluate(Scoring(), Broken, lifetimes=8, num_envs=num_envs, **settings)
    assert np.isfinite(evaluate(Scoring(), Broken, lifetimes=5, **settings).returns).all()


def test_an_interruption_leaves_nothing_broken():
    class Impatient(Recorder):
        def act(self, observations, fresh):
            if len(self.seen) == 5:
                raise KeyboardInterrupt
            return super().act(observations, fresh)

    agent = Impatient()
    with pytest.raises(KeyboardInterrupt):
        evaluate(agent, BANDIT, lifetimes=3, compiled=False, progress=True, **SMALL)
    assert not kernels.is_interpreted()
    agent.seen.append(None)  # the same agent may go on
    assert evaluate(agent, BANDIT, lifetimes=3, **SMALL).lifetimes == 3


def test_an_unprivileged_agent_gets_no_way_to_the_task():
    class Nosy(Recorder):
        def begin(self, spec, seeds):
            super().begin(spec, seeds)
            self.spec = spec

        def attach(self, env):
            raise AssertionError("attached although not privileged")

    agent = Nosy()
    evaluate(agent, BANDIT, lifetimes=2, **SMALL)
    assert not hasattr(agent.spec, "env") and not hasattr(agent.spec, "task")
