"""Stable-Baselines3's algorithms as trainers: they go on bit for bit, keep to themselves, and learn what they can."""

import random

import numpy as np
import pytest

import daytwo

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds  # noqa: E402
from daytwo.integrations.stable_baselines3_trainers import SummaryVecEnv  # noqa: E402
from daytwo.integrations.trainers import ALGORITHMS  # noqa: E402
from daytwo.summary import Summary  # noqa: E402

NAMES = ("ppo", "ppo-statistics", "recurrent-ppo")
BANDIT = "daytwo/Bandit-v0"
# One arm pays .9 and the other .1: five pulls tell them apart, and the second episode shows whether that is remembered.
EASY = {"kind": "dependent-easy", "pulls": 5, "course": "single", "episodes": 2, "reward": "return", "split": "all"}
ROBOT = {"course": "single", "level": 0, "episodes": 1}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, env_id=BANDIT, settings=EASY, steps=2400, num_envs=16, seed=0, **options):
    algorithm = ALGORITHMS[name]
    config = algorithm.config_class()(**{"lifetimes_per_batch": 8, **options})
    return algorithm.make(
        env_id, config=config, settings=settings, steps=steps, num_envs=num_envs, seed=seed, device="cpu"
    )


def advance(trainer, times):
    return [trainer.advance() for _ in range(times)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("env_id", "settings", "options"),
    # Rollouts of 7 steps end in the midst of lifetimes of 10.
    [(BANDIT, EASY, {"rollout_steps": 7}), ("daytwo/PointRobot-v0", ROBOT, {"rollout_steps": 16})],
)
def test_going_on_from_a_saved_state_changes_nothing(name, env_id, settings, options, tmp_path):
    from daytwo.integrations.saved_state import read_state, write_state

    whole = make(name, env_id, settings, **options)
    figures = advance(whole, 5)
    first = make(name, env_id, settings, **options)
    advance(first, 2)
    write_state(tmp_path, first.state())
    advance(first, 1)  # what is saved does not change with the trainer
    second = make(name, env_id, settings, **options)
    second.load_state(read_state(tmp_path))
    assert advance(second, 3) == figures[2:]
    assert second.steps == whole.steps == 5 * 16 * options["rollout_steps"]
    expected, found = whole.tensors(), second.tensors()
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_training_follows_from_its_seed_and_leaves_global_generators_alone(name):
    def weights(seed):
        trainer = make(name, seed=seed)
        advance(trainer, 1)
        torch.rand(1), np.random.random(), random.random()  # noqa: NPY002  others may draw meanwhile
        daytwo.evaluate(trainer.agent(), BANDIT, lifetimes=8, **EASY)
        advance(trainer, 1)
        return np.concatenate([tensor.ravel() for tensor in trainer.tensors().values()])

    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    trainer = make(name)
    advance(trainer, 1)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]  # noqa: NPY002
    same, again, other = weights(0), weights(0), weights(1)
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_acts_with_the_weights_that_were_trained(name):
    """The greedy agent takes the model's own most probable actions."""
    trainer = make(name)
    advance(trainer, 3)
    agent, model = trainer.agent(), trainer.model
    agent.greedy = True
    lanes = 8
    env = VecMonitor(LifetimeVecEnv(BANDIT, lanes, **EASY))
    summary = SummaryVecEnv(env, trainer.spec) if name == "ppo-statistics" else None
    agent.begin(trainer.spec, np.array(training_seeds(5, lanes), dtype=np.uint64))
    env.seed(5)
    rows = env.reset() if summary is None else summary.reset()
    fresh, state = np.ones(lanes, dtype=np.bool_), None
    for _ in range(25):
        expected, state = model.predict(rows, state=state, episode_start=fresh, deterministic=True)
        np.testing.assert_array_equal(agent.act(rows[:, : trainer.spec.layout.size], fresh), expected)
        rows, _, fresh, _ = (env if summary is None else summary).step(expected)


def test_a_summary_stands_in_for_a_memory():
    """Random 2.5 and oracle 4.5; the amnesiac twin has lost the first episode's pulls by the second."""
    trainer = make("ppo-statistics", steps=60_000, num_envs=128, lifetimes_per_batch=32)
    while trainer.steps < trainer.total:
        figures = trainer.advance()
    assert {"adaptation/episode_001", "adaptation/episode_002", "lifetime/return"} <= figures.keys()
    kept, wiped = (
        daytwo.evaluate(trainer.agent(), BANDIT, lifetimes=1000, memory=memory, **EASY).returns.mean(axis=0)
        for memory in ("kept", "wiped")
    )
    assert kept[1] > 4.1 and kept[1] > wiped[1] + 0.4


def test_what_is_described_is_what_is_there():
    for name in NAMES:
        trainer = make(name)
        told, tensors = trainer.describe(), trainer.tensors()
        assert told["agent"] == "policy-network" and told["algorithm"] == name and not told["privileged"]
        assert told["policy"]["parameters"] == sum(tensor.size for tensor in tensors.values())
        extra = Summary(trainer.spec, 1).size if name == "ppo-statistics" else 0
        assert told["policy"]["inputs"] == trainer.spec.layout.size + extra
        assert not any("value" in key for key in tensors)
        trainer.close()


def test_learning_rate_and_entropy_fall_as_they_should():
    trainer = make("ppo", steps=1600, rollout_steps=10)
    rates, weights = [], []
    for figures in advance(trainer, 10):
        rates.append(figures["train/learning_rate"])
        weights.append(figures["train/entropy_weight"])
    config = trainer.config
    assert rates[0] == pytest.approx(config.learning_rate * (0.02 + 0.98 * 0.9))
    assert rates[-1] == pytest.approx(config.learning_rate * 0.02)
    assert weights[0] == pytest.approx(config.entropy * 0.7 / 0.8) and weights[-1] == weights[-2] == 0.0
