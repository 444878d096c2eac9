"""A teacher in front of an environment: what it chose is lived, and what came of it is what it is told."""

import json

import numpy as np
import pytest
from gymnasium import spaces

import daytwo
from daytwo.course import Course, Stage
from daytwo.teacher import Outcomes
from daytwo.teaching import TaughtVectorEnv, level_box
from tests.toy import HORIZONS, ORACLE, QUIT, RANDOM, SCORE, WAIT, Steering, make_vector

MODES = ("NextStep", "SameStep", "Disabled")


class Diary:
    """Samples the tasks of a list in a circle, and writes down what it is asked and told."""

    def __init__(self, tasks):
        self.tasks, self.asked, self.told, self.events = list(tasks), 0, [], []

    def sample(self, n):
        chosen = [self.tasks[(self.asked + k) % len(self.tasks)] for k in range(n)]
        self.asked += n
        self.events.append(("sample", n))
        return np.array(chosen)

    def observe(self, outcomes):
        self.told += zip(outcomes.tasks.tolist(), outcomes.performance.tolist(), outcomes.steps.tolist(), strict=True)
        self.events.append(("observe", len(outcomes)))

    def state_dict(self):
        return {"asked": self.asked, "told": [list(one) for one in self.told]}

    def load_state_dict(self, state):
        self.asked, self.told = state["asked"], [tuple(one) for one in state["told"]]


def live_on(env, lifetimes, actions=lambda env, t: np.full(env.num_envs, SCORE)):
    """Step until so many lifetimes have ended; the level and the normalised returns of every one, in order."""
    done, t, lanes = [], 0, [([], []) for _ in range(env.num_envs)]
    while len(done) < lifetimes:
        _, _, terminated, _, info = env.step(actions(env, t))
        t += 1
        if "episode_return" in info:
            for i in np.flatnonzero(info["_episode_return"]):
                lanes[i][0].append(int(info["level"][i]))
                lanes[i][1].append(float(info["episode_normalized_return"][i]))
                if terminated[i]:
                    done.append(lanes[i])
                    lanes[i] = ([], [])
        if env.metadata["autoreset_mode"].value == "Disabled" and terminated.any():
            env.reset(options={"reset_mask": terminated})
    return done


@pytest.mark.parametrize("mode", MODES)
def test_every_lifetime_lives_the_level_that_was_sampled_for_it(mode):
    env = TaughtVectorEnv(make_vector(num_envs=1, episodes=2, autoreset_mode=mode), diary := Diary([2, 0, 1, 1]))
    env.reset(seed=0)
    lived = live_on(env, 8)
    assert [levels for levels, _ in lived] == [[level] * 2 for level in (2, 0, 1, 1) * 2]
    assert [task for task, *_ in diary.told] == [2, 0, 1, 1] * 2


@pytest.mark.parametrize("mode", MODES)
def test_outcomes_are_fresh_where_lanes_reset_later_and_one_lifetime_late_where_they_reset_at_once(mode):
    env = TaughtVectorEnv(make_vector(num_envs=1, episodes=1, autoreset_mode=mode), diary := Diary([0]))
    env.reset(seed=0)
    live_on(env, 3)
    if mode == "SameStep":
        assert diary.events[:4] == [("sample", 1), ("sample", 1), ("observe", 1), ("sample", 1)]
    else:
        assert diary.events[:4] == [("sample", 1), ("observe", 1), ("sample", 1), ("observe", 1)]
    asked = sum(count for kind, count in diary.events if kind == "sample")
    assert asked - len(diary.told) in ((2,) if mode == "SameStep" else (1,))


@pytest.mark.parametrize("mode", MODES)
def test_outcomes_tell_the_last_three_episodes_of_the_last_stage_and_the_steps(mode):
    generator = np.random.default_rng(0)
    env = TaughtVectorEnv(make_vector(num_envs=5, episodes=5, autoreset_mode=mode), diary := Diary([0, 1, 2]))
    env.reset(seed=0)
    lived = live_on(env, 40, lambda env, t: np.where(generator.random(env.num_envs) < 0.6, SCORE, WAIT))
    assert len(diary.told) >= 40
    for (levels, returns), (task, performance, steps) in zip(lived, diary.told, strict=False):
        assert levels == [task] * 5
        assert performance == pytest.approx(np.clip(np.mean(returns[-3:]), 0.0, 1.0))
        assert steps == 5 * HORIZONS[task]


def test_steps_are_those_that_were_lived():
    env = TaughtVectorEnv(make_vector(num_envs=2, episodes=4), diary := Diary([1]))
    env.reset(seed=0)
    live_on(env, 6, lambda env, t: np.full(env.num_envs, QUIT))
    assert {steps for *_, steps in diary.told} == {4}
    quit_at_once = (0.5 - RANDOM[1]) / (ORACLE[1] - RANDOM[1])
    assert {performance for _, performance, _ in diary.told} == {max(0.0, quit_at_once)}


