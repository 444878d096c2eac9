"""A lifetime depends on its seed and its actions alone: not on the batch, the mode of execution or the process."""

import subprocess
import sys

import numpy as np
import pytest

import daytwo
from daytwo import kernels
from daytwo.streams import agent_streams, lifetime_seeds
from tests.toy import SCORE, Counting, Phases, Steering, assert_same, live, make_single, make_vector

STEPS = 45


def lifetimes(family, seeds, batch, steps=STEPS, compiled=None, **arguments):
    """What each lifetime saw and was paid under random play from its own seed, ``[lifetimes, steps, ...]``."""
    rows, pays, ends = [], [], []
    for start in range(0, len(seeds), batch):
        part = seeds[start : start + batch]
        env = daytwo.LifetimeVectorEnv(family, len(part), compiled=compiled, **arguments)
        streams = agent_streams(part)
        observations, _ = env.reset(seed=part)
        seen, paid, over = [observations], [], []
        for _ in range(steps):
            observations, rewards, terminated, _, _ = env.step(env.random_actions(streams))
            seen.append(observations), paid.append(rewards), over.append(terminated)
        rows.append(np.stack(seen, axis=1)), pays.append(np.stack(paid, axis=1)), ends.append(np.stack(over, axis=1))
    return np.concatenate(rows), np.concatenate(pays), np.concatenate(ends)


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_a_lifetime_is_the_same_in_any_batch(env_id):
    seeds = lifetime_seeds(3, 0, 1000)
    whole = lifetimes(env_id, seeds, 1000, episodes=1)
    assert len(np.unique(whole[0].reshape(1000, -1), axis=0)) > 500
    for count, batch in ((64, 64), (70, 7), (6, 1)):
        part = lifetimes(env_id, seeds[:count], batch, episodes=1)
        assert_same(part, tuple(array[:count] for array in whole))


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_compiled_and_interpreted_lifetimes_are_equal_bit_for_bit(env_id):
    seeds = lifetime_seeds(4, 0, 3)
    compiled = lifetimes(env_id, seeds, 3, episodes=1, compiled=True, autoreset_mode="SameStep", course="shuffled")
    interpreted = lifetimes(env_id, seeds, 3, episodes=1, compiled=False, autoreset_mode="SameStep", course="shuffled")
    assert_same(compiled, interpreted)


@pytest.mark.parametrize("family", [Counting, Steering])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_compiled_and_interpreted_toys_agree_in_everything_returned(family, mode):
    arguments = {"num_envs": 4, "autoreset_mode": mode, "privileged": True, "course": "review", "episodes": 2}
    for changes in (
        {},
        {"dense": False},
        {"reward": "best"},
        {"task": "redrawn", "reward": "mean", "show": ("episode",)},
    ):
        envs = [make_vector(family, compiled=compiled, **{**arguments, **changes}) for compiled in (True, False)]
        assert_same(*(env.reset(seed=1) for env in envs))
        streams = [agent_streams(lifetime_seeds(0, 0, 4)) for _ in envs]
        for _ in range(50):
            assert_same(*(env.oracle_actions() for env in envs))
            actions = [env.random_actions(stream) for env, stream in zip(envs, streams, strict=True)]
            assert_same(*actions)
            assert_same(*(env.step(actions[0]) for env in envs))


def test_interpreted_is_also_a_block():
    with kernels.interpreted():
        env = daytwo.LifetimeVectorEnv(Counting, 2)
    assert env._compiled is False and daytwo.LifetimeVectorEnv(Counting, 2)._compiled is True


def test_lane_i_of_seed_s_is_the_single_environment_of_seed_s_plus_i():
    env = make_vector(num_envs=4, autoreset_mode="SameStep", episodes=1, course="shuffled")
    singles = [make_single(episodes=1, course="shuffled") for _ in range(4)]
    observations, _ = env.reset(seed=100)
    firsts = [single.reset(seed=100 + lane)[0] for lane, single in enumerate(singles)]
    for _ in range(40):  # over several lifetimes of each lane
        assert_same(list(observations), firsts)
        observations, _, terminated, _, _ = env.step(np.full(4, SCORE))
        for lane, single in enumerate(singles):
            firsts[lane], _, over, _, _ = single.step(SCORE)
            assert over == terminated[lane]
            if over:
                firsts[lane] = single.reset()[0]


