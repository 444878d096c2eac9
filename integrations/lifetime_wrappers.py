"""Two ordinary Gymnasium wrappers for code that wants lifetimes but no task family.

    env = Lifetime(gymnasium.make("FrozenLake-v1"), episodes=10)
    env = ImprovementReward(gymnasium.make("CartPole-v1"), anchor=22.0, scale=478.0)

`Lifetime` makes one episode of several, with the observation of RL2 (Duan et al. 2016, arXiv 1611.02779, section 2.2).
`ImprovementReward` pays an environment's episodes by how far each beats a bar that follows the ones before. They
compose, in either order: the bar is back at its start when a lifetime begins.
"""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from daytwo.checks import check_integer, check_number
from daytwo.improvement import ImprovementRule

EXTRAS = ("previous_action", "previous_reward", "episode_start", "time", "episode")
_TASK_DOMAIN = 1  # keeps the task's random numbers apart from the environment's of the same seed


def _wrappers_of(env: Any) -> list[Any]:
    """The wrappers around an environment, the outermost first."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(env)
        env = env.env
    return found


class Lifetime(gymnasium.Wrapper, RecordConstructorArgs):
    """Several episodes of an environment as one.

    A new episode begins inside the step that ends the one before, so no action is ever lost: the observation
    returned is then the new episode's first one, beside the last action and what it paid. ``terminated`` is true at the
    end of the last episode only, ``truncated`` never: a time limit of the environment ends an episode and not the
    lifetime.

    Observation: ``Box(float32)`` of the environment's own, flattened, followed by the extras in `show`; ``layout`` maps
    ``observation`` and each extra to its slice. Action and reward are the environment's.

    ``info`` is the environment's own, with ``raw_reward`` (what the environment paid; an `ImprovementReward` inside
    says so), and, when an episode has just ended, ``episode_return`` (raw), ``episode_index`` (counted from 0) and
    ``episode_length``.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        episodes: int = 10,
        *,
        new_task: Callable[[gymnasium.Env, np.random.Generator], Any] | None = None,
        show: Sequence[str] = ("previous_action", "previous_reward", "episode_start"),
        horizon: int | None = None,
    ) -> None:
        """Wrap an environment.

        The hidden task of a lifetime is given in one of two ways: by `new_task`, or by ``reset(options=...)``, whose
        options are passed on at the start of each of the lifetime's episodes. With neither, each episode is whatever
        the environment's ``reset`` draws.

        Args:
            env: any environment whose observations ``gymnasium.spaces.flatten`` makes vectors of.
            episodes: how many make a lifetime, at least 1.
            new_task: ``new_task(env, generator)`` draws a new hidden task from the generator and gives it to ``env``
                (without wrappers); called once per lifetime, before its first episode. The task must survive the
                environment's ``reset``.
            show: some of ``previous_action`` (one-hot, or raw), ``previous_reward`` (raw), ``episode_start`` (1 on an
                episode's first observation), ``time`` (steps in this episode / horizon) and ``episode`` (index /
                `episodes`).
            horizon: the most steps of an episode, for ``time``; by default the environment's own limit.

        Raises:
            ValueError: a value is out of range, or a space cannot be flattened.
        """
        RecordConstructorArgs.__init__(self, episodes=episodes, new_task=new_task, show=show, horizon=horizon)
        gymnasium.Wrapper.__init__(self, env)
        self.episodes = check_integer("episodes", episodes, 1, 1_000_000_000)
        if new_task is not None and not callable(new_task):
            raise ValueError(f"new_task must be a function of (env, generator), received {new_task!r}.")
        if isinstance(show, str) or not all(name in EXTRAS for name in show):
            raise ValueError(f"show must be a sequence of some of {', '.join(EXTRAS)}; received {show!r}.")
        if horizon is None and "time" in show:
            horizon = None if env.spec is None else env.spec.max_episode_steps
            if horizon is None:
                raise ValueError("show: 'time' needs horizon=, since the environment says no max_episode_steps.")
        self._horizon = None if horizon is None else check_integer("horizon", horizon, 1, 1_000_000_000)
        self._new_task = new_task
        self._improvement_inside = any(isinstance(one, ImprovementReward) for one in _wrappers_of(env))
        own, actions = _flat_box(env.observation_space, "observations"), _flat_box(env.action_space, "actions")
        # The first action of a lifetime has none before it, and shows zeros.
        bounds = {
            "previous_action": (np.minimum(actions.low.ravel(), 0), np.maximum(actions.high.ravel(), 0)),
            "previous_reward": (np.array([-np.inf]), np.array([np.inf])),
            "episode_start": (np.zeros(1), np.ones(1)),
            "time": (np.zeros(1), np.ones(1)),
            "episode": (np.zeros(1), np.ones(1)),
        }
        parts = {"observation": (own.low.ravel(), own.high.ravel())}
        parts |= {name: bounds[name] for name in EXTRAS if name in show}
        self.layout: dict[str, slice] = {}
        at = 0
        for name, (low, _) in parts.items():
            self.layout[name] = slice(at, at + len(low))
            at += len(low)
        low, high = (np.concatenate([pair[k] for pair in parts.values()]).astype(np.float32) for k in (0, 1))
        self._size = at
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self._no_action = np.zeros(len(bounds["previous_action"][0]), dtype=np.float32)
        self._generator: np.random.Generator | None = None
        self._options: dict[str, Any] | None = None
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a lifetime.

        Args:
            seed: of everything random in the coming lifetimes, or None to go on.
            options: the environment's own, passed on at the start of every episode of this lifetime.
        """
        if seed is not None:
            self._generator = np.random.default_rng([seed, _TASK_DOMAIN])
        elif self._generator is None:
            self._generator = np.random.default_rng()
        self._options = options
        for wrapper in _wrappers_of(self.env):
            if isinstance(wrapper, ImprovementReward):
                wrapper.forget()
        if self._new_task is not None:
            self._new_task(self.env.unwrapped, self._generator)
        observation, info = self._reset_inside(seed)
        self._index, self._over = 0, False
        self._begin_episode()
        return self._row(observation, self._no_action, 0.0, True), {**info, "raw_reward": 0.0}

    def _reset_inside(self, seed: int | None) -> tuple[Any, dict[str, Any]]:
        options = None if self._options is None else dict(self._options)
        return self.env.reset(seed=seed, options=options)

    def _begin_episode(self) -> None:
        self._time, self._total = 0, 0.0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step, and where it ends an episode that is not the last, begin the next one.

        Raises:
            gymnasium.error.ResetNeeded: before `reset`, or after the lifetime is over.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("The lifetime has not begun or is over: call reset().")
        observation, reward, terminated, truncated, told = self.env.step(action)
        info = dict(told)
        raw = float(info["raw_reward"] if self._improvement_inside else reward)
        info["raw_reward"] = raw
        self._time += 1
        self._total += raw
        ended = bool(terminated or truncated)
        if ended:
            info["episode_return"] = self._total
            info["episode_index"] = self._index
            info["episode_length"] = self._time
            self._index += 1
            self._over = self._index >= self.episodes
        begins = ended and not self._over
        if begins:
            observation, _ = self._reset_inside(None)
            self._begin_episode()
        shown = np.asarray(spaces.flatten(self.env.action_space, action), dtype=np.float32).ravel()
        return self._row(observation, shown, raw, begins), float(reward), self._over, False, info

    def _row(self, observation: Any, action: np.ndarray, reward: float, begins: bool) -> np.ndarray:
        layout = self.layout
        row = np.zeros(self._size, dtype=np.float32)
        row[layout["observation"]] = np.asarray(spaces.flatten(self.env.observation_space, observation)).ravel()
        if "previous_action" in layout:
            row[layout["previous_action"]] = action
        if "previous_reward" in layout:
            row[layout["previous_reward"]] = reward
        if "episode_start" in layout:
            row[layout["episode_start"]] = begins
        if "time" in layout:
            assert self._horizon is not None
            row[layout["time"]] = min(self._time / self._horizon, 1.0)
        if "episode" in layout:
            row[layout["episode"]] = self._index / self.episodes
        return row


def _flat_box(space: spaces.Space, what: str) -> spaces.Box:
    flat: Any = None
    with contextlib.suppress(NotImplementedError):
        flat = spaces.flatten_space(space)
    if not isinstance(flat, spaces.Box):
        raise ValueError(f"Lifetime needs {what} that gymnasium.spaces.flatten makes a vector of, received {space}.")
    return flat


class ImprovementReward(gymnasium.Wrapper, RecordConstructorArgs):
    """Any environment, episode after episode, paid by improvement over its own past.

    An episode of raw return G counts as ``g = (G - anchor) / scale``. It is paid ``g - bar``, and then the bar moves:
    ``bar = (1 - rate) * bar + rate * g``. The bar starts at 0, that is at the anchor. In the undiscounted sum over K
    episodes the weight of g_j is ``(1 - rate) ** (K - j)``, which is never negative: no agent gains by playing an
    episode badly. A bar that started at the agent's own first episode would break that.

    Each step pays ``reward / scale``, and an episode's first step besides ``- bar - anchor / scale``, so that an
    episode sums to exactly ``g - bar``; with ``dense=False`` all of it is paid on the last step. An episode that is
    given up by calling ``reset`` before its end moves no bar, and the steps taken are paid as they were.

    The bar goes on from episode to episode. It is back at 0 after ``reset(seed=...)``, which begins everything
    anew, and after `forget`. Around or inside a `Lifetime` it follows the lifetime's episodes, and each lifetime begins
    at 0.

    ``info`` is the environment's own, with ``raw_reward`` and ``bar`` (the one to beat), and at an episode's end
    ``episode_return`` (raw), ``episode_normalized_return`` (g), ``improvement`` and ``episode_index``.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        *,
        anchor: float | None = None,
        scale: float = 1.0,
        rate: float = 0.25,
        dense: bool = True,
    ) -> None:
        """Wrap an environment.

        Args:
            env: any environment.
            anchor: raw episode return at which the bar starts; the mean return of the random policy is a good one.
                Without one it is 0, and a warning says what that means.
            scale: how much raw return counts as 1, above 0; the distance from the anchor to a good policy's return.
            rate: how far the bar moves towards each episode's return, in [0, 1].
            dense: pay on every step, or all on an episode's last step.

        Raises:
            ValueError: a value is out of range.
        """
        RecordConstructorArgs.__init__(self, anchor=anchor, scale=scale, rate=rate, dense=dense)
        gymnasium.Wrapper.__init__(self, env)
        if anchor is None:
            warnings.warn(
                "ImprovementReward was given no anchor: the bar starts at a raw return of 0. Where random play returns "
                "less than that, early episodes are paid negatively; where it returns more, they are paid for nothing "
                "learnt. (The first episode itself cannot be the bar: failing it on purpose would pay.) Pass anchor=, "
                "e.g. the mean return of the random policy.",
                stacklevel=2,
            )
            anchor = 0.0
        limit = float(np.finfo(np.float64).max)
        self.anchor = check_number("anchor", anchor, -limit, limit)
        self.scale = check_number("scale", scale, 0.0, limit)
        if self.scale == 0.0:
            raise ValueError("scale must be above 0, received 0.")
        self.rule = ImprovementRule("improvement", rate, dense)
        self._of_lifetime = any(isinstance(wrapper, Lifetime) for wrapper in _wrappers_of(env))
        self.forget()

    def forget(self) -> None:
        """Begin a new past: the bar is back at 0."""
        self.bar, self._index = 0.0, 0
        self._begin_episode()

    def _begin_episode(self) -> None:
        self._first, self._total = True, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; with a seed, or around a `Lifetime`, begin a new past, too."""
        if seed is not None or self._of_lifetime:
            self.forget()
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin_episode()
        return observation, {**info, "raw_reward": 0.0, "bar": self.bar}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; see the class for what it pays."""
        observation, reward, terminated, truncated, told = self.env.step(action)
        info = dict(told)
        raw = float(reward)
        self._total += raw
        ended = ("episode_return" in info) if self._of_lifetime else bool(terminated or truncated)
        paid = raw / self.scale if self.rule.dense else 0.0
        if self._first and self.rule.dense:
            paid -= self.bar + self.anchor / self.scale
        self._first = False
        info["raw_reward"], info["bar"] = raw, self.bar
        if ended:
            g = (self._total - self.anchor) / self.scale
            info["episode_return"], info["episode_normalized_return"] = self._total, g
            info["improvement"], info["episode_index"] = g - self.bar, self._index
            if not self.rule.dense:
                paid = g - self.bar
            self.bar = (1.0 - self.rule.rate) * self.bar + self.rule.rate * g
            self._index += 1
            self._begin_episode()
        return observation, paid, bool(terminated), bool(truncated), info


__all__ = ["EXTRAS", "ImprovementReward", "Lifetime"]
