"""RL2 as a Stable-Baselines3 algorithm: what its users expect of one, and that it learns to learn."""

import copy

import numpy as np
import pytest

import daytwo
from daytwo.streams import lifetime_seeds

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback  # noqa: E402
from stable_baselines3.common.logger import configure  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

from daytwo.integrations.gru_policy import GruPolicy  # noqa: E402
from daytwo.integrations.rl2 import RL2, ValueScale, generalized_advantages  # noqa: E402
from daytwo.integrations.rl2_trainer import make  # noqa: E402
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv  # noqa: E402
from daytwo.integrations.training_config import RL2Config  # noqa: E402

BANDIT = "daytwo/Bandit-v0"
SHORT = {"arms": 5, "pulls": 10, "course": "single", "episodes": 1, "reward": "raw"}
TWICE = {**SHORT, "pulls": 4, "episodes": 2}
ROBOT = {"course": "single", "episodes": 2}


def lanes_of(lanes=8, env_id=BANDIT, seed=0, **settings):
    return LifetimeVecEnv(env_id, lanes, seed=seed, **(settings or TWICE))


def small(env=None, **options):
    options = {"batch_lifetimes": 4, "policy_kwargs": {"hidden_size": 8, "value_size": 8}, "seed": 0, **options}
    return RL2("GruPolicy", lanes_of() if env is None else env, **options)