def test_seeds_may_be_given_one_by_one():
    one, other = make_vector(num_envs=3), make_vector(num_envs=3)
    expected = one.reset(seed=5)
    for seeds in ([5, 6, 7], (5, 6, 7), np.array([5, 6, 7]), np.array([5, 6, 7], dtype=np.uint64), np.int64(5)):
        assert_same(other.reset(seed=seeds), expected)
    swapped = other.reset(seed=[7, 6, 5])[0]
    assert_same(swapped, expected[0][::-1].copy())
    assert_same(make_single().reset(seed=2**64 - 1)[0], make_vector(num_envs=2).reset(seed=2**64 - 1)[0][0])


def test_seed_zero_is_a_seed_and_no_seed_is_none():
    assert_same(make_single().reset(seed=0)[0], make_single().reset(seed=0)[0])
    unseeded = {tuple(make_single().reset()[0].tolist()) for _ in range(5)}
    assert len(unseeded) == 5
    lanes = make_vector(num_envs=5).reset()[0]
    assert len(np.unique(lanes, axis=0)) == 5


def test_a_reset_without_seed_goes_on_to_the_next_lifetime_and_with_one_starts_over():
    env = make_single(secrets=10**6)
    lives = [live(env, (SCORE,), seed=seed) for seed in (9, None, None, 9, None)]
    assert_same(lives[0], lives[3])
    assert_same(lives[1], lives[4])
    secrets = [steps[0][0][env.layout["secret"]][0] for steps in lives[:3]]
    assert len(set(secrets)) == 3


def test_an_abandoned_lifetime_does_not_change_the_next():
    env, other = make_single(), make_single()
    env.reset(seed=1)
    env.step(SCORE)
    live(other, (SCORE,), seed=1)
    assert_same(live(env, (SCORE,)), live(other, (SCORE,)))


def test_an_episode_begins_the_same_whatever_was_done_in_earlier_ones():
    def starts(actions):
        env = make_single(course="single", level=2, episodes=6)
        steps = live(env, actions, seed=8)
        begins = [steps[0]] + [step for step in steps[1:-1] if "episode_return" in step[3]]
        return [step[0][env.layout["noise"]][0] for step in begins]

    expected = starts((0,))
    assert len(set(expected)) > 3
    for actions in ((1,), (2,), (1, 0, 2), (0, 0, 0, 1)):
        assert starts(actions) == expected


def test_what_happens_in_an_episode_depends_on_its_number_and_actions_alone():
    def last_episode(actions):
        env = make_single(course="single", level=2, episodes=3, reward="raw")
        return [step[0].tolist()[:3] for step in live(env, actions, seed=8)[-4:]]

    assert last_episode((0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1)) == last_episode((1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1))


def test_the_global_generator_is_neither_used_nor_disturbed():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    env = make_vector(num_envs=3)
    first = env.reset(seed=3)[0]
    env.step(np.full(3, SCORE))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert_same(make_vector(num_envs=3).reset(seed=3)[0], first)


PROGRAM = """
import hashlib
import numpy as np
from tests.test_determinism import lifetimes
from daytwo.streams import lifetime_seeds
digest = hashlib.sha256()
for array in lifetimes("daytwo/Bandit-v0", lifetime_seeds(6, 0, 20), 20):
    digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_two_processes_live_the_same_lifetimes():
    import hashlib
    import os
    from pathlib import Path

    digest = hashlib.sha256()
    for array in lifetimes("daytwo/Bandit-v0", lifetime_seeds(6, 0, 20), 5):
        digest.update(array.tobytes())
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "77"}
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert other.returncode == 0, other.stderr
    assert other.stdout.split() == [digest.hexdigest()]


# --- splits --------------------------------------------------------------------------------------------------------


def task_keys(family, split, count, **settings):
    """What a split's tasks are told apart by, one key per lifetime."""
    env = daytwo.LifetimeVectorEnv(family, count, split=split, privileged=True, **settings)
    _, info = env.reset(seed=lifetime_seeds(0, 0, count))
    tasks = info["task"]
    names = env.family.split_fields or tasks.dtype.names
    return [b"".join(np.ascontiguousarray(tasks[name][k]).tobytes() for name in names) for k in range(count)]


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_train_validation_and_test_tasks_never_overlap(env_id):
    family = daytwo.make_family(env_id)
    if family.splits == ("all",):
        pytest.skip(f"{env_id} has too few tasks to split: only 'all' is offered")
    splits = {split: set(task_keys(env_id, split, 2000)) for split in ("train", "validation", "test")}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not splits[one] & splits[other]
    every = set(task_keys(env_id, "all", 2000))
    if family.split_fields:
        assert every <= set.union(*splits.values()) or len(every) > 1000
        if family.distinct_tasks and family.distinct_tasks <= 200:
            assert len(set.union(*splits.values())) == family.distinct_tasks, "every task is in some split"


