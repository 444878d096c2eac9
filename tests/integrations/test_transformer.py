"""The causal transformer: what a step may see, and that acting with a cache is the same network."""

import json

import numpy as np
import pytest

import daytwo
from daytwo.agent import make_agent
from daytwo.networks import describe_interface
from daytwo.streams import lifetime_seeds

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from daytwo.integrations.transformer import (  # noqa: E402
    CHECKPOINT_KIND,
    Cache,
    CausalTransformer,
    InContextAgent,
    TransformerShape,
)

BANDIT = "daytwo/Bandit-v0"
SETTINGS = {"arms": 3, "pulls": 4, "course": "single", "episodes": 3, "split": "all"}
ROUNDING = 2e-5


def network(*, seed=0, **shape):
    made = CausalTransformer(
        TransformerShape(**{"inputs": 5, "outputs": 3, "width": 16, "heads": 2, **shape}), seed=seed
    )
    made.normalise(np.full(made.shape.inputs, 0.5), np.full(made.shape.inputs, 2.0))
    with torch.no_grad():
        made.head.weight *= 30.0  # far from indifferent
    return made


def rows(lanes, steps, inputs=5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((lanes, steps, inputs), dtype=np.float32))


def lived(cache, observations, fresh=None):
    """Outputs of a cache fed step by step; ``fresh`` is ``bool[lanes, steps]``, the first step alone by default."""
    lanes, steps = observations.shape[:2]
    if fresh is None:
        fresh = torch.zeros(lanes, steps, dtype=torch.bool)
        fresh[:, 0] = True
    with torch.inference_mode():
        return torch.stack([cache.step(observations[:, t], fresh[:, t]) for t in range(steps)], dim=1)


@pytest.mark.parametrize("window", [1, 7, 30])
@pytest.mark.parametrize("continuous", [False, True])
def test_acting_with_a_cache_gives_what_the_whole_lifetime_gives_at_once(window, continuous):
    net, seen = network(window=window, continuous=continuous), rows(4, 25)
    with torch.inference_mode():
        expected = net(seen)
    torch.testing.assert_close(lived(Cache(net, 4, 25), seen), expected, atol=ROUNDING, rtol=0)
    assert expected.std(dim=1).min() > 0.01


@pytest.mark.parametrize("window", [7, 30])
def test_a_lifetime_longer_than_expected_makes_the_cache_grow(window):
    net, seen = network(window=window), rows(2, 25)
    with torch.inference_mode():
        torch.testing.assert_close(lived(Cache(net, 2, 3), seen), net(seen), atol=ROUNDING, rtol=0)


def test_the_future_never_changes_the_past():
    net, seen = network(), rows(2, 20)
    other = seen.clone()
    other[:, 12:] = rows(2, 8, seed=1)
    with torch.inference_mode():
        before, after = net(seen), net(other)
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12:] != after[:, 12:]).all(dim=-1).all()


def test_what_is_older_than_the_window_is_out_of_sight():
    """A layer sees ``window - 1`` steps back and a token the row before it; two layers reach twice as far."""
    net, seen = network(window=5), rows(2, 30)
    reach = 2 * (5 - 1) + 1
    other = seen.clone()
    other[:, 10] = 0.0
    with torch.inference_mode():
        changed = (net(seen) != net(other)).any(dim=-1)
    assert changed[:, 10 : 10 + reach + 1].all()
    assert not changed[:, :10].any() and not changed[:, 10 + reach + 1 :].any()


@pytest.mark.parametrize("window", [6, 40])
def test_lanes_that_begin_anew_have_forgotten_everything(window):
    net, seen = network(window=window), rows(3, 24)
    fresh = torch.zeros(3, 24, dtype=torch.bool)
    fresh[:, 0] = fresh[0, 5] = fresh[1, 9] = fresh[1, 10] = fresh[0, 20] = True
    made = lived(Cache(net, 3, 24), seen, fresh)
    with torch.inference_mode():
        for lane in range(3):
            starts = [*torch.nonzero(fresh[lane]).flatten().tolist(), 24]
            for start, stop in zip(starts[:-1], starts[1:], strict=True):
                alone = net(seen[lane : lane + 1, start:stop])[0]
                torch.testing.assert_close(made[lane, start:stop], alone, atol=ROUNDING, rtol=0)


def test_lanes_that_all_begin_anew_may_have_any_past():
    net, seen = network(), rows(2, 10)
    cache = Cache(net, 2, 10)
    first = lived(cache, seen)
    assert torch.equal(lived(cache, seen), first)


def test_weights_follow_from_their_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = network(seed=1), network(seed=1), network(seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.encoder.weight, other.encoder.weight)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": 0}, "layers must be an integer of at least 1, received 0"),
        ({"width": 20}, "width must be a multiple of twice the heads, 8, .*received 20"),
        ({"window": True}, "window must be an integer of at least 1, received True"),
    ],
)
def test_impossible_shapes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TransformerShape(**{"inputs": 3, "outputs": 2, **wrong})


# --- the agent --------------------------------------------------------------------------------------------------------


def spec_of(env_id=BANDIT, **settings):
    env = daytwo.LifetimeVectorEnv(env_id, 1, **(settings or SETTINGS))
    env.close()
    return env.lifetime_spec