def weights(model):
    return {name: tensor.cpu().numpy().copy() for name, tensor in model.policy.state_dict().items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


class Watch(BaseCallback):
    """Counts what it is told."""

    def __init__(self, stop=None):
        super().__init__()
        self.stop, self.steps, self.rollouts, self.finished = stop, 0, 0, 0

    def _on_step(self):
        self.steps += 1
        self.finished += sum("episode_index" in info for info in self.locals["infos"])
        return self.stop is None or self.steps < self.stop

    def _on_rollout_end(self):
        self.rollouts += 1


# --- parts ------------------------------------------------------------------------------------------------------------


def test_advantages_are_those_derived_by_hand():
    rewards = np.array([[1.0], [0.0], [2.0], [4.0]], dtype=np.float32)
    values = np.array([[0.5], [1.0], [3.0], [2.0]], dtype=np.float32)
    ended = np.array([[False], [True], [False], [False]])
    advantages = np.zeros((4, 1), dtype=np.float32)
    generalized_advantages(rewards, values, ended, np.array([8.0], dtype=np.float32), 0.5, 0.5, advantages)
    # Backwards, each difference is r + .5 * next value - value, and each advantage it plus .25 times the next one.
    last = 4.0 + 0.5 * 8.0 - 2.0
    third = (2.0 + 0.5 * 2.0 - 3.0) + 0.25 * last
    second = 0.0 - 1.0  # the lifetime ended: nothing follows
    first = (1.0 + 0.5 * 1.0 - 0.5) + 0.25 * second
    np.testing.assert_allclose(advantages[:, 0], [first, second, third, last], rtol=1e-6)


def test_the_longest_lifetime_is_the_sum_of_its_episodes():
    assert lanes_of().env.lifetime_spec.steps == 8


def test_values_are_scaled_by_step():
    scale = ValueScale(3, "step")
    targets = np.array([[0.0, 2.0], [10.0, 14.0]], dtype=np.float32)
    scale.update(targets, np.array([[0, 0], [1, 1]]))
    np.testing.assert_allclose(scale.mean, [1.0, 12.0, 0.0])
    np.testing.assert_allclose(scale.deviation[:2], [1.0, 2.0])
    scale.update(targets + 5.0, np.array([[0, 0], [1, 1]]))
    np.testing.assert_allclose(scale.mean, [2.0, 13.0, 0.0])  # a fifth of the way
    with pytest.raises(ValueError, match="step, all, none"):
        ValueScale(3, "some")


# --- acting -----------------------------------------------------------------------------------------------------------


def test_the_memory_is_cleared_where_a_lifetime_begins_and_nowhere_else():
    env = lanes_of(6)
    model = small(env, n_steps=5, batch_lifetimes=3)  # lifetimes of 8 steps and rollouts of 5
    begins, ended, position = [], [], []

    class Keep(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            begins.append(1.0 - model.rollout.keep)
            ended.append(model.rollout.ended.copy())
            position.append(model.rollout.positions.copy())

    model.learn(6 * 5 * 4, callback=Keep())
    begins, ended = np.concatenate(begins), np.concatenate(ended)
    assert np.all(begins[0] == 1.0)
    np.testing.assert_array_equal(begins[1:], ended[:-1])
    whole = np.flatnonzero(model.breaks == 0)[0]
    np.testing.assert_array_equal(np.flatnonzero(begins[:, whole]), [0, 8, 16])
    np.testing.assert_array_equal(np.concatenate(position)[:, whole], np.arange(20) % 8)


def test_lanes_live_through_different_parts_of_the_course():
    """Else every update would be about one part of it: each lane's first lifetime is broken off at another step."""
    env = lanes_of(8)
    model = small(env, n_steps=4, batch_lifetimes=4)  # lifetimes of 8 steps
    assert sorted(model.breaks) == list(range(8))
    model.learn(8 * 4 * 4)
    model.collect_rollouts(model.env, model._init_callback(None))
    for row in model.rollout.positions:
        assert sorted(row) == list(range(8))
    # Whole lifetimes in a rollout hold every part of the course anyway.
    assert not small(lanes_of(8), batch_lifetimes=4).breaks.any()


FRONT = {"memory_heads": 2, "memory_units": 7, "memory_products": True}
PLACES = (2, 2, 0, 2, -1, -1, -1, -1)  # any two pairs of numbers of an observation
MEMORIES = [
    {},
    {"memory_heads": 2},
    FRONT,
    {**FRONT, "gated": True},
    {**FRONT, "memory_layers": 3, "clear_column": 6},
    {"places": PLACES},
    {"places": PLACES, "gated": True, **FRONT},
]


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_state_is_carried_from_one_rollout_to_the_next(memory):
    env = lanes_of(6)
    networks = {"hidden_size": 12, "encoder_size": 6, "previous": True, **memory}
    model = small(env, n_steps=5, batch_lifetimes=3, learning_rate=0.0, policy_kwargs=networks)
    model.scaled = True
    model.learn(6 * 5)
    observations, state = model.rollout.observations.copy(), None
    for t in range(5):
        _, state = model.policy.predict(
            observations[t, :, : observations.shape[2] // 2], state, model.rollout.keep[t] == 0.0
        )
    np.testing.assert_allclose(model.state, state[0], atol=1e-6)
    assert np.abs(model.state).max() > 0.0
    model.collect_rollouts(model.env, model._init_callback(None))
    np.testing.assert_allclose(model.rollout.start, state[0], atol=1e-6)


def test_a_gru_can_begin_anew_with_every_episode():
    env = lanes_of(6)
    column = env.env.lifetime_spec.layout["episode_start"].start
    networks = {"hidden_size": 12, "previous": True, "clear_column": column}
    policy = small(env, batch_lifetimes=3, policy_kwargs=networks).policy
    rows = torch.rand(3, 6, 2 * env.observation_space.shape[0])
    rows[:, :, env.observation_space.shape[0] + column] = torch.tensor([0.0, 1.0, 0.0])[:, None]
    with torch.no_grad():
        one, other = (policy.unroll(rows, torch.rand(6, policy.state_size), torch.ones(3, 6))[0] for _ in range(2))
    assert float((one[0] - other[0]).abs().max()) > 0.01
    torch.testing.assert_close(one[1:], other[1:], atol=0.0, rtol=0.0)
    with pytest.raises(ValueError, match="needs previous=True"):
        small(lanes_of(6), policy_kwargs={"hidden_size": 12, "clear_column": column})


def test_a_run_may_begin_with_the_first_stage_alone():
    stages = {"pulls": 4, "episodes": 1}  # three stages of one episode
    config = RL2Config(hidden_size=8, lifetimes_per_batch=4, batches_per_update=2, rollout_steps=12, first_share=0.5)
    options = {"settings": stages, "steps": 8 * 12 * 4, "num_envs": None, "seed": 0}
    trainer = make(BANDIT, config=config, **options)
    lived = []
    for _ in range(4):
        told = trainer.advance()
        lived.append(sum(name.startswith("adaptation/episode_") for name in told))
    assert lived == [1, 1, 3, 3]
    # Every lane's first whole lifetime is broken off at another step only where a rollout is shorter than it.
    assert not trainer.model.breaks.any()
    trainer.close()
    with pytest.raises(ValueError, match="first_share and a teacher both choose"):
        make(BANDIT, config=config, teacher="uniform", **options)


@pytest.mark.parametrize(
    ("alone", "expected"), [(0.0, [[2, 0], [2, 0], [2, 0], [0, 1, 2]]), (0.25, [[0], [0], [2, 0], [0, 1, 2]])]
)
def test_a_run_may_begin_with_stages_of_its_own(alone, expected):
    config = RL2Config(
        hidden_size=8,
        lifetimes_per_batch=4,
        batches_per_update=2,
        rollout_steps=16,
        first_share=0.5,
        first_stages=((2, 1), (0, 3)),
        alone_share=alone,
    )
    trainer = make(BANDIT, config=config, settings={"pulls": 4}, steps=8 * 16 * 4, num_envs=None, seed=0)
    levels = []
    for _ in range(4):
        levels.append([stage.level for stage in trainer.lifetimes.env.lifetime_spec.course.stages])
        told = trainer.advance()
    assert levels == expected
    assert sum(name.startswith("adaptation/episode_") for name in told) > 4
    trainer.close()


def test_first_stages_may_be_longer_than_the_courses_where_the_observation_counts_episodes():
    config = RL2Config(
        hidden_size=8,
        lifetimes_per_batch=4,
        batches_per_update=1,
        rollout_steps=16,
        first_share=0.5,
        first_stages=((0, 5),),
    )
    settings = {"course": "single", "level": 0, "episodes": 2}
    trainer = make("daytwo/Workplace-v0", config=config, settings=settings, steps=4 * 16 * 4, num_envs=None, seed=0)
    episodes = []
    for _ in range(4):
        trainer.advance()
        episodes.append(trainer.lifetimes.env.lifetime_spec.course.episodes)
    assert episodes == [5, 5, 2, 2]
    trainer.close()


def test_parts_that_the_observation_does_not_have_are_refused():
    config = RL2Config(memory_parts=("ticket",), **KEYED)
    with pytest.raises(ValueError, match=r"memory_parts must be among previous_action, .*level, received 'ticket'"):
        make(BANDIT, config=config, settings=TWICE, steps=64, num_envs=8, seed=0)


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_learner_sees_the_probabilities_it_acted_with(memory):
    """Without a change of the weights every ratio is 1: acting and learning compute the same."""
    networks = {"hidden_size": 12, "encoder_size": 6, "previous": True, "memory_contents": 4, **memory}
    model = small(n_steps=8, policy_kwargs=networks)
    model.learn(64)
    model.collect_rollouts(model.env, model._init_callback(None))
    rollout, policy = model.rollout, model.policy
    tensors = [torch.from_numpy(array) for array in (rollout.observations, rollout.start, rollout.keep)]
    with torch.no_grad():
        scores = policy.action_net(policy(*tensors)).masked_fill(~torch.from_numpy(rollout.masks), -1e9)
    logarithms = torch.log_softmax(scores, -1).gather(-1, torch.from_numpy(rollout.actions).unsqueeze(-1))[..., 0]
    np.testing.assert_allclose(logarithms.numpy(), rollout.log_probabilities, atol=1e-5)


READS = {"gated": True, "previous": True, "encoder_size": 6}
KEYED = {"previous": True, "encoder_size": 6, "memory_heads": 2, "memory_keys": 5, "memory_contents": 3}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        READS,
        KEYED,
        {**READS, **KEYED},
        {**KEYED, "memory_products": True, "memory_parts": ("time", "level")},
        {**KEYED, **FRONT},
        {**KEYED, "memory_layers": 2, "episodic": True},
        READS | KEYED | FRONT | {"memory_layers": 3, "episodic": True},
    ],
    ids=["plain", "reads", "keyed", "both", "products", "front", "deeper", "all"],
)
@pytest.mark.parametrize("env_id", [BANDIT, "daytwo/PointRobot-v0"])
def test_the_agent_acts_as_the_policy_does(env_id, extra):
    check_the_agent_acts_as_the_policy_does(env_id, TWICE if env_id == BANDIT else ROBOT, extra)


@pytest.mark.parametrize("extra", [{}, {"gated": True}, KEYED | FRONT], ids=["reads", "gated", "front"])
def test_an_agent_that_looks_at_slots_acts_as_the_policy_does(extra):
    slots = {**READS, "gated": False, "slots": (("stones", 3), ("potions", 12)), **extra}
    check_the_agent_acts_as_the_policy_does("daytwo/Alchemy-v0", {}, slots)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"place_plans": True},
        {"memory_units": 7, "gated": True, "episodic": True},
        KEYED | FRONT,
        KEYED | FRONT | {"place_plans": True},
    ],
)
@pytest.mark.parametrize("env_id", ["daytwo/Maze-v0", "daytwo/DarkRoom-v0"])
def test_an_agent_that_remembers_places_acts_as_the_policy_does(env_id, extra):
    places = {"places": ("x", "y")}
    if env_id == "daytwo/Maze-v0":
        places = {"places": ("heading", "walls_behind"), "place_width": 13, "place_ahead": 7}
    options = {**READS, "gated": False, "place_contents": 3, **places, **extra}
    check_the_agent_acts_as_the_policy_does(env_id, {}, options)