def test_fewer_episodes_than_three_and_several_stages():
    courses = {0: Course([Stage(0, 4), Stage(2, 2)]), 1: Course([Stage(2, 3), Stage(0, 1)])}
    diary = Diary([0, 1])
    env = TaughtVectorEnv(
        make_vector(num_envs=1), diary, space=spaces.Discrete(2), decode=lambda row: {"course": courses[int(row)]}
    )
    env.reset(seed=0)
    # Scores at level 0 and waits at level 2, and then the other way round.
    lived = live_on(env, 2, lambda env, t: np.full(1, SCORE if int(env.env.scene().level) == 0 else WAIT))
    assert [levels for levels, _ in lived] == [[0] * 4 + [2] * 2, [2] * 3 + [0]]
    assert [performance for _, performance, _ in diary.told] == [0.0, 1.0]


def test_what_is_broken_off_leaves_no_outcome():
    env = TaughtVectorEnv(make_vector(num_envs=4, episodes=2, autoreset_mode="SameStep"), diary := Diary([0, 1, 2]))
    env.reset(seed=0)
    env.step(np.full(4, SCORE))
    env.reset(options={"reset_mask": np.array([True, False, False, True])})
    env.reset(seed=1)
    assert diary.told == []
    live_on(env, 4)
    assert len(diary.told) >= 4


def test_tasks_of_a_pool_are_the_tasks_that_are_lived():
    from daytwo.curricula.task_pool import TaskPool

    settings = {"arms": 3, "pulls": 2}
    pool = TaskPool("daytwo/Bandit-v0", tasks=5, seed=3, **settings)
    assert pool.space == spaces.Discrete(10)  # of levels with 2 and with 3 arms
    env = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", 3, privileged=True, episodes=1, **settings)
    taught = TaughtVectorEnv(env, Diary([4, 0, 7]), space=pool.space, decode=pool.decode)
    taught.reset(seed=0)
    assert env.tasks() == [pool.decode(row)["task"] for row in (4, 0, 2)]
    assert env.scene(1).level == 0 and env.scene(2).level == 1
    assert len({str(pool.decode(row)["task"]) for row in range(5)}) == 5


def test_a_teacher_that_needs_a_box_gets_the_levels_as_one_coordinate():
    space, decode = level_box(3)
    assert [decode(np.array([value]))["level"] for value in (0.0, 0.99, 1.0, 2.5, 3.0)] == [0, 0, 1, 2, 2]

    class Continuous(Diary):
        kinds = (spaces.Box,)

    env = TaughtVectorEnv(make_vector(num_envs=1, episodes=1), Continuous([[0.5], [2.9], [1.0]]))
    env.reset(seed=0)
    assert [levels for levels, _ in live_on(env, 3)] == [[0], [2], [1]]
    assert env.space == space


def test_every_registered_teacher_teaches():
    for name in daytwo.teacher_names():
        if name in ("alp-gmm", "self-paced"):
            pytest.importorskip("sklearn")
        env = TaughtVectorEnv(make_vector(num_envs=8, episodes=1), name, seed=1, budget=400)
        env.reset(seed=0)
        live_on(env, 100)
        told = env.take_figures()
        assert sum(told[f"teacher/trials_{k}"] for k in range(3)) >= 100
        assert sum(told[f"teacher/share_{k}"] for k in range(3)) == pytest.approx(1.0)


def test_the_log_counts_lifetimes_and_steps_by_level():
    env = TaughtVectorEnv(make_vector(num_envs=1, episodes=2), Diary([0, 0, 0, 1]))
    env.reset(seed=0)
    assert env.take_figures() == {}
    live_on(env, 4)
    told = env.take_figures()
    assert [told[f"teacher/trials_{k}"] for k in range(3)] == [3, 1, 0]
    assert [told[f"teacher/steps_{k}"] for k in range(3)] == [3 * 2 * HORIZONS[0], 2 * HORIZONS[1], 0]
    assert [told[f"teacher/share_{k}"] for k in range(3)] == [0.75, 0.25, 0.0]
    assert told["teacher/effective_tasks"] == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    assert told["teacher/mastered"] == 1.0 and told["teacher/performance"] == 1.0
    assert told["teacher/trials_per_task"] == 2.0
    assert told["teacher/steps_per_task"] == (6 * HORIZONS[0] + 2 * HORIZONS[1]) / 2
    live_on(env, 1)
    assert env.take_figures()["teacher/share_0"] == 1.0  # since the last time


