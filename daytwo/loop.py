"""The one generic loop: every lifetime of every family is stepped, booked, restarted and observed here.

`compiled_loop` closes a single scalar loop over a family's functions. Compiled, it is one fused kernel; interpreted,
it is the same Python. The loop's arrays:

    settings   the family's record (one row)                 plan    what the environment was made with (one row)
    table      the courses, [courses, stages]                lanes   the books of each lifetime, [N]
    task       [2N]: the hidden tasks, then the tasks handed over for each lane's next lifetime
    state      [N]: the family's state inside the episode    rows    float32[N, size]: the observations
    last_rows  float32[N, size]: the last observations of lifetimes that another follows at once (SAME_STEP)
    reals      float64[6 + D, N], ints int64[3, N], flags bool[2, N]: what step and info return, by the row indices
               below; the last D rows of reals are the family's diagnostics
    mask       bool[N, A]: the actions offered now
"""

import functools
import hashlib
import inspect
import types
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.extending import register_jitable

from daytwo import streams
from daytwo.family import TaskFamily
from daytwo.improvement import BEST, DIFFERENCE, LINEAR, MEAN, RAW, improvement, next_bar
from daytwo.kernels import compile_cached
from daytwo.streams import COURSE, EPISODE, TASK, hash_words, key_stream, shuffle

# rows of `reals`
REWARD, RAW_REWARD, EPISODE_RETURN, NORMALIZED_RETURN, IMPROVEMENT, BAR, DIAGNOSTICS = range(7)
# rows of `ints`
LEVEL, STAGE, EPISODE_INDEX = range(3)
# rows of `flags`
EPISODE_ENDED, TERMINATED = range(2)
# autoreset modes
NEXT_STEP, SAME_STEP, DISABLED = 0, 1, 2
# splits: codes, and how many of 10 equal parts of the hash belong to each
ALL, TRAIN, VALIDATION, TEST = 0, 1, 2, 3
SPLIT_CODES = {"all": ALL, "train": TRAIN, "validation": VALIDATION, "test": TEST}
# what the loop returns if it does not refuse an action, whose lane it returns then
NONE_ENDED, SOME_ENDED = -1, -2
# what a step did to a lane
NOTHING, EPISODE_BEGINS, LIFETIME_BEGINS, FINISH, IDLE = 0, 1, 2, 3, 4
DRAWS_BEFORE_GIVING_UP = 100_000

ORDER_CAPACITY = 16

TABLE_DTYPE = np.dtype(
    [
        ("level", "i8"),
        ("episodes", "i8"),
        ("new_task", "i8"),
        ("switch_after", "i8"),
        ("stages", "i8"),  # of the whole course, repeated in every row
        ("shuffled", "i8"),
        ("mastery", "f8"),  # inf: never
    ],
    align=True,
)


def lane_dtype(levels: int, stages: int) -> np.dtype:
    """The books of one lifetime; what every step touches comes first, in one cache line."""
    return np.dtype(
        [
            ("stream", "u8", (4,)),
            ("total", "f8"),  # raw return of the episode so far
            ("scale", "f8"),  # what a unit of raw reward is paid on the spot
            ("opening", "f8"),  # what the first step is paid besides
            ("time", "i4"),
            ("level", "i2"),
            ("event", "i1"),  # what the last step did (below)
            ("finished", "i1"),
            ("seed", "u8"),
            ("lifetime", "u8"),  # index of the lifetime in this lane
            ("draws", "u8"),  # tasks drawn in this lifetime
            ("paid", "f8"),  # of the rule "best": improvement paid in this episode so far
            ("recent", "f8", (3,)),  # last normalised returns of the stage
            ("course", "i4"),
            ("next_course", "i4"),
            ("stage", "i4"),
            ("episode", "i4"),  # in the stage
            ("index", "i4"),  # in the lifetime
            ("chosen", "i1"),  # for the coming reset
            ("given", "i1"),  # a task was handed over
            ("impossible", "i1"),  # no task of this split was found
            ("order", "i2", (max(stages, ORDER_CAPACITY),)),
            ("bars", "f8", (levels,)),
            ("played", "i4", (levels,)),
        ],
        align=True,
    )