ITEMS = {"previous": True, "encoder_size": 6, "item_units": 5}


@pytest.mark.parametrize(
    ("env_id", "extra"),
    [
        (
            "daytwo/Laboratory-v0",
            {"items": 8, "item_parts": ("switches", "tested"), "item_actions": 0, "masked": False},
        ),
        ("daytwo/TabularMDP-v0", {"items": 10, "item_parts": ("state", "final_observation"), "previous": False}),
        (BANDIT, {"items": 5, "item_actions": 0}),
        (BANDIT, {"items": 5, "item_actions": 0, "hub_layers": 1}),
        (BANDIT, {"items": 5, "item_actions": 0, "item_layers": 2}),
        ("daytwo/PointRobot-v0", {"items": 3, "item_parts": ("goal",)}),
    ],
)
def test_an_agent_over_items_acts_as_the_policy_does(env_id, extra):
    settings = {BANDIT: TWICE, "daytwo/PointRobot-v0": ROBOT}.get(env_id, {})
    check_the_agent_acts_as_the_policy_does(env_id, settings, {**ITEMS, **extra})


def check_the_agent_acts_as_the_policy_does(env_id, settings, extra):
    config = RL2Config(hidden_size=12, lifetimes_per_batch=4, batches_per_update=2, rollout_steps=8, **extra)
    trainer = make(env_id, config=config, settings=settings, steps=1000, num_envs=None, seed=0)
    trainer.advance()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in trainer.model.policy.parameters():
            parameter.add_(0.6 * torch.randn(parameter.shape, generator=generator))
        # A large gain, and no bias by which one action would win everywhere.
        policy = trainer.model.policy
        if config.items:
            steep = [policy.answer.weight, *(layer.unit.input_weight for layer in policy.layers)]
        else:
            steep = [policy.gru.input_weight]
        for weight in steep:
            weight.mul_(4.0)
        policy.action_net.bias.zero_()
    agent = trainer.agent()
    agent.greedy = True
    env = daytwo.LifetimeVectorEnv(env_id, 5, autoreset_mode="SameStep", **settings)
    seeds = lifetime_seeds(0, 0, 5)
    observations, _ = env.reset(seed=seeds)
    agent.begin(env.lifetime_spec, seeds)
    fresh, state, actions = np.ones(5, dtype=np.bool_), None, []
    for _ in range(20):
        expected, state = trainer.model.predict(observations, state, fresh, deterministic=True)
        found = agent.act(observations, fresh)
        np.testing.assert_allclose(found, expected, atol=1e-4)
        actions.append(found)
        observations, _, fresh, _, _ = env.step(found)
    assert len(np.unique(np.concatenate(actions))) > 1
    env.close()
    trainer.close()


