"""The Stable-Baselines3 vector environment, and its models as agents."""

import json
import pickle
import warnings

import gymnasium
import numpy as np
import pytest

import daytwo
from daytwo import kernels
from daytwo.agent import find_checkpoint, make_agent, register_checkpoint_kind
from daytwo.course import course_names
from daytwo.evaluation.running import evaluate
from daytwo.streams import lifetime_seeds

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from sb3_contrib import MaskablePPO, RecurrentPPO  # noqa: E402
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported  # noqa: E402
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy  # noqa: E402
from stable_baselines3 import DQN, PPO  # noqa: E402
from stable_baselines3.common.env_checker import check_env  # noqa: E402
from stable_baselines3.common.policies import ActorCriticPolicy  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

from daytwo.baselines.trained import TrainedAgent, load_agent  # noqa: E402
from daytwo.integrations.stable_baselines3 import (  # noqa: E402
    LifetimeVecEnv,
    ModelAgent,
    PolicyAgent,
    training_seeds,
)
from daytwo.integrations.training import LifetimeLstmPolicy  # noqa: E402
from daytwo.networks import Network, describe_interface  # noqa: E402

BANDIT = "daytwo/Bandit-v0"
SMALL = {"course": "single", "level": 0, "episodes": 3}  # 2 of 10 arms, 20 pulls
INNER_KEYS = {
    "episode_return",
    "episode_normalized_return",
    "improvement",
    "bar",
    "level",
    "stage",
    "episode_index",
}


def spec_of(env_id=BANDIT, **settings):
    return daytwo.LifetimeVectorEnv(env_id, 1, **settings).lifetime_spec


def actor_critic(spec, recurrent, seed=0, **options):
    """A policy with weights large enough that its actions depend on what it saw."""
    torch.manual_seed(seed)
    kind = RecurrentActorCriticPolicy if recurrent else ActorCriticPolicy
    policy = kind(spec.observation_space, spec.action_space, lambda progress: 1e-3, **options)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    policy.set_training_mode(False)
    return policy