def plan_dtype(levels: int, actions: int, split_bytes: int) -> np.dtype:
    """What the environment was made with."""
    return np.dtype(
        [
            ("mode", "i8"),
            ("kind", "i8"),
            ("dense", "i8"),
            ("redrawn", "i8"),
            ("split", "i8"),
            ("split_bytes", "i8"),
            ("rate", "f8"),
            ("family_size", "i8"),
            ("at_action", "i8"),
            ("at_reward", "i8"),
            ("at_start", "i8"),
            ("at_time", "i8"),
            ("at_level", "i8"),
            ("at_episode", "i8"),
            ("at_stage_length", "i8"),
            ("at_final", "i8"),
            ("horizon", "i8", (levels,)),
            ("random_return", "f8", (levels,)),
            ("scale", "f8", (levels,)),  # 1 / (oracle_return - random_return)
            ("masks", "u1", (levels, actions)),
            ("split_at", "i8", (max(split_bytes, 1),)),  # byte offsets that the split's hash reads
        ],
        align=True,
    )


@register_jitable
def split_of(plan, row):
    """The split that a task's bytes fall into: a fixed hash sends 6 in 10 to train and 2 each to the others."""
    word = np.uint64(0)
    for k in range(plan.split_bytes):
        word = hash_words(word, np.uint64(row[plan.split_at[k]]))
    tenth = (word >> np.uint64(40)) % np.uint64(10)
    if tenth < np.uint64(6):
        return TRAIN
    if tenth < np.uint64(8):
        return VALIDATION
    return TEST


@register_jitable
def open_payment(plan, lane):
    """Set what the steps of the episode that begins are paid: ``scale`` a unit of reward, ``opening`` at first."""
    level = lane.level
    lane.paid = 0.0
    if plan.kind == RAW:
        lane.scale = 1.0
        lane.opening = 0.0
    elif not plan.dense or plan.kind == BEST or (plan.kind == DIFFERENCE and lane.played[level] == 0):
        lane.scale = 0.0
        lane.opening = 0.0
    else:
        lane.scale = plan.scale[level]
        lane.opening = -(lane.bars[level] + plan.random_return[level] * plan.scale[level])


@register_jitable
def late_payment(plan, lane, ended):
    """What a step is paid by the rules that ``scale`` and ``opening`` cannot express."""
    level = lane.level
    if plan.kind == BEST and plan.dense:
        # Pays whatever part of max(0, g - bar) is certain by now, less what was paid: it sums to just that.
        reached = max(0.0, (lane.total - plan.random_return[level]) * plan.scale[level] - lane.bars[level])
        paid = reached - lane.paid
        lane.paid = reached
        return paid
    if ended and not plan.dense and plan.kind != RAW:
        g = (lane.total - plan.random_return[level]) * plan.scale[level]
        return improvement(plan.kind, lane.bars[level], g, lane.played[level])
    return 0.0


@register_jitable
def close_episode(plan, table, lane, reals, ints, flags, i, level):
    """Book a finished episode; returns whether the lifetime is over."""
    g = (lane.total - plan.random_return[level]) * plan.scale[level]
    bar = lane.bars[level]
    played = lane.played[level]
    reals[EPISODE_RETURN, i] = lane.total
    reals[NORMALIZED_RETURN, i] = g
    reals[IMPROVEMENT, i] = improvement(plan.kind, bar, g, played)
    reals[BAR, i] = bar
    ints[LEVEL, i] = level
    ints[STAGE, i] = lane.stage
    ints[EPISODE_INDEX, i] = lane.index
    flags[EPISODE_ENDED, i] = True
    lane.bars[level] = next_bar(plan.kind, plan.rate, bar, g, played)
    lane.played[level] = played + 1
    lane.recent[lane.episode % 3] = g
    lane.episode += 1
    lane.index += 1
    course = lane.course
    stage = lane.order[lane.stage]
    mean = (lane.recent[0] + lane.recent[1] + lane.recent[2]) / 3.0
    mastered = lane.episode >= 3 and mean >= table.mastery[course, stage]
    if lane.episode >= table.episodes[course, stage] or mastered:
        lane.stage += 1
        lane.episode = 0
        return lane.stage >= table.stages[course, 0]
    return False