def test_the_hash_splits_tasks_six_two_two():
    keys = {
        split: set(task_keys(Counting, split, 3000, compiled=True, secrets=500))
        for split in ("train", "validation", "test")
    }
    counts = {split: len(found) for split, found in keys.items()}
    assert sum(counts.values()) == 500
    assert abs(counts["train"] - 300) < 45 and abs(counts["validation"] - 100) < 36 and abs(counts["test"] - 100) < 36
    assert len(set(task_keys(Counting, "all", 3000, compiled=True, secrets=500))) > 490


def test_redrawn_tasks_and_later_lifetimes_stay_in_their_split():
    test_secrets = {
        int.from_bytes(key, "little") for key in task_keys(Counting, "test", 2000, compiled=True, secrets=60)
    }
    for changes in ({"task": "redrawn"}, {"course": "isolated"}, {"course": "switch", "episodes": 4}):
        env = make_vector(num_envs=20, split="test", secrets=60, autoreset_mode="SameStep", compiled=True, **changes)
        seen = set()
        observations, _ = env.reset(seed=0)
        for _ in range(60):
            seen |= set(observations[:, env.layout["secret"]].ravel().astype(int).tolist())
            observations = env.step(np.full(20, SCORE))[0]
        assert seen <= test_secrets and len(seen) >= 5


def test_continuous_tasks_of_different_splits_differ_in_every_redraw():
    aims = {}
    for split in ("train", "validation", "test", "all"):
        env = make_vector(Steering, 10, split=split, task="redrawn", episodes=8, privileged=True)
        _, info = env.reset(seed=0)
        aims[split] = set()
        for _ in range(24):
            aims[split] |= {tuple(aim) for aim in info["task"]["aim"].tolist()}
            info = env.step(np.zeros((10, 2)))[4]
        assert len(aims[split]) == 80
    assert len(set.union(*aims.values())) == 4 * 80


def test_few_tasks_are_not_split():
    with pytest.raises(
        ValueError, match=r"only 29 different tasks under these settings.*use split='all'; received 'train'"
    ):
        make_vector(secrets=29, split="train")
    assert make_vector(secrets=29).split == "all" and make_vector(secrets=30).split == "train"
    make_vector(secrets=29, split="all")


def test_a_split_without_tasks_says_so(monkeypatch):
    monkeypatch.setattr("daytwo.loop.DRAWS_BEFORE_GIVING_UP", 20)

    class OneSecret(Counting):
        def __init__(self):
            super().__init__(secrets=1)
            self.distinct_tasks = 100

    refused = 0
    for split in ("train", "validation", "test"):
        env = make_vector(OneSecret, split=split)
        try:
            env.reset(seed=0)
        except ValueError as error:
            assert f"no task of split '{split}' was found" in str(error)
            refused += 1
            with pytest.raises(Exception, match="reset"):
                env.step(np.array([SCORE]))
    assert refused == 2


def test_phases_agree_compiled_and_interpreted():
    envs = [make_vector(Phases, 2, compiled=compiled) for compiled in (True, False)]
    assert_same(*(env.reset(seed=1) for env in envs))
    for number in range(25):
        assert_same(*(env.step(np.array([number % 2, (number + 1) % 3])) for env in envs))
