"""The wrappers `Lifetime` and `ImprovementReward`, held to environments that can be counted on fingers."""

import itertools
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from daytwo.improvement import ImprovementRule
from daytwo.integrations.lifetime_wrappers import ImprovementReward, Lifetime


class Walk(gymnasium.Env):
    """Three steps an episode (or two, where action 2 gives up); pays the action times the hidden ``worth``."""

    def __init__(self, truncates: bool = False, worth: float = 1.0) -> None:
        self.observation_space = spaces.Box(-1000.0, 1000.0, shape=(2,), dtype=np.float32)
        self.action_space = spaces.Discrete(3)
        self.truncates, self.worth = truncates, worth

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.worth = (options or {}).get("worth", self.worth)
        self.count, self.start = 0, float(self.np_random.integers(100))
        return self._see(), {"begun": True}

    def _see(self):
        return np.array([self.start, self.count], dtype=np.float32)

    def step(self, action):
        self.count += 1
        over = self.count == 3 or action == 2
        return self._see(), action * self.worth, over and not self.truncates, over and self.truncates, {}


class Slide(Walk):
    """Walk with a continuous action of two numbers, which pays their sum."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(-2.0, 3.0, shape=(2,), dtype=np.float32)

    def step(self, action):
        return super().step(float(np.sum(action)))


def bar_free(env, **options):
    """`ImprovementReward` with an anchor, for which nothing is warned of."""
    return ImprovementReward(env, **{"anchor": 0.0, **options})


def live(env, actions, **reset):
    """All that a lifetime returns: ``[(observation, reward, terminated, truncated, info), ...]``."""
    observation, info = env.reset(**reset)
    steps = [(observation, None, False, False, info)]
    for action in actions:
        steps.append(env.step(action))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


# --- Lifetime --------------------------------------------------------------------------------------------------------


def test_a_lifetime_is_the_episodes_that_one_steps_by_hand():
    actions = [1, 0, 1, 1, 2, 0, 1, 1, 1]
    steps = live(Lifetime(Walk(), episodes=3), actions, seed=5)
    hand = Walk()
    observation, _ = hand.reset(seed=5)
    expected = [np.array([*observation, 0, 0, 0, 0, 1])]
    for action in actions[:8]:
        observation, reward, over, _, _ = hand.step(action)
        begins = over and len(expected) < 8
        if begins:
            observation, _ = hand.reset()
        expected.append(np.array([*observation, *np.eye(3)[action], reward, begins]))
    assert len(steps) == len(expected) == 9
    for step, row in zip(steps, expected, strict=True):
        np.testing.assert_array_equal(step[0], row.astype(np.float32))
    assert [step[2] for step in steps] == [False] * 8 + [True]
    ends = [step[4] for step in steps if "episode_return" in step[4]]
    told = [(info["episode_index"], info["episode_return"], info["episode_length"]) for info in ends]
    assert told == [(0, 2.0, 3), (1, 3.0, 2), (2, 2.0, 3)]


def test_a_truncated_episode_ends_no_lifetime():
    steps = live(Lifetime(Walk(truncates=True), episodes=2), [0] * 6, seed=0)
    assert [step[2] for step in steps] == [False] * 6 + [True]
    assert not any(step[3] for step in steps)


def test_options_of_reset_hold_for_every_episode():
    env = Lifetime(Walk(), episodes=3)
    steps = live(env, [1] * 9, seed=0, options={"worth": 7.0})
    assert [step[1] for step in steps[1:]] == [7.0] * 9


def test_a_new_task_is_drawn_once_a_lifetime_and_by_the_seed():
    def new_task(env, generator):
        env.worth = float(generator.integers(1, 1_000_000))

    env = Lifetime(Walk(), episodes=3, new_task=new_task)
    lives = [[step[1] for step in live(env, [1] * 9, seed=seed)[1:]] for seed in (3, None, 3, 4)]
    assert all(len(set(one)) == 1 for one in lives), "the task changed within a lifetime"
    assert lives[0] == lives[2] and len({one[0] for one in lives}) == 3


def test_extras_are_named_and_bounded():
    env = Lifetime(Slide(), episodes=2, show=("time", "episode", "previous_action"), horizon=3)
    assert list(env.layout) == ["observation", "previous_action", "time", "episode"]
    rows = [step[0] for step in live(env, [np.array([0.5, -1.0], np.float32)] * 6, seed=0)]
    assert [float(row[env.layout["time"]][0]) for row in rows] == pytest.approx([0, 1 / 3, 2 / 3, 0, 1 / 3, 2 / 3, 1])
    assert [float(row[env.layout["episode"]][0]) for row in rows] == [0, 0, 0, 0.5, 0.5, 0.5, 1]
    assert rows[0][env.layout["previous_action"]].tolist() == [0, 0]
    assert rows[1][env.layout["previous_action"]].tolist() == [0.5, -1.0]
    assert all(row in env.observation_space for row in rows)


def test_a_finished_lifetime_takes_no_more_steps():
    env = Lifetime(Walk(), episodes=1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    live(env, [0] * 3, seed=0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"episodes": 0}, "episodes must be an integer"),
        ({"show": "time"}, "sequence of some of"),
        ({"show": ("level",)}, "sequence of some of"),
        ({"show": ("time",)}, "needs horizon="),
        ({"horizon": 0}, "horizon must be an integer"),
        ({"new_task": 3}, "new_task must be a function"),
    ],
)
def test_bad_input_is_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        Lifetime(Walk(), **arguments)


# --- ImprovementReward -----------------------------------------------------------------------------------------------


def paid_by_episode(env, episodes, **reset):
    """The rewards of each episode, given its actions; and the infos of the ends."""
    paid, ends = [], []
    for k, actions in enumerate(episodes):
        steps = live(env, actions, **(reset if k == 0 else {}))
        paid.append([step[1] for step in steps[1:]])
        ends.append(steps[-1][4])
    return paid, ends


def test_the_bar_and_the_payment_by_hand():
    env = ImprovementReward(Walk(), anchor=1.0, scale=2.0, rate=0.5)
    paid, ends = paid_by_episode(env, [[1, 1, 1], [0, 0, 0], [0, 2]], seed=0)
    # g = 1, -.5, .5 against bars of 0, .5, 0.
    assert paid == [[0.0, 0.5, 0.5], [-1.0, 0.0, 0.0], [-0.5, 1.0]]
    assert [end["episode_normalized_return"] for end in ends] == [1.0, -0.5, 0.5]
    assert [end["bar"] for end in ends] == [0.0, 0.5, 0.0]
    assert [end["improvement"] for end in ends] == [1.0, -1.0, 0.5]
    assert [end["episode_return"] for end in ends] == [3.0, 0.0, 2.0]
    assert [end["episode_index"] for end in ends] == [0, 1, 2]
    assert env.bar == 0.25


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_it_pays_what_the_rule_of_the_suite_pays(rate, dense):
    generator = np.random.default_rng(0)
    episodes = [generator.integers(0, 2, 3).tolist() for _ in range(6)]
    env = ImprovementReward(Walk(), anchor=0.7, scale=1.3, rate=rate, dense=dense)
    paid, _ = paid_by_episode(env, episodes)
    g = [(sum(actions) - 0.7) / 1.3 for actions in episodes]
    assert [sum(one) for one in paid] == pytest.approx(ImprovementRule("improvement", rate).pay(g))
    if not dense:
        assert all(one[:2] == [0.0, 0.0] for one in paid)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.6, 1.0])
def test_playing_an_episode_badly_never_pays(rate):
    """The weight of each episode's return in the sum over K of them is (1 - rate) ** (K - j), and never negative."""
    count, scale = 5, 2.0

    def total(actions):
        paid, _ = paid_by_episode(ImprovementReward(Walk(), anchor=1.0, scale=scale, rate=rate), actions)
        return sum(map(sum, paid))

    base = [[0, 0, 0]] * count
    for j in range(count):
        better = [*base]
        better[j] = [0, 1, 0]
        weight = (total(better) - total(base)) * scale
        assert weight == pytest.approx((1 - rate) ** (count - 1 - j), abs=1e-12)
        assert weight >= -1e-12
    # Over every way of playing three episodes, the best is to do one's best in each.
    choices = [[0, 0, 0], [0, 1, 0], [1, 1, 1]]
    totals = {plan: total([choices[k] for k in plan]) for plan in itertools.product(range(3), repeat=3)}
    assert totals[(2, 2, 2)] == pytest.approx(max(totals.values()))