@register_jitable
def open_lifetime(plan, table, lane, stream, i):
    """Start the books of a lifetime."""
    course = lane.next_course
    lane.course = course
    lane.next_course = 0
    stages = table.stages[course, 0]
    for k in range(stages):
        lane.order[k] = k
    if table.shuffled[course, 0]:
        key_stream(stream, i, lane.seed, lane.lifetime, COURSE, np.uint64(0))
        shuffle(stream, i, lane.order[:stages])
    for k in range(len(plan.horizon)):
        lane.bars[k] = 0.0
        lane.played[k] = 0
    lane.stage = 0
    lane.episode = 0
    lane.index = 0
    lane.draws = np.uint64(0)
    lane.finished = 0


@register_jitable
def write_extras(plan, table, lane, row, begins, reward):
    """Write the extras other than the previous action into an observation row."""
    if plan.at_reward >= 0:
        row[plan.at_reward] = reward
    if plan.at_start >= 0 and begins:
        row[plan.at_start] = np.float32(1.0)
    if plan.at_time >= 0:
        row[plan.at_time] = lane.time / plan.horizon[lane.level]
    if plan.at_level >= 0:
        row[plan.at_level + lane.level] = np.float32(1.0)
    if plan.at_episode >= 0 or plan.at_stage_length >= 0:
        # At the end of a lifetime the stage counter points past the last stage.
        over = lane.finished != 0
        length = table.episodes[lane.course, lane.order[lane.stage - 1 if over else lane.stage]]
        if plan.at_episode >= 0:
            row[plan.at_episode] = length if over else lane.episode
        if plan.at_stage_length >= 0:
            row[plan.at_stage_length] = length


@register_jitable
def offer(plan, level, mask, i):
    """Write which actions a level offers (a family's phases may narrow it later)."""
    for k in range(mask.shape[1]):
        mask[i, k] = plan.masks[level, k] != 0


@register_jitable
def never_offered(settings, task, state, level, i, action):
    """Stands in for a family without phases (never called)."""
    return True


@register_jitable
def no_diagnosis(settings, task, state, level, i, out):
    """Stands in for a family without diagnostics (never called)."""


@register_jitable
def no_oracle(settings, task, state, level, i):
    """Stands in for a family without an oracle (never called)."""
    return 0