def save(folder, spec, *, policy=None, **weights):
    shape = {
        "inputs": spec.layout.size,
        "outputs": spec.actions,
        "continuous": spec.continuous,
        "width": 16,
        "heads": 2,
        "window": 50,
    }
    net = CausalTransformer(TransformerShape(**shape), seed=3)
    with torch.no_grad():
        net.head.weight *= 30.0
    tensors = {**net.state_dict(), **weights}
    folder.mkdir(exist_ok=True)
    safetensors.save_file(
        {key: value for key, value in tensors.items() if value is not None}, folder / "policy.safetensors"
    )
    config = {
        "agent": CHECKPOINT_KIND,
        "algorithm": "ad",
        "source": "reference",
        "interface": describe_interface(spec),
        "policy": {"shape": shape, **(policy or {})},
        "seed": 5,
        "steps_done": 7,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_checkpoint_is_an_agent_wherever_one_is_expected(tmp_path):
    folder = save(tmp_path, spec_of())
    agent = make_agent(folder, spec_of())
    assert isinstance(agent, InContextAgent)
    result = daytwo.evaluate(folder, BANDIT, lifetimes=20, **SETTINGS)
    assert result.agent == "ad" and not result.privileged
    assert result.provenance == {"seed": 5, "steps": 7, "source": "reference"}
    again = daytwo.evaluate(folder, BANDIT, lifetimes=20, **SETTINGS)
    np.testing.assert_array_equal(result.returns, again.returns)


def test_results_do_not_depend_on_how_lifetimes_are_batched(tmp_path):
    folder = save(tmp_path, spec_of())
    whole = daytwo.evaluate(folder, BANDIT, lifetimes=70, **SETTINGS)
    parts = daytwo.evaluate(folder, BANDIT, lifetimes=70, num_envs=11, **SETTINGS)
    np.testing.assert_array_equal(whole.returns, parts.returns)


def test_the_amnesiac_twin_acts_as_if_every_episode_were_its_first(tmp_path):
    """Fed the same rows, a wiped lifetime has the outputs of one that begins there."""
    spec = spec_of()
    agent = InContextAgent(save(tmp_path, spec), greedy=True)
    seen = np.random.default_rng(0).random((70, 9, spec.layout.size), dtype=np.float32)

    def acts(steps, wiped=None):
        agent.begin(spec, lifetime_seeds(0, 0, 70))
        made = []
        for t in steps:
            fresh = np.full(70, t == steps[0])
            if t == wiped:
                fresh[::2] = True
            made.append(agent.act(seen[:, t], fresh))
        return np.stack(made, axis=1)

    kept, wiped, late = acts(range(9)), acts(range(9), wiped=4), acts(range(4, 9))
    np.testing.assert_array_equal(wiped[::2, 4:], late[::2])
    np.testing.assert_array_equal(wiped[1::2], kept[1::2])
    assert (kept[::2, 4:] != late[::2]).any()


def test_only_offered_actions_are_taken(tmp_path):
    settings = {"course": "single", "level": 0, "episodes": 1}
    spec = spec_of(**settings)
    agent = InContextAgent(save(tmp_path, spec))
    agent.begin(spec, lifetime_seeds(0, 0, 200))
    env = daytwo.LifetimeVectorEnv(BANDIT, 200, **settings)
    observations, info = env.reset(seed=lifetime_seeds(0, 0, 200))
    actions = agent.act(observations, np.ones(200, dtype=bool))
    assert info["action_mask"][np.arange(200), actions].all()
    assert set(actions) == {0, 1}


def test_continuous_actions_are_the_means_or_drawn_around_them(tmp_path):
    settings = {"course": "single", "level": 0, "episodes": 1}
    spec = spec_of("daytwo/PointRobot-v0", **settings)
    middle = {"head.weight": torch.zeros(2, 16), "log_std": torch.full((2,), -2.0)}
    folder = save(tmp_path, spec, policy={"greedy": True}, **middle)
    observations = np.zeros((300, spec.layout.size), dtype=np.float32)

    def first(**options):
        agent = InContextAgent(folder, **options)
        agent.begin(spec, lifetime_seeds(0, 0, 300))
        return agent.act(observations, np.ones(300, dtype=bool))

    means, drawn = first(), first(greedy=False)
    assert (means == 0.0).all() and np.abs(drawn).max() <= 1.0
    assert drawn[:, 0].std() == pytest.approx(np.exp(-2.0), rel=0.2)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"head.bias": None}, "the weights lack 'head.bias'"),
        ({"head.bias": torch.zeros(7)}, "no weights 'head.bias' of shape"),
        ({"head.bias": torch.full((3,), float("nan"))}, "the weights 'head.bias' are not all finite"),
        ({"more": torch.zeros(1)}, "no weights 'more'"),
    ],
)
def test_broken_checkpoints_are_refused(tmp_path, broken, message):
    with pytest.raises(ValueError, match=message):
        InContextAgent(save(tmp_path, spec_of(), **broken))


def test_other_environments_and_other_kinds_are_refused(tmp_path):
    agent = InContextAgent(save(tmp_path, spec_of()))
    with pytest.raises(ValueError, match="was not trained for"):
        agent.begin(spec_of(**{**SETTINGS, "arms": 4}), lifetime_seeds(0, 0, 2))
    with pytest.raises(ValueError, match="holds no checkpoint"):
        InContextAgent(tmp_path / "nothing")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "agent": "policy-network"}))
    with pytest.raises(ValueError, match="kind 'policy-network', expected 'in-context-transformer'"):
        InContextAgent(tmp_path)