# --- what users of Stable-Baselines3 expect ---------------------------------------------------------------------------


def test_callbacks_see_every_step_and_can_stop():
    env = VecMonitor(lanes_of(8))
    model, watch = small(env), Watch()
    assert isinstance(model, BaseAlgorithm)
    assert model.learn(200, callback=watch) is model
    assert model.num_timesteps == 256  # whole rollouts of 8 lanes x 8 steps
    assert (watch.steps, watch.rollouts, watch.finished) == (32, 4, 64)
    assert len(model.ep_info_buffer) == 32  # lifetimes, as VecMonitor tells them
    assert all(info["l"] == 8 for info in model.ep_info_buffer)
    watch = Watch(stop=10)
    model.learn(10_000, callback=watch)
    assert watch.steps == 10


def test_the_logger_has_the_usual_figures(tmp_path):
    model = small(VecMonitor(lanes_of(8)))
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(64 * 3, log_interval=1)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/total_timesteps"} <= set(header)
    parts = {"policy_loss", "value_loss", "entropy", "gradient_norm", "explained_variance", "learning_rate"}
    assert {f"train/{part}" for part in parts} <= set(header)


def test_a_saved_model_acts_and_goes_on_as_before(tmp_path):
    model = small()
    model.learn(640, callback=CheckpointCallback(save_freq=40, save_path=str(tmp_path)))
    assert list(tmp_path.glob("*.zip"))
    model.save(tmp_path / "model")
    before, moments = weights(model), copy.deepcopy(model.policy.optimizer.state_dict())
    loaded = RL2.load(tmp_path / "model", env=lanes_of(seed=5))
    assert same(before, weights(loaded))
    assert loaded.num_timesteps == 640
    for key, value in moments["state"][0].items():
        torch.testing.assert_close(loaded.policy.optimizer.state_dict()["state"][0][key], value)
    np.testing.assert_array_equal(loaded.value_scale.mean, model.value_scale.mean)
    rows = lanes_of(seed=9).reset()
    one, other = model.predict(rows, deterministic=True), loaded.predict(rows, deterministic=True)
    np.testing.assert_array_equal(one[0], other[0])
    loaded.learn(128, reset_num_timesteps=False)
    assert loaded.num_timesteps == 768
    np.testing.assert_array_equal(before["input_scale"], weights(loaded)["input_scale"])
    assert not same(before, weights(loaded))
    alone = RL2.load(tmp_path / "model")  # without an environment, for predict
    np.testing.assert_array_equal(alone.predict(rows, deterministic=True)[0], one[0])