def _build_step(draw, begin, step, observe, offered, phases, diagnose, diagnosing, continuous, fingerprint):
    """The loop over a family's functions. ``fingerprint`` is closed over only to key numba's cache."""

    def loop(
        settings_row,
        plan_row,
        table,
        task,
        task_bytes,
        lanes,
        state,
        actions,
        rows,
        last_rows,
        reals,
        ints,
        flags,
        mask,
        resetting,
    ):
        _ = fingerprint
        settings = settings_row[0]
        plan = plan_row[0]
        stream = lanes.stream
        n = len(lanes)
        count = mask.shape[1]
        fs = plan.family_size
        last = plan.at_final
        late = plan.kind != RAW and (plan.kind == BEST or not plan.dense)

        # 1. Refuse bad actions before anything changes.
        if not resetting:
            for i in range(n):
                if continuous:
                    for k in range(count):
                        if not (-1.0 <= actions[i, k] <= 1.0):
                            return i
                elif not 0 <= actions[i] < count:
                    return i

        # 2. Step every lane and keep the books.
        busy = False
        idle = False
        some_ended = False
        for i in range(n):
            lane = lanes[i]
            if lane.event != NOTHING and flags[EPISODE_ENDED, i]:
                for k in range(EPISODE_RETURN, reals.shape[0]):
                    reals[k, i] = 0.0
                for k in range(EPISODE_INDEX + 1):
                    ints[k, i] = 0
                flags[EPISODE_ENDED, i] = False
                if not lane.finished:
                    flags[TERMINATED, i] = False
            if resetting or lane.finished:
                reals[REWARD, i] = 0.0
                reals[RAW_REWARD, i] = 0.0
                if (resetting and not lane.chosen) or (not resetting and plan.mode == DISABLED):
                    lane.event = IDLE
                    idle = True
                else:
                    lane.event = LIFETIME_BEGINS
                    busy = True
                    flags[TERMINATED, i] = False
                    if not resetting:
                        lane.lifetime += np.uint64(1)
                continue
            reward = 0.0
            ended = False
            if continuous:
                reward, ended = step(settings, task, state, lane.level, stream, i, actions[i])
            elif mask[i, actions[i]]:
                reward, ended = step(settings, task, state, lane.level, stream, i, actions[i])
            pay = reward * lane.scale
            if lane.time == 0:
                pay += lane.opening
            lane.total += reward
            lane.time += 1
            lane.event = NOTHING
            if lane.time >= plan.horizon[lane.level]:
                ended = True
            if late:
                pay += late_payment(plan, lane, ended)
            reals[RAW_REWARD, i] = reward
            reals[REWARD, i] = pay
            if ended:
                busy = True
                some_ended = True
                if diagnosing:
                    diagnose(settings, task, state, lane.level, i, reals[DIAGNOSTICS:, i])
                if close_episode(plan, table, lane, reals, ints, flags, i, lane.level):
                    lane.event = FINISH
                    lane.finished = 1
                    flags[TERMINATED, i] = True
                else:
                    lane.event = EPISODE_BEGINS

        # Clear the rows in one sweep, or, where some lanes stay as they are, one by one.
        if not idle:
            rows[:, :] = np.float32(0.0)
        else:
            for i in range(n):
                if lanes[i].event != IDLE:
                    rows[i, :] = np.float32(0.0)

        # 3. Begin what begins: lifetimes, tasks, episodes.
        for i in range(n if busy else 0):
            lane = lanes[i]
            if lane.event == NOTHING or lane.event == IDLE:
                continue
            if lane.event == EPISODE_BEGINS and plan.at_final >= 0:
                observe(settings, task, state, lane.level, i, rows[i, last : last + fs])
            if lane.event == FINISH:
                if plan.mode != SAME_STEP:
                    continue
                # The next lifetime begins at once: its last observation is kept apart.
                last_rows[i, :] = np.float32(0.0)
                observe(settings, task, state, lane.level, i, last_rows[i, :fs])
                if plan.at_action >= 0:
                    if continuous:
                        for k in range(count):
                            last_rows[i, plan.at_action + k] = actions[i, k]
                    else:
                        last_rows[i, plan.at_action + actions[i]] = np.float32(1.0)
                write_extras(plan, table, lane, last_rows[i], False, reals[RAW_REWARD, i])
                lane.event = LIFETIME_BEGINS
                lane.lifetime += np.uint64(1)
            lane.chosen = 0
            if lane.event == LIFETIME_BEGINS:
                open_lifetime(plan, table, lane, stream, i)
            course = lane.course
            stage = lane.order[lane.stage]
            level = table.level[course, stage]
            if not continuous and (lane.event == LIFETIME_BEGINS or level != lane.level):
                offer(plan, level, mask, i)
            lane.level = level
            redraw = lane.event == LIFETIME_BEGINS or plan.redrawn != 0
            if lane.episode == 0:
                redraw = redraw or table.new_task[course, stage] != 0
            elif lane.episode == table.switch_after[course, stage]:
                redraw = True
            if redraw:
                if lane.given and lane.event == LIFETIME_BEGINS:
                    task[i] = task[n + i]
                    lane.given = 0
                else:
                    number = lane.draws
                    if plan.split_bytes == 0:
                        number = number * np.uint64(4) + np.uint64(plan.split)
                    key_stream(stream, i, lane.seed, lane.lifetime, TASK, number)
                    found = False
                    for _attempt in range(DRAWS_BEFORE_GIVING_UP):
                        draw(settings, task, stream, i)
                        found = (
                            plan.split_bytes == 0 or plan.split == ALL or split_of(plan, task_bytes[i]) == plan.split
                        )
                        if found:
                            break
                    if not found:
                        lane.impossible = 1
                lane.draws += np.uint64(1)
            key_stream(stream, i, lane.seed, lane.lifetime, EPISODE, np.uint64(lane.index))
            begin(settings, task, state, lane.level, stream, i)
            lane.time = 0
            lane.total = 0.0
            open_payment(plan, lane)

        # 4. Observe.
        for i in range(n):
            lane = lanes[i]
            event = lane.event
            if event == IDLE:
                continue
            row = rows[i]
            observe(settings, task, state, lane.level, i, row[:fs])
            if event != LIFETIME_BEGINS and plan.at_action >= 0:
                if continuous:
                    for k in range(count):
                        row[plan.at_action + k] = actions[i, k]
                else:
                    row[plan.at_action + actions[i]] = np.float32(1.0)
            begins = event == EPISODE_BEGINS or event == LIFETIME_BEGINS
            write_extras(plan, table, lane, row, begins, 0.0 if event == LIFETIME_BEGINS else reals[RAW_REWARD, i])
            if phases:
                for k in range(count):
                    mask[i, k] = plan.masks[lane.level, k] != 0 and offered(settings, task, state, lane.level, i, k)
        return SOME_ENDED if some_ended else NONE_ENDED

    return loop