def save_checkpoint(folder, policy, spec, activation="tanh", **changes):
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}, folder / "policy.safetensors"
    )
    config = {
        "agent": "policy-network",
        "algorithm": "recurrent-ppo",
        "interface": describe_interface(spec),
        "policy": {"activation": activation},
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


LSTM = {"lstm_hidden_size": 7, "shared_lstm": True, "enable_critic_lstm": False}
ARCHITECTURES = {
    "lstm": (True, "tanh", {**LSTM, "net_arch": {"pi": [], "vf": [5]}}),
    "two-lstm-layers-and-dense": (True, "tanh", {**LSTM, "n_lstm_layers": 2, "net_arch": {"pi": [6, 5], "vf": []}}),
    "dense-tanh": (False, "tanh", {"net_arch": {"pi": [9, 8], "vf": [4]}}),
    "dense-relu": (False, "relu", {"net_arch": {"pi": [16], "vf": [4]}, "activation_fn": torch.nn.ReLU}),
    "linear": (False, "tanh", {"net_arch": []}),
}


# --- the vector environment -------------------------------------------------------------------------------------------


def test_every_lane_equals_a_single_environment_over_several_lifetimes():
    lanes = LifetimeVecEnv(BANDIT, 3, **SMALL)
    seeds = lanes.seed(5)
    singles = [daytwo.LifetimeEnv(BANDIT, **SMALL) for _ in seeds]
    expected = [env.reset(seed=seed)[0] for env, seed in zip(singles, seeds, strict=True)]
    observations = lanes.reset()
    np.testing.assert_array_equal(observations, expected)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(150):
        actions = rng.integers(0, 2, 3)
        observations, rewards, dones, infos = lanes.step(actions)
        for i, env in enumerate(singles):
            row, reward, terminated, _, info = env.step(actions[i])
            assert rewards[i] == np.float32(reward) and dones[i] == terminated
            assert {key: infos[i][key] for key in INNER_KEYS if key in infos[i]} == {
                key: info[key] for key in INNER_KEYS if key in info
            }
            if terminated:
                ends += 1
                np.testing.assert_array_equal(infos[i]["terminal_observation"], row)
                assert infos[i]["TimeLimit.truncated"] is False
                row, _ = env.reset()
            np.testing.assert_array_equal(observations[i], row)
    assert ends == 6


def test_only_a_lifetimes_end_is_done_and_only_lanes_with_news_have_infos():
    env = LifetimeVecEnv(BANDIT, 2, seed=0, **SMALL)
    env.reset()
    for step in range(1, 121):
        _, rewards, dones, infos = env.step(np.zeros(2, dtype=np.int64))
        assert rewards.dtype == np.float32 and dones.dtype == np.bool_
        assert dones.all() == (step % 60 == 0) == dones.any()
        for info in infos:
            expected = INNER_KEYS if step % 20 == 0 else set()
            if step % 60 == 0:
                expected = expected | {"terminal_observation", "TimeLimit.truncated"}
            assert set(info) == expected
    assert infos[0] is not infos[1]


def test_vec_monitor_reports_whole_lifetimes():
    env = VecMonitor(LifetimeVecEnv(BANDIT, 2, seed=0, **SMALL))
    env.reset()
    total = np.zeros(2)
    for _ in range(60):
        _, rewards, dones, infos = env.step(np.ones(2, dtype=np.int64))
        total += rewards
    assert dones.all()
    for lane, info in enumerate(infos):
        assert info["episode"]["l"] == 60
        assert info["episode"]["r"] == pytest.approx(total[lane], abs=1e-5)


def test_observations_that_are_held_do_not_change():
    env = LifetimeVecEnv(BANDIT, 2, seed=0, **SMALL)
    held = [env.reset()]
    tensors, copies = [torch.as_tensor(held[0])], [held[0].copy()]
    for step in range(70):
        observations, _, _, _ = env.step(np.full(2, step % 2))
        # Rollout buffers keep the array itself, policies a tensor on its memory.
        if step % 3:
            held.append(observations)
            copies.append(observations.copy())
            tensors.append(torch.as_tensor(observations[:]))
    for array, tensor, copy in zip(held, tensors, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        np.testing.assert_array_equal(tensor.numpy(), copy)


def test_training_seeds_share_nothing_between_runs_nor_with_evaluation():
    first, second = training_seeds(0, 500), training_seeds(1, 500)
    later = training_seeds(0, 500, lived=500)
    evaluated = lifetime_seeds(0, 0, 1000).tolist()
    assert len({*first, *second, *later, *evaluated}) == 2500
    assert training_seeds(0, 10) == first[:10]
    env = LifetimeVecEnv(BANDIT, 4, **SMALL)
    assert env.seed(0) == first[:4]
    assert env.seed() != env.seed()


def test_equal_seeds_give_equal_lifetimes_and_a_later_reset_goes_on_to_new_ones():
    first, second = (LifetimeVecEnv(BANDIT, 4, seed=3, privileged=True, **SMALL) for _ in range(2))
    first.reset()
    second.reset()
    assert first.env_method("tasks") == second.env_method("tasks")
    before = first.env_method("tasks")
    first.reset()
    assert all(old != new for old, new in zip(before, first.env_method("tasks"), strict=True))
    first.seed(3)
    first.reset()
    assert first.env_method("tasks") == before


def test_options_hand_single_lanes_their_task():
    env = LifetimeVecEnv(BANDIT, 3, seed=0, privileged=True, **SMALL)
    env.reset()
    task = env.env_method("tasks")[0]
    env.set_options([{}, {"task": task}, {}])
    env.reset()
    tasks = env.env_method("tasks")
    assert tasks[1] == task and tasks[0] != task and tasks[2] != task


def test_attributes_and_methods_answer_for_the_chosen_lanes():
    env = LifetimeVecEnv(BANDIT, 3, seed=0, privileged=True, render_mode="rgb_array", **SMALL)
    env.reset()
    assert env.get_attr("split") == ["train"] * 3
    assert env.get_attr("split", indices=[0, 2]) == ["train"] * 2
    assert env.render_mode == "rgb_array" and len(env.get_images()) == 3 and env.render().ndim == 3
    oracle = env.env.oracle_actions()
    assert env.env_method("oracle_actions", indices=[2, 0]) == [oracle[2], oracle[0]]
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    assert not env.has_attr("no_such_thing")
    env.set_attr("remark", "hello")
    assert env.get_attr("remark", indices=1) == ["hello"]
    with pytest.raises(ValueError, match="share one environment"):
        env.set_attr("remark", "hello", indices=[1])


def test_maskable_algorithms_find_the_action_masks():
    env = LifetimeVecEnv(BANDIT, 3, seed=0, episodes=1)
    env.reset()
    assert is_masking_supported(env)
    np.testing.assert_array_equal(get_action_masks(env), [[True] * 2 + [False] * 8] * 3)
    for _ in range(20):
        env.step(np.zeros(3, dtype=np.int64))
    assert get_action_masks(env).sum() == 3 * 5
    model = MaskablePPO("MlpPolicy", env, n_steps=40, batch_size=40, n_epochs=1, device="cpu")
    model.learn(120)
    actions = ModelAgent(model)
    result = evaluate(actions, BANDIT, lifetimes=20, episodes=1)
    assert np.isfinite(result.returns).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="autoreset_mode"):
        LifetimeVecEnv(BANDIT, 2, autoreset_mode="SameStep")
    env = LifetimeVecEnv(BANDIT, 2, **SMALL)
    with pytest.raises(ValueError, match="at least 0, received -1"):
        env.seed(-1)
    with pytest.raises(ValueError, match="Expected 2 seeds"):
        env.seed_lanes([1])
    with pytest.raises(ValueError, match="arms"):
        LifetimeVecEnv(BANDIT, 2, arms=1)


@pytest.mark.parametrize("observation", ["flat", "dict"])
@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_stable_baselines3_checker_has_nothing_to_say(env_id, observation):
    for course in course_names():
        env = gymnasium.make(env_id, course=course, observation=observation)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(env.unwrapped)
        env.close()


# --- agents -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_networks_outputs_are_torchs(architecture):
    recurrent, activation, options = ARCHITECTURES[architecture]
    spec = spec_of(**SMALL)
    policy = actor_critic(spec, recurrent, **options)
    network = Network({name: tensor.numpy() for name, tensor in policy.state_dict().items()}, activation)
    rng = np.random.default_rng(1)
    lanes, state = 5, None
    network.begin(lanes)
    for step in range(12):
        rows = rng.normal(size=(lanes, spec.layout.size)).astype(np.float32)
        fresh = rng.random(lanes) < 0.3 if step else np.ones(lanes, dtype=np.bool_)
        with torch.no_grad():
            tensor = torch.as_tensor(rows)
            if recurrent:
                if state is None:
                    state = (torch.zeros(policy.lstm_hidden_state_shape[0], lanes, 7),) * 2
                made, state = policy.get_distribution(tensor, state, torch.as_tensor(fresh, dtype=torch.float32))
            else:
                made = policy.get_distribution(tensor)
        scores = network.forward(rows, fresh)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(scores, made.distribution.logits.numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("architecture", ["lstm", "dense-tanh"])
def test_results_are_bit_identical_for_any_batch_size(tmp_path, architecture):
    recurrent, activation, options = ARCHITECTURES[architecture]
    spec = spec_of(**SMALL)
    save_checkpoint(tmp_path, actor_critic(spec, recurrent, **options), spec, activation)
    whole = evaluate(str(tmp_path), BANDIT, lifetimes=70, **SMALL)
    for lanes in (1, 33):
        parts = evaluate(str(tmp_path), BANDIT, lifetimes=70, num_envs=lanes, **SMALL)
        np.testing.assert_array_equal(parts.returns, whole.returns)
        np.testing.assert_array_equal(parts.reward, whole.reward)
    assert len(np.unique(whole.returns)) > 3


def test_the_outputs_of_one_lifetime_do_not_depend_on_its_neighbours(tmp_path):
    spec = spec_of(**SMALL)
    policy = actor_critic(spec, True, **ARCHITECTURES["two-lstm-layers-and-dense"][2])
    network = Network({name: tensor.numpy() for name, tensor in policy.state_dict().items()}, "tanh")
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(10, 130, spec.layout.size)).astype(np.float32)

    def outputs(lanes):
        network.begin(len(lanes))
        return np.array([network.forward(step[lanes], np.full(len(lanes), k == 0)) for k, step in enumerate(rows)])

    whole = outputs(np.arange(130))
    for lanes in ([129], [7, 0], list(range(129, -1, -1))):
        np.testing.assert_array_equal(outputs(lanes), whole[:, lanes])


def test_compiled_and_interpreted_actions_are_equal(tmp_path):
    spec = spec_of(**SMALL)
    save_checkpoint(tmp_path, actor_critic(spec, True, **ARCHITECTURES["lstm"][2]), spec)
    compiled = evaluate(str(tmp_path), BANDIT, lifetimes=4, **SMALL)
    interpreted = evaluate(str(tmp_path), BANDIT, lifetimes=4, compiled=False, **SMALL)
    np.testing.assert_array_equal(compiled.returns, interpreted.returns)


def test_actions_are_drawn_with_the_policys_probabilities_or_greedily(tmp_path):
    spec = spec_of(**SMALL)
    policy = actor_critic(spec, False, **ARCHITECTURES["linear"][2])
    save_checkpoint(tmp_path, policy, spec)
    lanes = 20_000
    rows = np.zeros((lanes, spec.layout.size), dtype=np.float32)
    fresh = np.ones(lanes, dtype=np.bool_)
    with torch.no_grad():
        expected = policy.get_distribution(torch.as_tensor(rows[:1])).distribution.probs.numpy()[0]
    seeds = lifetime_seeds(0, 0, lanes)
    agent = load_agent(tmp_path)
    agent.begin(spec, seeds)
    actions = agent.act(rows, fresh)
    frequencies = np.bincount(actions, minlength=spec.actions) / lanes
    # Four standard errors of each frequency.
    assert (np.abs(frequencies - expected) < 4.0 * np.sqrt(expected * (1.0 - expected) / lanes) + 1e-4).all()
    assert (agent.act(rows, fresh) != actions).any()
    agent.begin(spec, seeds)
    np.testing.assert_array_equal(agent.act(rows, fresh), actions)
    greedy = TrainedAgent(tmp_path, greedy=True)
    greedy.begin(spec, seeds)
    assert (greedy.act(rows, fresh) == expected.argmax()).all()


def test_no_global_generator_is_touched(tmp_path):
    spec = spec_of(**SMALL)
    save_checkpoint(tmp_path, actor_critic(spec, True, **ARCHITECTURES["lstm"][2]), spec)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate(str(tmp_path), BANDIT, lifetimes=3, **SMALL)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpys, np.random.get_state()[1])  # noqa: NPY002


