"""`check_family`: what every task family must keep to, checked by running it.

    report = daytwo.conformance.check_family(MyFamily)
    print(report)

Every check says what it saw and what is likely to have caused it. The family's functions run as ordinary Python first:
a mistake there ends in an exception and not in a crash of compiled code.
"""

import json
import statistics
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env

from daytwo.agent import make_agent
from daytwo.calibration import ReferenceReturns
from daytwo.family import FEWEST_TASKS_TO_SPLIT, Scene, TaskFamily
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.registration import make_family
from daytwo.streams import lifetime_seeds

WIDTH = 100
LANES = 6
LOOKS = 5  # moments at which the functions that only look are called again
SHORT = 60  # steps of the runs that are compared bit by bit
FEWEST_LEVELS = 3
FEWEST_LIFETIMES = 32
MOST_STEPS = 20_000
INTERPRETED_LIFETIMES = 64  # whole episodes of all lifetimes would take long as ordinary Python
MOST_ENTRIES = 24  # of one array field that the probes try to predict
ORACLE_SECONDS = 5.0
FALSE_ALARM = 1e-4  # of the probes, over all of them
RIDGE = 1.0
RARE = 0.1  # a label that fewer lifetimes have tells the probes nothing
ORACLE_ERRORS = 2.0  # standard errors by which the oracle must beat the random policy
# What fresh memory may hold: nothing, small numbers, and numbers that nobody would choose.
PATTERNS: dict[str, Callable[[np.dtype], Any]] = {
    "zeros": lambda kind: 0,
    "ones": lambda kind: 1,
    "garbage": lambda kind: -77.25 if kind.kind == "f" else 99,
}


@dataclass(frozen=True)
class Failure:
    """One thing that a family does not keep to.

    Attributes:
        check: name of the check (one of `CHECKS`).
        problem: what was seen.
        cause: what is likely to have caused it, and what to do.
    """

    check: str
    problem: str
    cause: str

    def __str__(self) -> str:
        return f"{_wrapped(f'- {self.check}: {self.problem}')}\n{_wrapped(f'  Likely cause: {self.cause}')}"


def _wrapped(text: str) -> str:
    """Text in lines short enough for a terminal, indented from the second on; lines that it has are kept."""
    fill = textwrap.TextWrapper(
        width=WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    ).fill
    return "\n".join(map(fill, text.splitlines()))


class ConformanceError(ValueError):
    """A family fails some checks.

    Attributes:
        failures: all of them, in the order of the checks.
    """

    def __init__(self, family: str, failures: Sequence[Failure], checks: int) -> None:
        self.failures = tuple(failures)
        failed = len({failure.check for failure in failures})
        super().__init__(f"{family} fails {failed} of {checks} checks:\n" + "\n".join(map(str, failures)))


@dataclass(frozen=True)
class ConformanceReport:
    """What was checked of a family that failed nothing.

    Attributes:
        family: its id.
        settings: its keyword arguments.
        passed: names of the checks, in order.
        notes: what is not wrong but worth knowing.
    """

    family: str
    settings: Mapping[str, Any]
    passed: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        lines = [f"{self.family} passes {len(self.passed)} checks: {', '.join(self.passed)}."]
        return "\n".join(map(_wrapped, lines + [f"Note: {note}" for note in self.notes]))


class _Stop(Exception):
    """The checks that follow would make no sense or crash."""


@dataclass
class _Run:
    """What happened in some lanes, recorded step by step; T steps, N lanes."""

    observations: np.ndarray  # float32[T + 1, N, size]
    rewards: np.ndarray  # float64[T, N]
    raw_rewards: np.ndarray  # float64[T, N]
    terminated: np.ndarray  # bool[T, N]
    ended: np.ndarray  # bool[T, N]: an inner episode ended
    masks: np.ndarray | None  # bool[T + 1, N, A]
    booked: list[tuple]  # what info said of the episodes that ended
    oracle: np.ndarray  # [at most T + 1, N(, d)]


class _Player:
    """Random offered actions that depend on the lane's seed, the episode and the time in it, and on nothing else."""

    def __init__(self, family: TaskFamily, seeds: Sequence[int], *, first: int = 0, later: int = 0) -> None:
        self._family = family
        self._seeds = [int(seed) for seed in seeds]
        self._salts = (first, later)  # of episode 0 and of the others
        self._generators: dict[tuple[int, int], np.random.Generator] = {}

    def __call__(self, mask: np.ndarray | None, episodes: np.ndarray) -> np.ndarray:
        drawn: list[Any] = []
        for i, seed in enumerate(self._seeds):
            key = (i, int(episodes[i]))
            if key not in self._generators:
                salt = self._salts[min(key[1], 1)]
                self._generators[key] = np.random.default_rng([seed, key[1], salt])
            if mask is None:
                drawn.append(self._generators[key].uniform(-1.0, 1.0, self._family.actions))
            else:
                offered = np.flatnonzero(mask[i])
                number = self._generators[key].random()
                drawn.append(offered[int(number * len(offered))] if len(offered) else 0)
        return np.array(drawn)