def _build_oracle(oracle, continuous, fingerprint):
    def loop(settings_row, task, lanes, state, out):
        _ = fingerprint
        settings = settings_row[0]
        for i in range(len(lanes)):
            if continuous:
                oracle(settings, task, state, lanes[i].level, i, out[i])
            else:
                out[i] = oracle(settings, task, state, lanes[i].level, i)

    return loop


class _Both:
    """A loop in both forms. Compiled, it takes structured arrays; interpreted, views of them as record arrays."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @functools.cached_property
    def compiled(self) -> Any:
        """The loop as numba compiles it, on first use."""
        return compile_cached(self.function)

    def entry(self, *arguments: Any) -> Callable[..., Any]:
        """The compiled code for arguments of these types, called directly: it checks no types but starts faster."""
        signature = tuple(numba.typeof(argument) for argument in arguments)
        self.compiled.compile(signature)
        return self.compiled.get_overload(signature)

    def interpreted(self, *arguments: Any) -> Any:
        """Run as ordinary Python (random words wrap around on purpose)."""
        records = [
            argument.view(np.recarray) if isinstance(argument, np.ndarray) and argument.dtype.names else argument
            for argument in arguments
        ]
        with np.errstate(all="ignore"):
            return self.function(*records)


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a function that is always inlined: passing arrays to it costs more than most steps do."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    return register_jitable(forceinline=True)(copy)


@functools.cache
def _loops(draw, begin, step, observe, offered, phases, diagnose, diagnosing, oracle, continuous, fingerprint):
    step, observe, offered = (_inlined(function) for function in (step, observe, offered))
    return (
        _Both(_build_step(draw, begin, step, observe, offered, phases, diagnose, diagnosing, continuous, fingerprint)),
        _Both(_build_oracle(oracle, continuous, fingerprint)),
    )


@functools.cache
def _hub_fingerprint() -> str:
    """A hash of what the hub compiles into every loop from other files: numba's cache looks at this file alone."""
    sources = [inspect.getsource(inspect.getmodule(function)) for function in (key_stream, next_bar)]  # type: ignore[arg-type]
    return hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]


def compiled_loop(family: TaskFamily) -> tuple[Any, Any]:
    """The step loop and the oracle loop of a family, each with ``.compiled`` and ``.interpreted`` forms.

    Loops are shared by every environment of the family in this process, and cached on disk under the fingerprint of
    the family's source and the hub's.
    """
    functions = [_plain(family, name) for name in ("draw", "begin", "step", "observe")]
    offered = _plain(family, "offered") if family.offered is not None else never_offered
    oracle = _plain(family, "oracle") if family.oracle is not None else no_oracle
    diagnose = _plain(family, "diagnose") if family.diagnose is not None else no_diagnosis
    phases, diagnosing = family.offered is not None, family.diagnose is not None
    if family.interpreted:
        # Closed over functions of this very instance, which a cache would keep alive.
        draw, begin, step, observe = functions
        built = _build_step(draw, begin, step, observe, offered, phases, diagnose, diagnosing, family.continuous, "")
        return (
            _Both(built),
            _Both(_build_oracle(oracle, family.continuous, "")),
        )
    fingerprint = family.fingerprint() + _hub_fingerprint()
    return _loops(*functions, offered, phases, diagnose, diagnosing, oracle, family.continuous, fingerprint)


def _plain(family: TaskFamily, name: str) -> Callable[..., Any]:
    """A family's function, refusing compiled dispatchers and bound methods with the cause."""
    function = getattr(family, name)
    if getattr(function, "__self__", None) is family:
        raise TypeError(f"{type(family).__name__}.{name} is a method: write `{name} = staticmethod(function)`.")
    if hasattr(function, "py_func"):
        raise TypeError(
            f"{type(family).__name__}.{name} is compiled already: mark it with "
            "numba.extending.register_jitable instead of njit (compiled closures defeat the disk cache)."
        )
    return function


__all__ = ["ALL", "LINEAR", "MEAN", "TEST", "TRAIN", "VALIDATION", "compiled_loop", "streams"]
