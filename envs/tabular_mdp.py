"""TabularMDP: a small random world of states and actions, learnt in a few episodes and planned in."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer, normal, uniform

KINDS = ("random", "two-step")
# What is known about the tasks beforehand: among the settings, so that learners can read their prior there.
REWARD_MEAN = 1.0  # of the mean rewards, whose standard deviation is 1, as is that of the noise
COMMON = 0.75  # two-step: chance of the common transition
LOW_PAYOFF, HIGH_PAYOFF = 0.1, 0.9  # two-step: chances that the second-stage states pay
# |normal| < 13.8 (its 53 random bits bound the tail), so a mean of 1 with two such draws stays within these bounds.
REWARD_RANGE = (-27.0, 29.0)
# Records have room for at least the standard sizes, so that smaller ones share one compiled loop.
ROOM_STATES, ROOM_ACTIONS, ROOM_HORIZON = 10, 5, 10


@register_jitable
def draw(settings, task, stream, i):
    """Fill row ``i`` of ``task`` with a hidden world."""
    if settings.two_step:
        draw_two_step(settings, task, stream, i)
        return
    states = settings.states
    for s in range(states):
        for a in range(settings.actions):
            task.mean_reward[i, s, a] = settings.reward_mean + normal(stream, i)
            # Sorted, n - 1 uniforms are the cumulative sums of a flat Dirichlet draw of n parts. Bubbling each value
            # through by minimum and maximum keeps the processor from guessing: half the time of an insertion sort.
            row = task.cumulative[i, s, a]
            for k in range(states - 1):
                value = np.float32(uniform(stream, i))
                for j in range(k):
                    other = row[j]
                    row[j] = other if other < value else value
                    value = value if other < value else other
                row[k] = value
            for k in range(states - 1, len(row)):
                row[k] = 1.0


@register_jitable
def draw_two_step(settings, task, stream, i):
    """Fill row ``i`` of ``task`` with one of the four two-step worlds."""
    flipped = integer(stream, i, 2)
    good = 1 + integer(stream, i, 2)
    for a in range(2):
        for k in range(task.cumulative.shape[3]):
            task.cumulative[i, 0, a, k] = 1.0 if k >= 2 else 0.0
            task.cumulative[i, 1, a, k] = 1.0 if k >= 1 else 0.0
            task.cumulative[i, 2, a, k] = 1.0 if k >= 2 else 0.0
        # Action a leads to state 1 + a commonly, or to the other one where flipped.
        task.cumulative[i, 0, a, 1] = settings.common if a == flipped else 1.0 - settings.common
        task.mean_reward[i, 0, a] = 0.0
        task.mean_reward[i, 1, a] = settings.high_payoff if good == 1 else settings.low_payoff
        task.mean_reward[i, 2, a] = settings.high_payoff if good == 2 else settings.low_payoff


@register_jitable
def begin(settings, task, state, level, stream, i):
    """Start an episode in state 0."""
    state.at[i] = 0
    state.before[i] = -1
    state.time[i] = 0
    state.planned[i] = 0
    for t in range(state.plan.shape[1]):
        for s in range(state.plan.shape[2]):
            state.plan[i, t, s] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    """Pay for the action and move on; returns (reward, ended), the horizon being kept by the loop."""
    at = state.at[i]
    mean = float(task.mean_reward[i, at, action])
    if settings.two_step:
        reward = 1.0 if uniform(stream, i) < mean else 0.0
    else:
        reward = mean + normal(stream, i)
    # Shrinking the draw to the level's share of the row restricts and renormalises it, so one table serves all levels.
    last = settings.level_states[level] - 1
    point = np.float32(uniform(stream, i) * task.cumulative[i, at, action, last])
    # Counting over the whole row has no branch to guess; what lies beyond the level is never below the point.
    reached = 0
    for k in range(task.cumulative.shape[3]):
        reached += 1 if task.cumulative[i, at, action, k] <= point else 0
    state.before[i] = at
    state.at[i] = min(reached, last)
    state.time[i] += 1
    return reward, False


@register_jitable
def observe(settings, task, state, level, i, out):
    """Write the present state, one-hot."""
    out[state.at[i]] = 1.0


@register_jitable
def plan(settings, task, state, level, i):
    """Undiscounted finite-horizon value iteration on the true task; fills ``state.plan[i, time, state]``."""
    states = settings.level_states[level]
    last = states - 1
    value = np.zeros(states)
    ahead = np.zeros(states)
    for t in range(settings.horizon - 1, -1, -1):
        # Summed by parts, sum_k p[k] v[k] = v[last] + sum_k C[k] (v[k] - v[k + 1]), straight from the cumulative table.
        for k in range(last):
            ahead[k] = value[k] - value[k + 1]
        rest = value[last]
        for s in range(states):
            best = -math.inf
            for a in range(settings.actions):
                expected = 0.0
                for k in range(last):
                    expected += task.cumulative[i, s, a, k] * ahead[k]
                q = task.mean_reward[i, s, a] + rest
                share = float(task.cumulative[i, s, a, last])
                if share > 0.0:
                    q += expected / share
                if q > best:
                    best = q
                    state.plan[i, t, s] = a
            value[s] = best
    state.planned[i] = 1
    return value[0]


@register_jitable
def oracle(settings, task, state, level, i):
    """The best action, from a plan made at the first question of an episode."""
    if not state.planned[i]:
        plan(settings, task, state, level, i)
    return int(state.plan[i, min(state.time[i], settings.horizon - 1), state.at[i]])


class TabularMDP(TaskFamily):
    """A small random world: rewards and transitions are hidden and stay for a lifetime.

    What it tests:
        Exploration and credit assignment: finding out what actions pay and where they lead, and planning with it.
    Task:
        ``mean_reward[state, action]``: N(1, 1). ``cumulative[state, action, next state]``: the cumulative transition
        probabilities, flat Dirichlet; the chance of next state k is the difference of entries k and k - 1. Records
        have room for 10 states and 5 actions; what lies beyond the settings' sizes is not used.
    Episode:
        ``horizon`` steps (10) from state 0.
    Observation:
        ``state``: the present state, one-hot. The last state of an episode is in ``final_observation``, shown by
        default, since the last transition would be lost otherwise.
    Action:
        ``Discrete(actions)``, 5 of them; all have an effect in every state.
    Reward:
        The mean reward of the state and action, plus N(0, 1).
    Levels:
        The first 3, 6 and 10 states of the same task (those numbers below ``states``, then ``states``), transitions
        restricted to them and renormalised. A level keeps the rewards and the odds between the states it shares with
        the next, so what was learnt in the small world holds in the large one.
    Oracle:
        Undiscounted finite-horizon value iteration on the true task: 21.85 on average at the top level (10 states, 5
        actions, 10 steps), where acting at random makes 10.
    Reference learner:
        ``psrl``: posterior sampling (Strens 2000; Osband et al. 2013) with the right prior. On a fresh task it starts
        at 0 and reaches .72, .62 and .50 of the oracle in the tenth episode at the three levels. Ten episodes are too
        few for .9 under this much noise; acting greedily on the posterior mean is faster at first (.80, .73, .66) and
        comes to a halt lower.
    Two-step task:
        ``kind="two-step"`` is the two-stage task of Daw et al. 2011 in the form given by Wang et al. 2016: 3 states, 2
        actions, 2 steps. In state 0 each action leads to its own second-stage state with probability .75 (the common
        transition) and to the other one with .25; there either action pays 1, with probability .9 in one of the two
        states and .1 in the other, else 0. So the first-stage actions are worth .70 and .30. Hidden, 4 tasks in all:
        which second-stage state is good, and which action commonly leads where. One trial is one episode, and a stage
        has 100 by default; payoffs stay for the lifetime, and ``course="switch"`` redraws them unannounced half-way.
        One level.
    Source:
        Duan et al. 2016 (RL2, arXiv 1611.02779), section 3.2; Wang et al. 2016 (arXiv 1611.05763) and Daw et al. 2011
        (Neuron 69) for the two-step task. The levels are ours.
    """

    name = "TabularMDP"
    tags = ("exploration", "credit-assignment")
    reference = "psrl"
    reactive = "win-stay"
    harder = {"horizon": 5}
    show = ("previous_action", "previous_reward", "episode_start", "time", "level", "final_observation")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)

    def __init__(
        self, *, states: int | None = None, actions: int | None = None, horizon: int | None = None, kind: str = "random"
    ) -> None:
        """Set the size.

        Args:
            states: how many states at the top level, 2 to 100; 10 by default, fixed at 3 for ``two-step``.
            actions: how many actions, 2 to 100; 5 by default, fixed at 2 for ``two-step``.
            horizon: steps of an episode, 1 to 1000; 10 by default, fixed at 2 for ``two-step``.
            kind: ``random`` or ``two-step``.

        Raises:
            ValueError: a value out of range, or one that ``two-step`` does not have.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}; received {kind!r}.")
        two_step = kind == "two-step"
        sizes = {
            "states": (states, 10, 3, 2, 100),
            "actions": (actions, 5, 2, 2, 100),
            "horizon": (horizon, 10, 2, 1, 1000),
        }
        chosen = {}
        for name, (value, standard, fixed, low, high) in sizes.items():
            value = (fixed if two_step else standard) if value is None else value
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer in {low}..{high}, received {value!r}.")
            if two_step and value != fixed:
                raise ValueError(f"kind='two-step' has {name}={fixed}, received {name}={value!r}.")
            chosen[name] = int(value)
        states, actions, horizon = chosen["states"], chosen["actions"], chosen["horizon"]
        level_states = [states] if two_step else [size for size in (3, 6) if size < states] + [states]
        if two_step:
            self.episodes = 100
        room = (max(states, ROOM_STATES), max(actions, ROOM_ACTIONS))
        super().__init__(
            keywords={**chosen, "kind": kind},
            settings={
                "states": states,
                "actions": actions,
                "horizon": horizon,
                "two_step": two_step,
                "reward_mean": REWARD_MEAN,
                "common": COMMON,
                "low_payoff": LOW_PAYOFF,
                "high_payoff": HIGH_PAYOFF,
                # Padded, because the compiled loop is made anew where array lengths change.
                "level_states": level_states + [states] * (3 - len(level_states)),
            },
            task=[("mean_reward", "f4", room), ("cumulative", "f4", (*room, room[0]))],
            state=[
                ("at", "i4"),
                ("before", "i4"),  # the state before this one, -1 when an episode begins: for pictures
                ("time", "i4"),
                ("planned", "u1"),
                ("plan", "u1", (max(horizon, ROOM_HORIZON), room[0])),
            ],
            levels=[Level("two-step" if two_step else f"{size} states", horizon) for size in level_states],
            actions=spaces.Discrete(actions),
            fields=[Field("state", states)],
            reward_range=(0.0, 1.0) if two_step else REWARD_RANGE,
            distinct_tasks=4 if two_step else None,
            action_names=[f"action {a}" for a in range(actions)],
        )

    def transition_probabilities(self, task: np.record, level: int) -> np.ndarray:
        """The true transition probabilities of a level, ``float64[states, actions, states]``.

        Args:
            task: one hidden task (``np.record``).
            level: index of the level.
        """
        states = int(self.settings.level_states[0][level])
        cumulative = np.asarray(task["cumulative"], dtype=np.float64)[:states, : self.actions, :states].copy()
        # Where a row gives the level's states no chance at all, the last of them is reached, as in `step`.
        cumulative[:, :, -1][cumulative[:, :, -1] == 0.0] = 1.0
        return np.diff(cumulative, axis=2, prepend=0.0) / cumulative[:, :, -1:]

    def make_task(self, mean_reward: np.ndarray, transitions: np.ndarray) -> np.ndarray:
        """A world of your own, for ``set_tasks`` or ``reset(options={"task": ...})``.

        Args:
            mean_reward: ``[states, actions]``; for ``two-step`` the chance that a step pays 1.
            transitions: ``[states, actions, states]``, probabilities that sum to 1 over the last axis.

        Returns:
            A structured array of one row.

        Raises:
            ValueError: wrong shapes, numbers that are not finite, or rows that are no probabilities.
        """
        states, actions = self.keywords["states"], self.actions
        means, chances = np.asarray(mean_reward, dtype=np.float64), np.asarray(transitions, dtype=np.float64)
        if means.shape != (states, actions) or chances.shape != (states, actions, states):
            raise ValueError(
                f"Expected mean_reward of shape {(states, actions)} and transitions of shape "
                f"{(states, actions, states)}, received {means.shape} and {chances.shape}."
            )
        if not np.isfinite(means).all() or not (chances >= 0).all() or not np.allclose(chances.sum(axis=2), 1.0):
            raise ValueError("mean_reward must be finite, and every row of transitions at least 0 with the sum 1.")
        task = np.zeros(1, dtype=self.task_dtype)
        task["mean_reward"][0, :states, :actions] = means
        task["cumulative"][0] = 1.0
        task["cumulative"][0, :states, :actions, :states] = np.minimum(np.cumsum(chances, axis=2), 1.0)
        task["cumulative"][0, :states, :actions, states - 1] = 1.0
        return task

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of ``task_to_dict``.

        Raises:
            ValueError: as for every family, and where ``cumulative`` is not one: rows must rise from 0 to 1.
        """
        task = super().task_from_dict(values)
        states = self.keywords["states"]
        rows = task["cumulative"][0, :states, : self.actions]
        if (rows < 0).any() or (np.diff(rows, axis=2) < 0).any() or (rows[:, :, states - 1 :] != 1).any():
            raise ValueError(
                "Task field 'cumulative' must hold cumulative probabilities: rows that never fall, none below 0, and 1 "
                f"from entry {states - 1} on."
            )
        return task

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words."""
        if self.keywords["kind"] == "two-step":
            return (
                "A trial has two steps. In state 0 you choose between two actions: each leads mostly to one of the "
                "states 1 and 2, sometimes to the other. There either action ends the trial and pays 1 or 0; one "
                "of the two states pays far more often. Which one, and which action mostly leads where, you have to "
                "find out; it stays the same in the next trials."
            )
        states = int(self.settings.level_states[0][level])
        return (
            f"A world of {states} states, numbered from 0, and {self.actions} actions. What an action pays on average, "
            "and how likely it leads to which state, depends on the state you are in; both are hidden and stay the "
            "same in the next episodes. Single payments vary around their average by about 1 either way. "
            f"An episode starts in state 0 and lasts {self.keywords['horizon']} steps; make the sum of payments large."
        )

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """Which state this is, in plain words."""
        if not np.any(values):
            return "no state"
        return f"You are in state {int(np.argmax(values))}"

    def describe_action(self, action: int) -> str:
        """An action in plain words."""
        return f"action {int(action)}"

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: actions and states."""
        return Vocabulary(
            (
                Symbols("action", tuple(map(str, range(self.actions))), r"\baction NAME\b"),
                Symbols("state", tuple(map(str, range(self.keywords["states"]))), r"\bstate NAME\b"),
            ),
            rewrites=((r", numbered from 0, and", " and"), (r"one of the states 1 and 2", "state 1 or state 2")),
        )

    def best_action(self, scene: Scene) -> int | None:
        """The oracle's action at a scene, or None once the episode is over."""
        if int(scene.state["time"]) >= self.keywords["horizon"]:
            return None
        task = np.zeros(1, dtype=self.task_dtype).view(np.recarray)
        state = np.zeros(1, dtype=self.state_dtype).view(np.recarray)
        task[0] = scene.task
        state[0] = scene.state
        state.planned[0] = 0
        return int(oracle(self.settings[0], task, state, scene.level, 0))

    def render_ansi(self, scene: Scene) -> str:
        """The states in a row, the present one in brackets, and what the last action paid."""
        states = int(self.settings.level_states[0][scene.level])
        at = int(scene.state["at"])
        lines = [
            f"TabularMDP  {states} states  step {scene.time} of {self.keywords['horizon']}  return {scene.total:.2f}",
            "states  " + " ".join(f"[{s}]" if s == at else f" {s} " for s in range(states)),
            "last    " + (f"action {int(scene.action)} paid {scene.reward:.2f}" if scene.action is not None else "-"),
        ]
        if scene.reveal:
            best = self.best_action(scene)
            lines.append("best    " + (f"action {best}" if best is not None else "-"))
        return "\n".join(lines)

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The states as a ring, the present one in blue, and the last move as an arrow."""
        from daytwo.pictures import Canvas

        states = int(self.settings.level_states[0][scene.level])
        at, before = int(scene.state["at"]), int(scene.state["before"])
        canvas = Canvas(480, 480)
        canvas.text(
            12,
            8,
            f"TabularMDP: {states} states, step {scene.time} of {self.keywords['horizon']}, return {scene.total:.2f}",
        )
        if scene.action is not None:
            canvas.text(12, 30, f"action {int(scene.action)} paid {scene.reward:.2f}", colour="dark")
        radius = min(26.0, 170.0 * math.sin(math.pi / states) * 0.8)
        angles = [2.0 * math.pi * s / states - math.pi / 2.0 for s in range(states)]
        places = [(240.0 + 170.0 * math.cos(angle), 270.0 + 170.0 * math.sin(angle)) for angle in angles]
        for s, (x, y) in enumerate(places):
            here = s == at
            canvas.circle(x, y, radius, fill="agent" if here else "light", outline="ink", width=2)
            canvas.text(x, y, str(s), colour="paper" if here else "ink", size=max(8, int(radius * 0.7)), anchor="mm")
        if before == at:
            x, y = places[at]
            canvas.circle(x, y, radius + 5.0, outline="agent", width=2)
        elif before >= 0:
            (x0, y0), (x1, y1) = places[before], places[at]
            share = (radius + 3.0) / math.hypot(x1 - x0, y1 - y0)
            across, down = share * (x1 - x0), share * (y1 - y0)
            canvas.arrow(x0 + across, y0 + down, x1 - across, y1 - down, colour="agent", width=3, head=12)
        if scene.reveal:
            best = self.best_action(scene)
            if best is not None:
                canvas.text(240, 262, f"best: action {best}", colour="goal", size=18, anchor="ma")
        return canvas.array()