def test_the_hidden_state_lasts_for_a_lifetime_and_no_longer(tmp_path):
    spec = spec_of(**SMALL)
    save_checkpoint(tmp_path, actor_critic(spec, True, **ARCHITECTURES["lstm"][2]), spec)
    agent = load_agent(tmp_path, greedy=True)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 2, spec.layout.size)).astype(np.float32)
    seeds = lifetime_seeds(0, 0, 2)

    def outputs(fresh_at):
        agent.begin(spec, seeds)
        return [agent._network.forward(row, np.full(2, k == 0 or k == fresh_at)) for k, row in enumerate(rows)]

    kept, wiped = outputs(0), outputs(3)
    assert (kept[3] != wiped[3]).any()
    agent.begin(spec, seeds)
    np.testing.assert_array_equal(agent._network.forward(rows[3], np.ones(2, dtype=np.bool_)), wiped[3])


def test_another_interface_is_refused_with_what_differs(tmp_path):
    spec = spec_of(**SMALL)
    save_checkpoint(tmp_path, actor_critic(spec, True, **ARCHITECTURES["lstm"][2]), spec)
    agent = load_agent(tmp_path)
    seeds = lifetime_seeds(0, 0, 1)
    agent.begin(spec_of(course="single", level=0, episodes=50), seeds)  # longer lifetimes are welcome
    with pytest.raises(ValueError, match=r"'discrete', 'number': 10.*'number': 4"):
        agent.begin(spec_of(arms=4, course="single"), seeds)
    with pytest.raises(ValueError, match="part 'stage_length' that it did not have in training"):
        agent.begin(spec_of(show=("previous_action", "previous_reward", "stage_length"), **SMALL), seeds)
    with pytest.raises(ValueError, match="had a part 'time' in training"):
        agent.begin(spec_of(show=("previous_action", "previous_reward", "episode_start", "level"), **SMALL), seeds)
    with pytest.raises(ValueError, match="family was 'Bandit' in training"):
        agent.begin(spec_of("daytwo/TabularMDP-v0", course="single", episodes=1), seeds)