def test_set_env_takes_lifetimes_of_another_length_and_load_another_number_of_lanes(tmp_path):
    model = small()
    model.learn(64)
    before = model.policy.input_scale.clone()
    model.set_env(lanes_of(8, **{**TWICE, "episodes": 3}))
    assert model.n_steps == 12
    model.learn(96)
    assert model.num_timesteps == 96
    assert torch.equal(model.policy.input_scale, before)
    model.save(tmp_path / "model")
    loaded = RL2.load(tmp_path / "model", env=lanes_of(12))
    assert (loaded.n_envs, loaded.n_steps) == (12, 8)
    loaded.learn(96)
    assert torch.equal(loaded.policy.input_scale, before)
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env(lanes_of(8, **{**TWICE, "arms": 4}))


def test_predict_takes_one_lifetime_or_many():
    model = small()
    rows = lanes_of().reset()
    actions, state = model.predict(rows)
    assert actions.shape == (8,)
    assert state[0].shape == (8, 8)
    one, _ = model.predict(rows[0], deterministic=True)
    assert int(one) == int(model.predict(rows, deterministic=True)[0][0])
    model.predict(rows, state, np.zeros(8, dtype=np.bool_))
    cleared = model.predict(rows, state, np.ones(8, dtype=np.bool_))[1][0]
    np.testing.assert_allclose(cleared, state[0], atol=1e-6)