class _Checker:
    """The family under test, and what the checks share."""

    def __init__(self, family: TaskFamily, lifetimes: int, seed: int, compiled: bool) -> None:
        self.family = family
        self.lifetimes = lifetimes
        self.seed = seed
        self.compiled = compiled
        self.notes: list[str] = []
        self.outside: dict[str, str] = {}  # observations and rewards out of bounds, by what they are
        levels = len(family.levels)
        self.unit = ReferenceReturns.given([0.0] * levels, [1.0] * levels)
        self.seeds = list(range(seed, seed + LANES))

    @property
    def levels(self) -> Iterator[tuple[int, str]]:
        """Index of each level, and how to name it."""
        return ((k, f"level {k} ({level.name})") for k, level in enumerate(self.family.levels))

    def env(self, lanes: int = LANES, *, level: int | None = None, **arguments: Any) -> LifetimeVectorEnv:
        """Lifetimes at one level (or through all levels), on tasks of all splits, without calibration."""
        arguments.setdefault("course", "progressive" if level is None else "single")
        arguments.setdefault("episodes", 2)
        arguments.setdefault("split", "all")
        arguments.setdefault("compiled", self.compiled)
        return LifetimeVectorEnv(
            self.family,
            lanes,
            level=level,
            privileged=True,
            autoreset_mode="Disabled",
            reference_returns=self.unit,
            **arguments,
        )

    def step(self, env: LifetimeVectorEnv, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
        """Take a step and see that what comes back lies within the bounds."""
        observations, rewards, terminated, _, info = env.step(actions)
        self.watch(env, observations, info["raw_reward"])
        return observations, rewards, terminated, info

    def watch(self, env: LifetimeVectorEnv, observations: np.ndarray, raw_rewards: np.ndarray | None = None) -> None:
        """Remember observations and rewards that lie out of bounds."""
        layout = env.layout
        # `not (inside)` is true for NaN, too.
        bad = ~((observations >= layout.low) & (observations <= layout.high))
        if bad.any():
            lane, column = (int(index[0]) for index in np.nonzero(bad))
            name = next(name for name, part in layout.items() if part.start <= column < part.stop)
            self.outside.setdefault(
                f"observation field {name!r}",
                f"observation field {name!r} was {observations[lane, column]:g}, outside "
                f"[{layout.low[column]:g}, {layout.high[column]:g}]",
            )
        if raw_rewards is not None:
            low, high = self.family.reward_range
            bad = ~((raw_rewards >= low) & (raw_rewards <= high))
            if bad.any():
                self.outside.setdefault(
                    "reward", f"a step paid {raw_rewards[bad][0]:g}, outside reward_range [{low:g}, {high:g}]"
                )

    def play(
        self,
        env: LifetimeVectorEnv,
        player: _Player,
        *,
        steps: int = SHORT,
        seeds: Any = None,
        options: dict[str, Any] | None = None,
        oracle_calls: int = 0,
        going_on: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ) -> _Run:
        """Let a player act until all lifetimes are over, or for some steps; ``going_on`` leaves out the reset."""
        if going_on is None:
            observations, info = env.reset(seed=self.seeds[: env.num_envs] if seeds is None else seeds, options=options)
            mask, episodes = info.get("action_mask"), np.zeros(env.num_envs, dtype=np.int64)
        else:
            observations, mask, episodes = going_on
            mask = None if self.family.continuous else mask
        seen, masks, booked, oracle = [observations], [mask], [], []
        rows: list[tuple[np.ndarray, ...]] = []
        self.watch(env, observations)
        for t in range(steps):
            if t < oracle_calls and self.family.oracle is not None:
                oracle.append(env.oracle_actions())
            observations, rewards, terminated, info = self.step(env, player(mask, episodes))
            mask = info.get("action_mask")
            ended = info.get("_episode_return", np.zeros(env.num_envs, dtype=np.bool_))
            if ended.any():
                keys = sorted(key for key in info if "_" + key in info and key not in ("task", "action_mask"))
                booked.append((t, *((key, *info[key][ended].tolist()) for key in keys)))
            episodes = episodes + ended
            seen.append(observations)
            masks.append(mask)
            rows.append((rewards, info["raw_reward"], terminated, ended))
            if terminated.all():
                break
        rewards, raw_rewards, terminated, ends = (np.array(column) for column in zip(*rows, strict=True))
        return _Run(
            observations=np.array(seen),
            rewards=rewards,
            raw_rewards=raw_rewards,
            terminated=terminated,
            ended=ends,
            masks=None if masks[0] is None else np.array(masks),
            booked=booked,
            oracle=np.array(oracle),
        )


def _difference(env: LifetimeVectorEnv, first: _Run, second: _Run) -> str | None:
    """Where two runs first differ, in words; None where they are the same bit for bit."""
    for t in range(min(len(first.observations), len(second.observations))):
        when = f"after {t} steps" if t else "in the first observation"
        if t:
            for name in ("raw_rewards", "terminated", "ended", "rewards"):
                one, two = getattr(first, name)[t - 1], getattr(second, name)[t - 1]
                if not np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
                    lane = int(np.flatnonzero(one != two)[0])
                    return f"{when}, {name.replace('_', ' ')} of lifetime {lane}: {one[lane]} and {two[lane]}"
        one, two = first.observations[t], second.observations[t]
        if not np.array_equal(one, two, equal_nan=True):
            lane, column = (int(index[0]) for index in np.nonzero(one != two))
            name = next(name for name, part in env.layout.items() if part.start <= column < part.stop)
            return f"{when}, observation field {name!r} of lifetime {lane}: {one[lane, column]} and {two[lane, column]}"
        if first.masks is not None and second.masks is not None and (first.masks[t] != second.masks[t]).any():
            return f"{when}, the actions offered"
        if t < min(len(first.oracle), len(second.oracle)) and not np.array_equal(first.oracle[t], second.oracle[t]):
            return f"{when}, the oracle's actions: {first.oracle[t].tolist()} and {second.oracle[t].tolist()}"
    if len(first.observations) != len(second.observations):
        return f"one lasted {len(first.observations) - 1} steps, the other {len(second.observations) - 1}"
    # As text, in which a diagnostic that does not apply equals itself, which NaN does not.
    return None if repr(first.booked) == repr(second.booked) else "in what info says of the episodes that ended"


Found = Iterator[tuple[str, str]]
_CHECKS: dict[str, Callable[[_Checker], Found]] = {}


def _check(name: str) -> Callable[[Callable[[_Checker], Found]], Callable[[_Checker], Found]]:
    def add(function: Callable[[_Checker], Found]) -> Callable[[_Checker], Found]:
        _CHECKS[name] = function
        return function

    return add


# --- the declaration ------------------------------------------------------------------------------------------------


@_check("declaration")
def _declaration(checker: _Checker) -> Found:
    family = checker.family
    try:
        again = type(family)(**family.keywords)
    except (TypeError, ValueError) as error:
        yield (
            f"{type(family).__name__}(**keywords) does not make the family again: {error}",
            "`keywords` must hold the constructor's arguments by name, as given or by default.",
        )
    else:
        if again.settings.tobytes() != family.settings.tobytes() or again.levels != family.levels:
            yield (
                f"{type(family).__name__}(**keywords) makes a family with other settings or levels",
                "`keywords` leaves out an argument of the constructor, so results of different settings would mix.",
            )
    if family.oracle is None and family.reference_returns is None:
        yield (
            "there is neither an oracle nor reference_returns",
            "returns cannot be normalised: write `oracle`, or give reference_returns=ReferenceReturns.given(...).",
        )
    if family.oracle is None:
        checker.notes.append("it has no oracle, so there is no upper end to compare agents with on the same task.")
    if len(family.levels) < FEWEST_LEVELS:
        checker.notes.append(
            f"it has {len(family.levels)} level(s); from {FEWEST_LEVELS} on, later levels can build on earlier ones."
        )
    if family.reference is None:
        checker.notes.append("it has no reference learner, so nobody knows how fast its tasks can be learnt.")
    if not family.tags:
        checker.notes.append("it has no tags (see daytwo.family.TAGS).")
    if not type(family).__doc__ or type(family).__doc__ == TaskFamily.__doc__:
        checker.notes.append("it has no docstring.")


# --- as ordinary Python ---------------------------------------------------------------------------------------------


@_check("fresh memory")
def _fresh_memory(checker: _Checker) -> Found:
    family = checker.family
    for level, where in checker.levels:
        runs: dict[str, _Run] = {}
        begun: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for pattern, value in PATTERNS.items():
            env = checker.env(2, level=level, compiled=False)
            for records in (env._task, env._state):
                for name in records.dtype.names or ():
                    records[name] = value(records.dtype[name].base)
            seeds = checker.seeds[:2]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    env.reset(seed=seeds)
                    begun[pattern] = env._task[:2].copy(), env._state.copy()
                    for records in (env._task, env._state):  # the reset has used them; fill them again
                        for name in records.dtype.names or ():
                            records[name] = value(records.dtype[name].base)
                    runs[pattern] = checker.play(env, _Player(family, seeds), oracle_calls=2)
                    if pattern == "zeros":
                        _follow_oracle(checker, env, seeds)
            except Exception as error:
                if pattern == "zeros":
                    yield (
                        f"{where}, run as ordinary Python: {type(error).__name__}: {error}",
                        f"a mistake in {_place(error)}; to follow it in a debugger, make the environment with "
                        "compiled=False.",
                    )
                    raise _Stop from None
                yield (
                    f"{where}, when task and state held {pattern} before the reset: {type(error).__name__}: {error}",
                    f"`draw` or `begin` leaves unset what is used later{_unset(begun, 'zeros', pattern)}.",
                )
                raise _Stop from None
            different = _difference(env, runs["zeros"], runs[pattern])
            if different is not None:
                yield (
                    f"{where}: a lifetime depends on what memory held before the reset ({different})",
                    f"`draw` or `begin` leaves unset what is used later{_unset(begun, 'zeros', pattern)}.",
                )
                raise _Stop


def _follow_oracle(checker: _Checker, env: LifetimeVectorEnv, seeds: list[int]) -> None:
    """Let the oracle act for some seconds as ordinary Python: it gets where random actions do not, to the very end."""
    if checker.family.oracle is None:
        return
    began, over = time.monotonic(), np.zeros(env.num_envs, dtype=np.bool_)
    env.reset(seed=seeds)
    for _ in range(SHORT):
        actions = env.oracle_actions()  # also once all is over: in a batch, some lifetimes end before others
        if over.all() or time.monotonic() - began > ORACLE_SECONDS:
            break
        if _bad_action(checker.family, actions, None if checker.family.continuous else env._mask, ~over) is not None:
            break  # the check of the oracle says so
        _, _, over, _ = checker.step(env, actions)


def _unset(begun: Mapping[str, tuple[np.ndarray, np.ndarray]], first: str, second: str) -> str:
    """The fields that kept what they held before the reset, in words."""
    if first not in begun or second not in begun:
        return ""
    names = [
        f"{kind}.{name}"
        for kind, one, two in zip(("task", "state"), begun[first], begun[second], strict=True)
        for name in one.dtype.names or ()
        if not np.array_equal(one[name], two[name])
    ]
    return f": {', '.join(names)}" if names else ""


def _place(error: BaseException) -> str:
    """The function in which an exception arose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "the family" if trace is None else f"`{trace.tb_frame.f_code.co_name}`, line {trace.tb_lineno}"


@_check("compiled equals interpreted")
def _compiled(checker: _Checker) -> Found:
    if not checker.compiled:
        checker.notes.append("compiled=False: everything ran as ordinary Python, compiled code was not checked.")
        return
    try:
        checker.env(1)
    except Exception as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        yield (
            f"the functions do not compile: {type(error).__name__}: {first}",
            "they use something that numba cannot compile, or call a helper that is not marked with "
            f"numba.extending.register_jitable. All numba says: {error}",
        )
        raise _Stop from None
    player_seeds = checker.seeds[:2]
    for level, where in checker.levels:
        envs = [checker.env(2, level=level, compiled=compiled) for compiled in (True, False)]
        runs = [checker.play(env, _Player(checker.family, player_seeds), oracle_calls=2) for env in envs]
        different = _difference(envs[0], *runs)
        if different is not None:
            yield (
                f"{where}, compiled and interpreted: {different}",
                "arithmetic that numba and Python do differently: mixed uint64 and int64, integer overflow, np.log "
                "and the like on scalars (use math.*), global variables (numba freezes them), np.random.",
            )


# --- Gymnasium and determinism --------------------------------------------------------------------------------------


@_check("episodes end")
def _episodes_end(checker: _Checker) -> Found:
    endless = False
    for level, where in checker.levels:
        horizon = checker.family.levels[level].horizon
        env = checker.env(2, level=level, episodes=1)
        run = checker.play(env, _Player(checker.family, checker.seeds[:2]), steps=min(horizon, MOST_STEPS))
        if not run.terminated[-1].all():
            endless = True
            yield (
                f"{where}: no episode end within {len(run.terminated)} steps (its horizon is {horizon})",
                "`step` never returns ended=True for random actions, and the horizon is too long to wait for.",
            )
    if endless:
        raise _Stop
    env = checker.env(2, episodes=1)
    steps = sum(level.horizon for level in checker.family.levels)
    run = checker.play(env, _Player(checker.family, checker.seeds[:2]), steps=steps)
    ends = int(run.ended[:, 0].sum())
    if not run.terminated[-1].all() or ends != len(checker.family.levels):
        yield (
            f"a progressive course of one episode a level had {ends} episodes in {steps} steps, expected "
            f"{len(checker.family.levels)}",
            "the levels' horizons do not fit how long episodes are.",
        )


@_check("gymnasium")
def _gymnasium(checker: _Checker) -> Found:
    env = LifetimeEnv(checker.family, reference_returns=checker.unit, compiled=checker.compiled)
    env.action_space.seed(checker.seed)  # check_env draws actions from it
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(env, skip_render_check=True)
        except Exception as error:
            yield (
                f"gymnasium's check_env: {type(error).__name__}: {error}",
                "bounds of a Field that observations leave, or functions that draw from something else than `stream`.",
            )
    for warning in caught:
        if issubclass(warning.category, UserWarning) and "WARN" in str(warning.message):
            yield f"gymnasium's check_env warns: {warning.message}", "the declared spaces are unusual."


@_check("equal seeds")
def _equal_seeds(checker: _Checker) -> Found:
    first, second = checker.env(), checker.env()
    one = checker.play(first, _Player(checker.family, checker.seeds))
    for other, again in (
        ("another environment", checker.play(second, _Player(checker.family, checker.seeds))),
        ("the same one reset again", checker.play(first, _Player(checker.family, checker.seeds))),
    ):
        different = _difference(first, one, again)
        if different is not None:
            yield (
                f"equal seeds and actions, an environment and {other}: {different}",
                "a function draws from something else than `stream` (np.random, random, a clock), or keeps something "
                "outside of task and state (a global variable).",
            )
            return


@_check("lane equals single")
def _lanes(checker: _Checker) -> Found:
    for level, where in checker.levels:
        env = checker.env(level=level)
        run = checker.play(env, _Player(checker.family, checker.seeds))
        for i in (0, LANES - 1):
            alone = checker.env(1, level=level)
            other = checker.play(alone, _Player(checker.family, [checker.seeds[i]]), seeds=[checker.seeds[i]])
            steps = min(len(run.rewards), len(other.rewards))
            for name in ("observations", "raw_rewards", "rewards", "terminated"):
                mine, its = getattr(run, name)[:steps, i], getattr(other, name)[:steps, 0]
                if not np.array_equal(mine, its):
                    yield (
                        f"{where}: lifetime {i} of {LANES} and the same one alone differ in {name.replace('_', ' ')}",
                        "a function reads or writes another row than i of task, state or stream, or a whole column.",
                    )
                    return


@_check("looking changes nothing")
def _looking(checker: _Checker) -> Found:
    family = checker.family
    for level, where in checker.levels:
        env = checker.env(2, level=level)
        seeds = checker.seeds[:2]
        player = _Player(family, seeds)
        observations, info = env.reset(seed=seeds)
        for moment in range(LOOKS):
            for function in ("observe", "offered"):
                if getattr(family, function) is None:
                    continue
                task, state = env._task.copy(), env._state.copy()
                seen = _look(family, function, task, state, level)
                changed = [
                    f"{kind}.{name}"
                    for kind, one, two in (("task", task, env._task), ("state", state, env._state))
                    for name in one.dtype.names or ()
                    if not np.array_equal(one[name], two[name], equal_nan=one[name].dtype.kind == "f")
                ]
                if changed:
                    yield (
                        f"{where}: `{function}` changes {', '.join(changed)}",
                        f"`{function}` must write to `out` only.",
                    )
                    return
                if function == "observe" and not np.array_equal(seen, observations[:, : env.layout.family_size]):
                    yield (
                        f"{where}: called again after {moment} steps, `observe` writes something else than before",
                        "`observe` must depend on its arguments only, and not on a global variable or a random draw.",
                    )
                    return
            observations, _, over, info = checker.step(
                env, player(info.get("action_mask"), np.zeros(2, dtype=np.int64))
            )
            if over.any():
                break
        # The oracle may keep a plan in the state, as long as nothing else depends on it.
        runs = []
        for calls in (0, SHORT if checker.compiled else LOOKS):
            env = checker.env(2, level=level)
            runs.append(checker.play(env, _Player(family, seeds), oracle_calls=calls))
        runs[1].oracle = runs[0].oracle
        different = _difference(env, *runs)
        if different is not None:
            yield (
                f"{where}: a lifetime goes on differently when the oracle is asked on the way: {different}",
                "`oracle` changes the task, or a part of the state that more than the oracle depends on.",
            )
            return


def _look(family: TaskFamily, function: str, task: np.ndarray, state: np.ndarray, level: int) -> np.ndarray:
    """Call a function that should only look, as ordinary Python, on two lifetimes; what `observe` wrote."""
    settings = family.settings[0]
    rows = np.zeros((2, sum(part.size for part in family.fields)), dtype=np.float32)
    with np.errstate(all="ignore"):
        for i in range(2):
            if function == "observe":
                family.observe(settings, task, state, level, i, rows[i])
            else:
                assert family.offered is not None
                for action in range(family.actions):
                    family.offered(settings, task, state, level, i, action)
    return rows


@_check("earlier episodes leave no trace")
def _no_trace(checker: _Checker) -> Found:
    family = checker.family
    for level, where in checker.levels:
        steps = min(2 * family.levels[level].horizon, MOST_STEPS)
        segments, changed = [], False
        for salt in (1, 2):
            env = checker.env(level=level, show=())
            run = checker.play(env, _Player(family, checker.seeds, first=salt), steps=steps)
            tasks = env._task[:LANES].copy()
            env.reset(seed=checker.seeds)
            changed = changed or any(
                not np.array_equal(tasks[name], env._task[:LANES][name], equal_nan=tasks[name].dtype.kind == "f")
                for name in tasks.dtype.names or ()
            )
            segments.append([_second_episode(run, i) for i in range(LANES)])
        if changed:
            yield (
                f"{where}: the task was not the same at the end of a lifetime as at its beginning",
                "`begin`, `step` or `observe` writes to the task; what changes belongs into the state.",
            )
        for (first_one, one), (first_two, two) in zip(*segments, strict=True):
            if not np.array_equal(first_one, first_two):
                yield (
                    f"{where}: the first observation of episode 1 depends on what was done in episode 0",
                    "`begin` does not set every field of the state, or something is kept outside of it.",
                )
                break
            steps = min(len(one), len(two))
            if steps and not (len(one) == len(two) and np.array_equal(one, two)):
                yield (
                    f"{where}: the same actions in episode 1 lead elsewhere after different actions in episode 0",
                    "`begin` does not set every field of the state, or `step` writes to the task.",
                )
                break


def _second_episode(run: _Run, lane: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a lane's episode 1: the first observation, and rows of (raw reward, observation) to its end."""
    ends = np.flatnonzero(run.ended[:, lane])
    if len(ends) == 0:
        return np.zeros(0), np.zeros(0)
    start = int(ends[0]) + 1
    stop = int(ends[1]) + 1 if len(ends) > 1 else len(run.raw_rewards)
    rows = np.concatenate(
        [run.raw_rewards[start:stop, lane, None], run.observations[start + 1 : stop + 1, lane]], axis=1
    )
    return run.observations[start, lane], rows


@_check("snapshot")
def _snapshot(checker: _Checker) -> Found:
    family = checker.family
    env = checker.env(2)
    seeds = checker.seeds[:2]
    run = checker.play(env, _Player(family, seeds), steps=5)
    if run.terminated[-1].any():
        return
    saved = env.snapshot()
    state = (run.observations[-1], env._mask.copy(), run.ended.sum(axis=0))
    one = checker.play(env, _Player(family, seeds, first=3, later=3), going_on=state)
    other = checker.env(2)
    other.restore(saved)
    two = checker.play(other, _Player(family, seeds, first=3, later=3), going_on=state)
    different = _difference(env, one, two)
    if different is not None:
        yield (
            f"a lifetime restored from a snapshot goes on differently: {different}",
            "something is kept outside of task and state: a global variable, an attribute, a closure.",
        )


# --- tasks ----------------------------------------------------------------------------------------------------------


@_check("task as dict")
def _task_as_dict(checker: _Checker) -> Found:
    family = checker.family
    env = checker.env()
    drawn = checker.play(env, _Player(family, checker.seeds))
    env.reset(seed=checker.seeds)
    tasks = json.loads(json.dumps(env.tasks()))
    for i, values in enumerate(tasks):
        back = family.task_from_dict(values)
        for name in family.task_dtype.names or ():
            if not np.array_equal(back[name][0], env._task[name][i]):
                yield (
                    f"task field {name!r} is {env._task[name][i]}, and {back[name][0]} after task_to_dict and "
                    "task_from_dict",
                    "one of the two methods is overridden and drops or rounds something.",
                )
                return
    given = checker.play(env, _Player(family, checker.seeds), options={"task": tasks})
    different = _difference(env, drawn, given)
    if different is not None:
        yield (
            f"a task that is handed over is lived differently than when it is drawn: {different}",
            "`draw` does more than fill the task (it may write to the state or to a global variable).",
        )


@_check("splits")
def _splits(checker: _Checker) -> Found:
    family = checker.family
    count = checker.lifetimes
    names = family.split_fields if family.split_fields and len(family.splits) > 1 else family.task_dtype.names or ()
    drawn: dict[str, set[bytes]] = {}
    for split in family.splits:
        env = checker.env(count, episodes=1, split=split)
        env.reset(seed=lifetime_seeds(checker.seed, 0, count))
        columns = [np.ascontiguousarray(env._task[name][:count]).reshape(count, -1) for name in names]
        drawn[split] = {b"".join(column[i].tobytes() for column in columns) for i in range(count)}
    apart = [split for split in family.splits if split != "all"]
    for k, first in enumerate(apart):
        for second in apart[k + 1 :]:
            common = drawn[first] & drawn[second]
            if common:
                yield (
                    f"splits {first!r} and {second!r} share {len(common)} of the tasks drawn",
                    "tasks are few enough to be drawn twice: name the integer fields that tell them apart in "
                    "split_fields, or declare how many there are by distinct_tasks.",
                )
    different = len(drawn["all"])
    found = len(set().union(*drawn.values()))
    if family.distinct_tasks is not None and found > family.distinct_tasks:
        yield (
            f"{found} different tasks were drawn, but distinct_tasks={family.distinct_tasks}",
            "distinct_tasks is too small.",
        )
    if family.distinct_tasks is None and different < min(FEWEST_TASKS_TO_SPLIT, count // 2):
        yield (
            f"only {different} different tasks in {count} draws, but distinct_tasks=None: as good as infinitely many",
            "`draw` does not use `stream`, or distinct_tasks should say how many there are.",
        )
    if family.distinct_tasks != 1 and different == 1:
        yield f"all of {count} lifetimes had the same task", "`draw` does not use `stream`."


@_check("the task stays hidden")
def _hidden(checker: _Checker) -> Found:
    family = checker.family
    count = checker.lifetimes
    labels: list[tuple[str, np.ndarray]] = []
    features: list[tuple[str, np.ndarray]] = []
    for level, where in checker.levels:
        env = checker.env(count, level=level, episodes=1)
        observations, info = env.reset(seed=lifetime_seeds(checker.seed + 1, 0, count))
        checker.watch(env, observations)
        columns = [np.asarray(observations, dtype=np.float64)]
        for key, value in info.items():
            if (
                key != "task"
                and isinstance(value, np.ndarray)
                and value.dtype.kind in "biuf"
                and not key.startswith("_")
            ):
                columns.append(value.reshape(count, -1).astype(np.float64))
        rows = np.concatenate(columns, axis=1)
        rows = rows[:, np.ptp(rows, axis=0) > 0]
        if not labels:  # the seeds and hence the tasks are the same at every level
            labels = list(_labels(family, env._task[:count]))
        if rows.shape[1]:
            features.append((where, rows))
    if not features or not labels:
        return
    half = count // 2
    tests = len(labels) * len(features) * 2
    bound = statistics.NormalDist().inv_cdf(1.0 - FALSE_ALARM / tests) * 0.5 / np.sqrt(count - half)
    targets = np.array([label for _, label in labels]).T
    chance = np.maximum(targets[half:].mean(axis=0), 1.0 - targets[half:].mean(axis=0))
    told: set[str] = set()
    for where, rows in features:
        for probe, guess in (
            ("linear", _linear_guess(rows, targets, half)),
            ("table", _table_guess(rows, targets, half)),
        ):
            accuracy = (guess == targets[half:]).mean(axis=0)
            worst = accuracy - chance
            for k in np.argsort(-worst):
                name = labels[k][0]
                if worst[k] <= bound:
                    break
                if name.partition("[")[0] in told:
                    continue
                told.add(name.partition("[")[0])
                yield (
                    f"{where}: task field {name!r} can be predicted from a lifetime's first observation and info "
                    f"({probe} probe: accuracy {accuracy[k]:.2f} where chance is {chance[k]:.2f} and at most "
                    f"{chance[k] + bound:.2f} may come by luck)",
                    "`observe` writes what depends on the hidden task. If an agent is meant to see that from the "
                    f"start, add {name.partition('[')[0]!r} to visible_at_start.",
                )


def _labels(family: TaskFamily, tasks: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yes-or-no questions about the hidden part of the tasks: name of the entry, and ``bool[N]``."""
    for name in family.task_dtype.names or ():
        if name in family.visible_at_start:
            continue
        values = np.asarray(tasks[name]).reshape(len(tasks), -1)
        chosen = np.unique(np.linspace(0, values.shape[1] - 1, MOST_ENTRIES).astype(int))
        for k in chosen:
            column = values[:, k]
            entry = name if values.shape[1] == 1 else f"{name}[{k}]"
            different = np.unique(column)
            if len(different) == 1:
                continue
            # The threshold that divides the lifetimes most evenly.
            cuts = different[:-1] if len(different) <= 64 else np.array([np.median(column)])
            above = column[None] > cuts[:, None]
            questions = [above[np.abs(above.mean(axis=1) - 0.5).argmin()]]
            if column.dtype.kind in "iu" and len(different) > 2:
                questions.append(column % 2 == 1)
            for label in questions:
                if RARE <= label.mean() <= 1 - RARE:
                    yield entry, label


def _linear_guess(rows: np.ndarray, targets: np.ndarray, half: int) -> np.ndarray:
    """Ridge regression from the first half of the lifetimes, applied to the second: ``bool[N - half, labels]``."""
    centre, spread = rows[:half].mean(axis=0), rows[:half].std(axis=0)
    inputs = (rows - centre) / np.where(spread > 0, spread, 1.0)
    inputs = np.concatenate([inputs, np.ones((len(rows), 1))], axis=1)
    known = inputs[:half]
    weights = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ (2.0 * targets[:half] - 1.0))
    return inputs[half:] @ weights > 0


def _table_guess(rows: np.ndarray, targets: np.ndarray, half: int) -> np.ndarray:
    """The majority among lifetimes of the first half with exactly this observation, or among all of them."""
    _, groups = np.unique(rows, axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    votes = np.zeros((groups.max() + 1, targets.shape[1]))
    np.add.at(votes, groups[:half], 2.0 * targets[:half] - 1.0)
    overall = targets[:half].mean(axis=0) > 0.5
    known = votes[groups[half:]]
    return np.where(known == 0, overall, known > 0)


# --- actions and agents ---------------------------------------------------------------------------------------------


@_check("actions")
def _actions(checker: _Checker) -> Found:
    family = checker.family
    if family.continuous:
        return
    for level, where in checker.levels:
        env = checker.env(level=level)
        observations, info = env.reset(seed=checker.seeds)
        player = _Player(family, checker.seeds)
        episodes = np.zeros(LANES, dtype=np.int64)
        for t in range(SHORT):
            mask = info["action_mask"]
            if not mask.any(axis=1).all():
                yield f"{where}: no action is offered after {t} steps", "`offered` is False for every action."
                return
            read = env.lifetime_spec.observed_mask(observations)
            if not np.array_equal(read, mask):
                yield (
                    f"{where}: observed_mask reads other actions off the observation than info['action_mask'] offers",
                    "a family with `offered` must show in its observation what the offer depends on, and override "
                    "observed_mask to read it.",
                )
                return
            actions = player(mask, episodes)
            refused = np.zeros(LANES, dtype=np.bool_)
            if t % 2 == 0:
                refused = ~mask.all(axis=1)
                actions = np.where(refused, (~mask).argmax(axis=1), actions)
            before = env._state.copy()
            observations, _, terminated, info = checker.step(env, actions)
            ended = info.get("_episode_return", np.zeros(LANES, dtype=np.bool_))
            paid = info["raw_reward"][refused]
            moved = [
                name
                for name in before.dtype.names or ()
                if not np.array_equal(before[name][refused & ~ended], env._state[name][refused & ~ended])
            ]
            if paid.any() or moved:
                yield (
                    f"{where}: an action that is not offered paid {paid.max(initial=0):g} or changed {moved}",
                    "`offered` or `observe` writes to the state.",
                )
                return
            episodes = episodes + ended
            if terminated.any():
                break


@_check("oracle")
def _oracle(checker: _Checker) -> Found:
    family = checker.family
    if family.oracle is None:
        return
    count = checker.lifetimes if checker.compiled else min(checker.lifetimes, INTERPRETED_LIFETIMES)
    seeds = lifetime_seeds(checker.seed + 2, 0, count)
    for level, where in checker.levels:
        returns = {}
        for policy in ("random", "oracle"):
            env = checker.env(len(seeds), level=level, episodes=1, show=())
            _, info = env.reset(seed=seeds)
            player = np.random.default_rng(checker.seed)
            total, over = np.zeros(len(seeds)), np.zeros(len(seeds), dtype=np.bool_)
            while not over.all():
                mask = info.get("action_mask")
                if policy == "oracle":
                    actions = env.oracle_actions()
                    bad = _bad_action(family, actions, mask, ~over)
                    if bad is not None:
                        yield f"{where}: the oracle chose {bad}", "`oracle` must choose among the offered actions."
                        return
                elif mask is None:
                    actions = player.uniform(-1.0, 1.0, (len(seeds), family.actions))
                else:
                    actions = np.where(mask, player.random(mask.shape), -1.0).argmax(axis=1)
                _, _, over, info = checker.step(env, actions)
                total += info["raw_reward"]
            returns[policy] = total
        gain = returns["oracle"] - returns["random"]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        if not gain.mean() > ORACLE_ERRORS * error:
            yield (
                f"{where}: the oracle's mean return is {returns['oracle'].mean():.3f} and the random policy's "
                f"{returns['random'].mean():.3f}, a difference of {gain.mean():.3f} with standard error "
                f"{error:.3f} over {len(gain)} tasks",
                "`oracle` is wrong, or there is nothing to gain at this level.",
            )


def _bad_action(family: TaskFamily, actions: np.ndarray, mask: np.ndarray | None, alive: np.ndarray) -> str | None:
    """What is wrong with an agent's actions in the lifetimes that go on, if anything."""
    actions = np.asarray(actions)
    expected = (len(alive), family.actions) if family.continuous else (len(alive),)
    if actions.shape != expected:
        return f"actions of shape {actions.shape}, where {expected} was expected"
    if family.continuous:
        bad = alive & ~((actions >= -1) & (actions <= 1)).all(axis=1)
    elif actions.dtype.kind not in "iu":
        return f"actions of dtype {actions.dtype}, where integers were expected"
    else:
        inside = (actions >= 0) & (actions < family.actions)
        assert mask is not None
        bad = alive & ~(inside & mask[np.arange(len(alive)), np.where(inside, actions, 0)])
    return f"{actions[bad][0]}, which is not offered there" if bad.any() else None


@_check("reference learner")
def _reference(checker: _Checker) -> Found:
    family = checker.family
    if family.reference is None:
        return
    chosen: list[np.ndarray] = []
    for lanes in (3, 1):
        env = checker.env(lanes)
        seeds = np.array(checker.seeds[:lanes], dtype=np.uint64)
        try:
            agent = make_agent(family.reference, env.lifetime_spec)
        except ValueError as error:
            yield (
                f"the reference learner cannot be made: {error}",
                "`reference` must be a registered agent's name (daytwo.register_agent), a class or 'module:Class'.",
            )
            return
        observations, info = env.reset(seed=seeds)
        agent.begin(env.lifetime_spec, seeds)
        fresh, over = np.ones(lanes, dtype=np.bool_), np.zeros(lanes, dtype=np.bool_)
        steps: list[np.ndarray] = []
        while not over.any() and len(steps) < 3 * SHORT:
            actions = np.asarray(agent.act(observations, fresh))
            bad = _bad_action(family, actions, info.get("action_mask"), ~over)
            if bad is not None:
                yield f"the reference learner chose {bad}", "it must choose among spec.observed_mask(observations)."
                return
            steps.append(actions[0].copy())
            observations, _, over, info = checker.step(env, actions)
            fresh = np.zeros(lanes, dtype=np.bool_)
        chosen.append(np.array(steps))
    count = min(map(len, chosen))
    if not np.array_equal(chosen[0][:count], chosen[1][:count]):
        yield (
            "the reference learner acts differently in a lifetime alone and beside others",
            "its randomness must come from daytwo.streams.agent_streams(seeds), one stream per lifetime.",
        )


@_check("words")
def _words(checker: _Checker) -> Found:
    family = checker.family
    env = checker.env(1)
    observations, _ = env.reset(seed=checker.seeds[:1])
    size = env.layout.family_size
    for level, where in checker.levels:
        rules = family.describe_rules(level)
        seen = family.describe_observation(observations[0, :size], level)
        for name, text in (("describe_rules", rules), ("describe_observation", seen)):
            if not isinstance(text, str) or not text.strip():
                yield f"{where}: {name} returns {text!r}", f"{name} must say something."
        if family.continuous:
            vector = np.linspace(-0.5, 0.75, family.actions)
            parsed = family.parse_action(" ".join(map(str, vector)), level)
            if not np.allclose(parsed, vector) or not str(family.describe_action(vector)).strip():
                yield f"{where}: parse_action reads {parsed} where {vector} was written", "parse_action is overridden."
            continue
        offered = np.flatnonzero(family.action_masks[level])[:40]
        for action in offered:
            words = [str(action), family.describe_action(int(action))]
            words += [] if family.action_names is None else [family.action_names[action]]
            for text in words:
                try:
                    back: Any = family.parse_action(text, level)
                except ValueError as error:
                    back = error
                if isinstance(back, ValueError) or back != action:
                    yield (
                        f"{where}: action {action} is called {text!r}, which parse_action reads as {back}",
                        "two actions share a name, or describe_action and parse_action are not each other's inverse.",
                    )
                    return
        refused = [str(action) for action in np.flatnonzero(~family.action_masks[level])[:3]]
        for text in ["no such action", str(family.actions), *refused]:
            try:
                back = family.parse_action(text, level)
            except ValueError:
                continue
            yield (
                f"{where}: parse_action reads {text!r} as {back}, which is not offered there",
                "parse_action must raise ValueError for what is no offered action.",
            )


@_check("pictures")
def _pictures(checker: _Checker) -> Found:
    family = checker.family
    try:
        import PIL  # noqa: F401

        coloured = True
    except ImportError:
        coloured = False
        checker.notes.append("Pillow is not installed, so render_rgb was not checked.")
    for level, where in checker.levels:
        env = checker.env(2, level=level, episodes=1)
        env.reset(seed=checker.seeds[:2])
        player = _Player(family, checker.seeds[:2])
        for moment in range(2):
            shown = ""
            for reveal in (False, True):
                scene = env.scene(0, reveal=reveal)
                text = family.render_ansi(scene)
                if not isinstance(text, str) or not text.strip():
                    yield f"{where}: render_ansi returns {text!r}", "render_ansi must return text."
                    return
                shown = shown if reveal else text
                image = family.render_rgb(scene) if coloured else None
                if coloured and not (
                    isinstance(image, np.ndarray)
                    and image.dtype == np.uint8
                    and image.ndim == 3
                    and image.shape[2] == 3
                    and image.size
                ):
                    what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else repr(image)[:80]
                    yield f"{where}: render_rgb returns {what}", "render_rgb must return uint8[height, width, 3]."
                    return
            if _shows_task(family, env, shown):
                yield (
                    f"{where}: render_ansi shows the hidden task although scene.reveal is False",
                    "what depends on scene.task may be shown only where scene.reveal is true.",
                )
                return
            if moment == 0:
                _, _, over, _ = checker.step(
                    env, player(None if family.continuous else env._mask, np.zeros(2, dtype=np.int64))
                )
                if over[0]:
                    break


def _shows_task(family: TaskFamily, env: LifetimeVectorEnv, shown: str) -> bool:
    """Whether lane 0 looks different to people with lane 1's task in its place, though not to an agent."""
    scene = env.scene(0, reveal=False)
    level, task = scene.level, env._task[:2].copy()
    task[0] = task[1]
    for name in family.visible_at_start:
        task[name][0] = env._task[name][0]
    rows = np.zeros((2, env.layout.family_size), dtype=np.float32)
    try:
        with np.errstate(all="ignore"):
            for row, tasks in zip(rows, (env._task, task), strict=True):
                family.observe(family.settings[0], tasks, env._state.copy(), level, 0, row)
        if not np.array_equal(rows[0], rows[1]):
            return False  # an agent sees the difference, too
        other = Scene(**{**{name: getattr(scene, name) for name in Scene.__dataclass_fields__}, "task": task[0]})
        return family.render_ansi(other) != shown
    except Exception:
        return False  # this state is impossible in the other task


@_check("bounds")
def _bounds(checker: _Checker) -> Found:
    """Comes last, since it looks back on all that the other checks have seen."""
    for problem in checker.outside.values():
        yield problem, "Field(low=, high=) or reward_range is too narrow, or a value is NaN or wrong."


CHECKS = tuple(_CHECKS)


def check_family(
    family: Any,
    *,
    settings: Mapping[str, Any] | None = None,
    lifetimes: int = 512,
    seed: int = 0,
    compiled: bool = True,
    only: Sequence[str] | None = None,
) -> ConformanceReport:
    """Check that a family keeps to what environments, agents and evaluations rely on.

    Args:
        family: an id, a `TaskFamily` subclass or instance, or ``"module:Class"``.
        settings: the family's own keyword arguments.
        lifetimes: with how many tasks the statistical checks work, at least 32.
        seed: of everything random.
        compiled: False runs everything as ordinary Python, which saves the seconds of compilation (and leaves out the
            comparison of compiled and interpreted code).
        only: names of the checks to make (some of `CHECKS`); all by default. ``bounds`` looks back on what the other
            checks have seen.

    Returns:
        What was checked, and what is worth knowing.

    Raises:
        ConformanceError: some checks failed; it lists them all, each with its likely cause. After a failure that would
            crash what follows (an exception in the family's functions, no episode end) the other checks are left out.
        ValueError: an unknown family, setting or check, or a value out of range.
    """
    made = make_family(family, **dict(settings or {}))
    if isinstance(lifetimes, bool) or not isinstance(lifetimes, int | np.integer) or lifetimes < FEWEST_LIFETIMES:
        raise ValueError(f"lifetimes must be an integer of at least {FEWEST_LIFETIMES}, received {lifetimes!r}.")
    unknown = [name for name in only or () if name not in _CHECKS]
    if unknown:
        raise ValueError(f"Unknown check {unknown[0]!r}: expected some of {', '.join(CHECKS)}.")
    checker = _Checker(made, int(lifetimes), int(seed), bool(compiled) and not made.interpreted)
    failures: list[Failure] = []
    passed = []
    for name, check in _CHECKS.items():
        if only is not None and name not in only:
            continue
        before = len(failures)
        try:
            for problem, cause in check(checker):
                failures.append(Failure(name, problem, cause))
        except _Stop:
            break
        except Exception as error:
            failures.append(
                Failure(name, f"{type(error).__name__}: {error}", f"a mistake in {_place(error)}, or in what calls it.")
            )
        if len(failures) == before:
            passed.append(name)
    if failures:
        raise ConformanceError(made.id, failures, len(_CHECKS) if only is None else len(set(only)))
    return ConformanceReport(made.id, dict(made.keywords), tuple(passed), tuple(checker.notes))


__all__ = ["CHECKS", "ConformanceError", "ConformanceReport", "Failure", "check_family"]