def test_a_seed_begins_a_new_past_and_none_goes_on():
    env = bar_free(Walk(), rate=0.5)
    paid_by_episode(env, [[1, 1, 1]], seed=0)
    assert env.bar == 1.5
    env.reset()
    assert env.bar == 1.5
    env.reset(seed=0)
    assert env.bar == 0.0


def test_an_episode_given_up_moves_no_bar():
    env = bar_free(Walk(), rate=0.5)
    env.reset(seed=0)
    env.step(1)
    env.reset()
    assert env.bar == 0.0
    assert [step[4]["episode_return"] for step in live(env, [1, 1, 1])[3:]] == [3.0]


def test_it_warns_where_no_anchor_is_given():
    with pytest.warns(UserWarning, match="no anchor: the bar starts at a raw return of 0"):
        env = ImprovementReward(Walk())
    assert (env.anchor, env.scale) == (0.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImprovementReward(Walk(), anchor=0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"anchor": float("nan")}, "anchor must be a number"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"scale": -1.0}, "scale must be a number"),
        ({"rate": 1.5}, "rate must be a number"),
        ({"dense": 1}, "dense must be True or False"),
    ],
)
def test_a_bad_rule_is_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words):
        bar_free(Walk(), **arguments)


# --- together --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["inside", "around"])
def test_they_compose_in_either_order(order):
    rule = {"anchor": 1.0, "scale": 2.0, "rate": 0.5}
    if order == "inside":
        env = Lifetime(ImprovementReward(Walk(), **rule), episodes=2)
        layout = env.layout
    else:
        env = ImprovementReward(Lifetime(Walk(), episodes=2), **rule)
        layout = env.env.layout
    for seed in (0, None, None):  # each lifetime begins at the anchor
        steps = live(env, [1, 1, 1, 0, 0, 0], seed=seed)
        assert [step[1] for step in steps[1:]] == [0.0, 0.5, 0.5, -1.0, 0.0, 0.0]
        ends = [step[4] for step in steps if "episode_return" in step[4]]
        assert [(end["episode_return"], end["improvement"], end["bar"]) for end in ends] == [(3, 1, 0), (0, -1, 0.5)]
        # The agent sees the raw reward, and never the bar.
        assert [float(step[0][layout["previous_reward"]][0]) for step in steps] == [0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Lifetime(Walk(), episodes=3),
        lambda: Lifetime(Slide(), show=("previous_action", "time"), horizon=3),
        lambda: bar_free(Walk()),
        lambda: Lifetime(bar_free(Walk()), episodes=2),
        lambda: bar_free(Lifetime(Walk(), episodes=2)),
    ],
)
def test_the_checker_finds_nothing(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version")
        warnings.filterwarnings("ignore", message=".*Box observation space m.* value is .*infinity")
        warnings.filterwarnings("ignore", message=".*For Box action spaces, we recommend")
        check_env(make(), skip_render_check=True)
    pickle.loads(pickle.dumps(make().reset(seed=0)))


def test_they_wrap_what_gymnasium_makes():
    env = Lifetime(ImprovementReward(gymnasium.make("FrozenLake-v1", is_slippery=False), anchor=0.0), episodes=3)
    steps = live(env, itertools.cycle([2, 2, 1, 1, 1, 2]), seed=0)
    assert steps[-1][4]["episode_index"] == 2
    assert [step[1] for step in steps if "episode_return" in step[4]] == pytest.approx([1.0, 1.0, 1.0])
    again = gymnasium.make(env.spec)
    assert isinstance(again, Lifetime) and again.episodes == 3