def test_schedules_are_functions_of_what_remains():
    asked = []

    def falling(remaining):
        asked.append(remaining)
        return 1e-3 * remaining

    small(learning_rate=falling, ent_coef=lambda remaining: 0.1 * remaining).learn(640)
    assert min(asked) < 0.15
    assert max(asked) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_lifetimes": 0}, "batch_lifetimes must be an integer of at least 1, received 0"),
        ({"batch_lifetimes": 9}, "batch_lifetimes=9 is more than the 8 lanes"),
        ({"n_epochs": 1.5}, "n_epochs must be an integer of at least 1, received 1.5"),
        ({"n_steps": True}, "n_steps must be an integer of at least 1, received True"),
        ({"imitate": 1.5}, r"imitate must be in \[0, 1\], received 1.5"),
        ({"normalize": "lane"}, "normalize must be one of step, all, none, received 'lane'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_environments_need_a_number_of_steps_and_flat_observations():
    from gymnasium import spaces
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env("CartPole-v1", 4)
    with pytest.raises(ValueError, match="here give a number"):
        small(env)
    with pytest.raises(ValueError, match="need a LifetimeVecEnv"):
        small(env, n_steps=8, auxiliary=0.1)
    small(env, n_steps=8).learn(64)
    with pytest.raises(ValueError, match="flat observations"):
        GruPolicy(spaces.Box(0.0, 1.0, (3, 3)), spaces.Discrete(2), lambda _: 1e-3)
    with pytest.raises(ValueError, match="Discrete or Box"):
        GruPolicy(spaces.Box(0.0, 1.0, (3,)), spaces.MultiBinary(2), lambda _: 1e-3)


# --- learning ---------------------------------------------------------------------------------------------------------


def test_two_runs_of_one_seed_are_identical_to_the_last_bit():
    runs = []
    for _ in range(2):
        model = small(lanes_of(8))
        model.learn(64 * 5)
        runs.append(weights(model))
    assert same(*runs)
    other = small(lanes_of(8), seed=1)
    other.learn(64 * 5)
    assert not same(runs[0], weights(other))


def test_imitation_learns_what_the_reference_learner_does():
    env = lanes_of(32, **{**SHORT, "arms": 3})
    model = small(env, imitate=1.0, batch_lifetimes=16, policy_kwargs={"hidden_size": 16}, learning_rate=1e-2)
    losses = []

    class Keep(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_start(self):
            losses.append(self.logger.name_to_value.get("train/policy_loss"))

    model.learn(320 * 30, callback=Keep(), log_interval=None)
    assert losses[1] == pytest.approx(np.log(3.0), abs=0.1)
    assert losses[-1] < 0.6 * losses[1]


@pytest.mark.parametrize(("share", "alike"), [(1.0, True), (0.0, False)])
def test_a_teacher_that_keeps_all_lanes_acts_in_all_of_them(share, alike):
    model = small(lanes_of(8), batch_lifetimes=4, imitate=1.0, teacher="ucb1", teacher_share=share)
    taught = []

    class Look(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            taught.append(np.mean(model.rollout.actions == model.rollout.labels))

    model.learn(8 * 8 * 6, callback=Look())
    assert taught[0] == 1.0
    assert (taught[-1] == 1.0) == alike


def test_the_privileged_head_learns_to_predict_the_oracle():
    env = LifetimeVecEnv(BANDIT, 32, seed=0, privileged=True, **{**SHORT, "arms": 3})
    model = small(env, auxiliary=1.0, batch_lifetimes=16, policy_kwargs={"hidden_size": 16}, learning_rate=1e-2)
    model.learn(320)
    first = model.logger.name_to_value["train/auxiliary_loss"]
    model.learn(320 * 100, log_interval=None)
    assert model.logger.name_to_value["train/auxiliary_loss"] < first - 0.1
    assert not any(name.startswith("auxiliary") for name in model.policy.tensors())


def test_continuous_actions_learn():
    env = lanes_of(32, "daytwo/PointRobot-v0", **{**ROBOT, "reward": "return", "dense": True})
    model = small(env, batch_lifetimes=8, policy_kwargs={"hidden_size": 16}, learning_rate=1e-2)
    before = weights(model)
    watch = Watch()
    model.learn(32 * model.n_steps * 2, callback=watch)
    after = weights(model)
    assert watch.finished == 32 * 2 * 2
    assert all(np.isfinite(value).all() for value in after.values())
    assert not np.array_equal(before["log_std"], after["log_std"])
    assert not np.array_equal(before["action_net.weight"], after["action_net.weight"])


def test_it_learns_to_learn():
    """Five arms, ten pulls: drawing at random earns 5.0, the best arm 8.33, the exact optimum of learning 6.66."""
    config = RL2Config(
        rollout_steps=None, lifetimes_per_batch=128, batches_per_update=8, learning_rate=3e-3, entropy=0.03
    )
    trainer = make(BANDIT, config=config, settings=SHORT, steps=1_500_000, num_envs=None, seed=0)
    while trainer.steps < 1_200_000:
        trainer.advance()
    agent = trainer.agent()
    score = daytwo.evaluate(agent, BANDIT, lifetimes=4000, seed=0, **SHORT).returns.sum(axis=1).mean()
    wiped = trainer.agent()
    wiped = daytwo.evaluate(_Forgetful(wiped), BANDIT, lifetimes=1000, seed=0, **SHORT).returns.sum(axis=1).mean()
    assert score > 6.3
    assert wiped < score - 0.3  # what it lacks was learnt within the lifetime
    trainer.close()


class _Forgetful:
    """An agent whose lifetime begins anew with every step."""

    name = "forgetful"

    def __init__(self, agent):
        self.agent = agent

    def begin(self, spec, seeds):
        self.agent.begin(spec, seeds)

    def act(self, observations, fresh):
        return self.agent.act(observations, np.ones_like(fresh))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("env_id", [BANDIT, "daytwo/PointRobot-v0"])
def test_cuda_learns_what_the_processor_learns(env_id):
    settings = TWICE if env_id == BANDIT else ROBOT
    found = []
    for device in ("cpu", "cuda"):
        model = small(lanes_of(8, env_id, **settings), device=device, learning_rate=1e-3)
        model.learn(8 * model.n_steps)
        found.append(weights(model))
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], atol=1e-4, err_msg=name)