def test_the_log_of_a_box_counts_cells():
    space = spaces.Box(0.0, 1.0, (2,), dtype=np.float32)
    env = TaughtVectorEnv(
        make_vector(num_envs=1, episodes=1),
        Diary([[0.11, 0.9], [0.19, 0.9], [0.5, 0.9], [1.0, 1.0]]),
        space=space,
        decode=lambda row: {"level": 0},
    )
    env.teacher.sample = lambda n, sample=env.teacher.sample: sample(n).astype(np.float32)
    env.reset(seed=0)
    live_on(env, 4)
    assert env.take_figures()["teacher/effective_tasks"] == pytest.approx(np.exp(1.5 * np.log(2)))


@pytest.mark.parametrize("mode", MODES)
def test_a_snapshot_goes_on_identically(mode):
    def make():
        return TaughtVectorEnv(make_vector(num_envs=3, episodes=2, autoreset_mode=mode), "learning-progress", seed=5)

    def run(env, lifetimes):
        generator = np.random.default_rng(1)
        return live_on(env, lifetimes, lambda env, t: np.where(generator.random(3) < 0.5, SCORE, WAIT))

    first, second = make(), make()
    first.reset(seed=0)
    run(first, 20)
    second.reset(seed=7)
    second.restore(first.snapshot())
    assert run(first, 30) == run(second, 30)
    assert first.take_figures() == second.take_figures()
    one, other = (json.dumps(env.teacher.state_dict(), default=np.ndarray.tolist) for env in (first, second))
    assert one == other
    with pytest.raises(ValueError, match="without a teacher"):
        second.restore(make_vector(num_envs=3, episodes=2, autoreset_mode=mode).snapshot())


def test_equal_seeds_teach_alike_and_the_environments_seed_does_not_matter_to_the_teacher():
    def tasks(seed, env_seed):
        env = TaughtVectorEnv(make_vector(num_envs=16, episodes=1), "uniform", seed=seed)
        env.reset(seed=env_seed)
        return [levels for levels, _ in live_on(env, 64)]

    assert tasks(0, 0) == tasks(0, 1) != tasks(1, 0)


def test_everything_else_is_the_environments():
    env = make_vector(num_envs=2)
    taught = TaughtVectorEnv(env, "uniform")
    assert taught.lifetime_spec.levels == env.lifetime_spec.levels and taught.num_envs == 2
    assert taught.single_action_space == env.single_action_space and taught.metadata == env.metadata
    with pytest.raises(AttributeError):
        _ = taught.nothing_of_this_name


class Wrong(Diary):
    """A teacher that gives what it is told to."""

    def __init__(self, tasks):
        super().__init__([0])
        self.wrong = tasks

    def sample(self, n):
        return self.wrong


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (Wrong(np.array([0])), "asked for 2 tasks and gave 1"),
        (Wrong(np.array([0, 3])), r"integers in 0\.\.2; received 3"),
        (Wrong(np.array([0.0, 1.0])), r"int\[n\]"),
        (object(), "has no 'sample'"),
        ("headmaster", "Unknown teacher 'headmaster': expected one of uniform"),
    ],
)
def test_a_wrong_teacher_is_refused(teacher, message):
    with pytest.raises(ValueError, match=message):
        TaughtVectorEnv(make_vector(num_envs=2), teacher).reset(seed=0)


def test_bad_arguments_are_refused():
    env = make_vector(num_envs=2)
    with pytest.raises(ValueError, match="Unknown option 'speed' of teacher 'uniform'"):
        TaughtVectorEnv(env, "uniform", speed=3)
    with pytest.raises(ValueError, match="space and decode go together"):
        TaughtVectorEnv(env, "uniform", space=spaces.Discrete(3))
    with pytest.raises(ValueError, match="teaches on Discrete"):
        TaughtVectorEnv(env, daytwo.make_teacher("uniform", spaces.Discrete(5)))
    with pytest.raises(ValueError, match=r"needs a daytwo\.LifetimeVectorEnv"):
        TaughtVectorEnv(daytwo.lifetime.make_vector_env("daytwo/Mixture-v0", 2), "uniform")
    taught = TaughtVectorEnv(env, "uniform")
    with pytest.raises(ValueError, match="leave 'level' out"):
        taught.reset(seed=0, options={"level": 1})
    with pytest.raises(ValueError, match="reset_mask must be a bool array"):
        taught.reset(seed=0, options={"reset_mask": [True, False]})
    one_level = TaughtVectorEnv(make_vector(Steering, num_envs=2), "mastery-gate")
    one_level.reset(seed=0)
    assert Outcomes(np.array([0]), np.array([1.0]), np.array([3])).steps.dtype == np.int64