def test_a_checkpoint_names_its_kind_and_runs_no_code(tmp_path):
    spec = spec_of(**SMALL)
    policy = actor_critic(spec, True, **ARCHITECTURES["lstm"][2])
    folder = save_checkpoint(tmp_path / "good", policy, spec)
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (marker.write_text, ("boom",))

    for name in ("optimizer.pt", "policy.pkl", "policy.zip"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    made = make_agent(str(folder), spec)
    assert isinstance(made, TrainedAgent) and made.name == "recurrent-ppo" and not marker.exists()
    other = save_checkpoint(tmp_path / "other", policy, spec, agent="os:system")
    with pytest.raises(ValueError, match="kind 'os:system', expected one of 'policy-network'"):
        make_agent(str(other), spec)
    with pytest.raises(ValueError, match="kind 'os:system'"):
        TrainedAgent(other)
    bad = save_checkpoint(tmp_path / "bad", policy, spec)
    (bad / "policy.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(Exception, match=r"(?i)header|safetensor"):
        make_agent(str(bad), spec)
    assert not marker.exists()
    (bad / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="no checkpoint's config"):
        make_agent(str(bad), spec)
    with pytest.raises(ValueError, match="Unknown agent"):
        make_agent(str(tmp_path / "nothing"), spec)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load_agent(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is the name of"):
        register_checkpoint_kind("policy-network", "os:system")


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path):
    spec = spec_of(**SMALL)
    policy = actor_critic(spec, True, **ARCHITECTURES["lstm"][2])
    wrong = describe_interface(spec_of(arms=4, course="single"))
    with pytest.raises(ValueError, match="maps 16 numbers to 10"):
        load_agent(save_checkpoint(tmp_path / "wrong", policy, spec, interface=wrong))
    with torch.no_grad():
        policy.action_net.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not all finite"):
        load_agent(save_checkpoint(tmp_path / "nan", policy, spec))


def test_the_last_checkpoint_of_a_run_is_taken(tmp_path):
    assert find_checkpoint(tmp_path) is None
    for steps in (500, 12_000, 1_000):
        folder = tmp_path / "checkpoints" / f"{steps:012d}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert find_checkpoint(tmp_path).name == "000000012000"
    assert find_checkpoint(folder) == folder


def test_a_model_in_memory_acts_as_its_checkpoint_does(tmp_path):
    spec = spec_of(**SMALL)
    env = LifetimeVecEnv(BANDIT, 2, seed=0, **SMALL)
    model = RecurrentPPO(LifetimeLstmPolicy, env, n_steps=10, policy_kwargs=LSTM, seed=0, device="cpu")
    dense = PPO("MlpPolicy", env, n_steps=10, batch_size=20, seed=0, device="cpu")
    for one in (model, dense):
        with torch.no_grad():
            for parameter in one.policy.parameters():
                parameter.mul_(3.0)
        folder = save_checkpoint(tmp_path / type(one).__name__, one.policy, spec)
        for greedy in (False, True):
            saved = evaluate(TrainedAgent(folder, greedy=greedy), BANDIT, lifetimes=70, **SMALL)
            living = evaluate(ModelAgent(one, greedy=greedy), BANDIT, lifetimes=70, **SMALL)
            np.testing.assert_array_equal(saved.returns, living.returns)
    assert living.agent == "PPO"


def test_models_with_dict_observations_and_without_distributions_work():
    env = LifetimeVecEnv(BANDIT, 2, seed=0, observation="dict", **SMALL)
    model = RecurrentPPO("MultiInputLstmPolicy", env, n_steps=10, seed=0, device="cpu")
    result = evaluate(ModelAgent(model, name="mine"), BANDIT, lifetimes=66, **SMALL)
    assert result.agent == "mine" and np.isfinite(result.returns).all()
    flat = LifetimeVecEnv(BANDIT, 2, seed=0, **SMALL)
    learner = DQN("MlpPolicy", flat, seed=0, device="cpu", buffer_size=100)
    result = evaluate(ModelAgent(learner), BANDIT, lifetimes=3, **SMALL)
    again = evaluate(ModelAgent(learner), BANDIT, lifetimes=3, num_envs=1, **SMALL)
    np.testing.assert_array_equal(result.returns, again.returns)
    with pytest.raises(ValueError, match=r"observations .* are not those of"):
        evaluate(ModelAgent(learner), BANDIT, lifetimes=3, arms=4, course="single")
    with pytest.raises(ValueError, match="has no 'observation_space'"):
        ModelAgent(object())


def test_a_plain_function_is_an_agent_with_a_memory():
    def win_stay_lose_shift(observations, state, fresh):
        if state is None:
            state = np.zeros(len(observations), dtype=np.int64)
        lost = observations[:, spec.layout["previous_reward"]][:, 0] == 0.0
        state = np.where(fresh, 0, np.where(lost, 1 - state, state))
        return state, state

    spec = spec_of(**SMALL)
    result = evaluate(PolicyAgent(win_stay_lose_shift), BANDIT, lifetimes=400, **SMALL)
    assert result.agent == "win_stay_lose_shift"
    # The arm pulled is a Markov chain that leaves an arm with the chance of losing on it: its stationary payoff.
    p, q = np.meshgrid((np.arange(400) + 0.5) / 400, (np.arange(400) + 0.5) / 400)
    stationary = (1.0 - 2.0 * (1.0 - p) * (1.0 - q) / (2.0 - p - q)).mean()
    error = result.returns[:, 2].std() / np.sqrt(400)
    assert abs(result.returns[:, 2].mean() - 20 * stationary) < 4.0 * error
    with pytest.raises(ValueError, match=r"must return \(actions, state\)"):
        evaluate(PolicyAgent(lambda observations, state, fresh: np.zeros(3)), BANDIT, lifetimes=3, **SMALL)
    with pytest.raises(ValueError, match="Expected a function"):
        PolicyAgent(3)


def test_the_fast_lstm_policy_computes_what_sb3_contribs_does():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4, 6)
    sequences, length = 5, 8
    features = torch.randn(sequences * length, 4)
    states = (torch.randn(1, sequences, 6), torch.randn(1, sequences, 6))
    for starts_at in ([], [0], [0, 3]):
        starts = torch.zeros(sequences, length)
        starts[1::2, starts_at] = 1.0
        arguments = (features, states, starts.flatten(), lstm)
        ours, theirs = (
            policy._process_sequence(*arguments) for policy in (LifetimeLstmPolicy, RecurrentActorCriticPolicy)
        )
        torch.testing.assert_close(ours[0], theirs[0])
        torch.testing.assert_close(ours[1], theirs[1])


def test_continuous_actions_are_drawn_around_the_mean_and_stay_in_bounds():
    network_actions = {}
    means, deviations = np.array([[0.3, -0.9]] * 20_000), np.array([[0.1, 0.5]] * 20_000)
    from daytwo.networks import Sampler

    for greedy in (False, True):
        sampler = Sampler(lifetime_seeds(0, 0, len(means)), greedy)
        network_actions[greedy] = sampler.continuous(means, deviations)
    np.testing.assert_array_equal(network_actions[True], means)
    drawn = network_actions[False]
    assert drawn.min() >= -1.0 and drawn.max() <= 1.0
    assert abs(drawn[:, 0].mean() - 0.3) < 4 * 0.1 / np.sqrt(20_000) and abs(drawn[:, 0].std() - 0.1) < 0.002
    with kernels.interpreted():
        few = Sampler(lifetime_seeds(0, 0, 50), False).continuous(means[:50], deviations[:50])
    np.testing.assert_array_equal(few, drawn[:50])


def test_a_teacher_chooses_what_stable_baselines3_trains_on():
    lifetimes = LifetimeVecEnv(BANDIT, 8, seed=0, teacher="mastery-gate", episodes=1, pulls=3)
    PPO("MlpPolicy", VecMonitor(lifetimes), n_steps=12, batch_size=96, n_epochs=1, seed=0).learn(300)
    told = lifetimes.teacher_figures()
    # The gate opens when 64 lifetimes were good: untrained, the two arms of level 0 are all that is practised.
    assert told["teacher/trials_0"] == 8 * (lifetimes.env.log.count // 8) > 0 and told["teacher/trials_1"] == 0
    assert LifetimeVecEnv(BANDIT, 2).teacher_figures() == {}
    lifetimes.set_options({"level": 1})
    with pytest.raises(ValueError, match="The teacher chooses what is lived"):
        lifetimes.reset()


def test_a_teacher_may_come_with_a_space_of_its_own():
    def choose(env):
        space = gymnasium.spaces.Discrete(2)
        return daytwo.TaughtVectorEnv(env, "uniform", space=space, decode=lambda row: {"level": int(row) + 1})

    lifetimes = LifetimeVecEnv(BANDIT, 16, teacher=choose, episodes=1, pulls=2)
    lifetimes.seed(0)
    lifetimes.reset()
    levels = {info["level"] for _ in range(6) for info in lifetimes.step(np.zeros(16, np.int64))[3] if "level" in info}
    assert levels == {1, 2}
