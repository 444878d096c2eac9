"""Policies over items: what is shared, what goes with the items, and what is refused."""

import numpy as np
import pytest
from gymnasium import spaces

torch = pytest.importorskip("torch")

from daytwo.integrations.item_policy import ItemPolicy  # noqa: E402
from daytwo.integrations.rl2_trainer import make  # noqa: E402
from daytwo.integrations.training_config import RL2Config  # noqa: E402
from daytwo.item_network import ItemNetwork  # noqa: E402

WIDTH, ITEMS, ACTIONS, FIRST = 9, 3, 5, 1
COLUMNS = [[0, 4], [1, 5], [2, 6]]  # of nine; 3, 7 and 8 are shared


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def policy(**options):
    space = spaces.Box(-1.0, 1.0, (WIDTH,), np.float32)
    options = {
        "columns": COLUMNS,
        "first_action": FIRST,
        "hidden_size": 7,
        "item_units": 5,
        "encoder_size": 6,
    } | options
    made = ItemPolicy(space, spaces.Discrete(ACTIONS), lambda _: 1e-3, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
        # The heads treat items alike only as far as they read their scores: leave it at that.
        made.action_net.weight[:, -ITEMS:] = 0.0
        made.action_net.weight[FIRST : FIRST + ITEMS] = 0.0
        made.action_net.weight[FIRST : FIRST + ITEMS, -ITEMS:] = torch.eye(ITEMS)
        made.action_net.bias[:] = 0.0
    return made


@pytest.mark.parametrize("layers", [1, 2])
def test_what_is_done_with_one_item_is_done_with_all(layers):
    """Items in another order: their actions' scores come in that order, and all else is the same."""
    made, order = policy(item_layers=layers), [2, 0, 1]
    observations, start, keep = torch.rand(6, 4, 2 * WIDTH), torch.zeros(4, made.state_size), torch.ones(6, 4)
    moved = observations.clone()
    for half in (0, WIDTH):
        for item, source in enumerate(order):
            for to, of in zip(COLUMNS[item], COLUMNS[source], strict=True):
                moved[..., half + to] = observations[..., half + of]
    with torch.no_grad():
        scores, other = (made.action_net(made(rows, start, keep)) for rows in (observations, moved))
    named = slice(FIRST, FIRST + ITEMS)
    torch.testing.assert_close(other[..., named], scores[..., named][..., order])
    assert float((other[..., named] - scores[..., named]).abs().max()) > 1e-3
    for action in (0, 4):
        torch.testing.assert_close(other[..., action], scores[..., action])
        assert float(scores[..., action].std()) > 1e-3


@pytest.mark.parametrize("options", [{}, {"item_layers": 2}, {"item_layers": 3, "hub_layers": 1}])
def test_steps_are_a_sequence_with_torch_and_without(options):
    made = policy(**options)
    rows, keep = torch.rand(6, 4, 2 * WIDTH), (torch.rand(6, 4) > 0.3).float()
    state, reads = torch.randn(4, made.state_size), []
    with torch.no_grad():
        whole = made(rows, state, keep)
        for row, kept in zip(rows, keep, strict=True):
            state, read = made.step(row, state, kept)
            reads.append(read)
        scores = made.action_net(made(rows, torch.zeros_like(state), keep)).numpy()
    torch.testing.assert_close(torch.stack(reads), whole)
    network = ItemNetwork(made.tensors())
    network.begin(4)
    for row, kept, expected in zip(rows, keep, scores, strict=True):
        np.testing.assert_allclose(network.forward(row.numpy(), kept.numpy() == 0.0), expected, atol=2e-5)


def test_in_both_layers_an_item_hears_at_once_what_all_say():
    """What one item shows moves another's states in the same step, by way of the hubs."""
    made = policy(item_layers=2)
    rows = torch.rand(1, 1, 2 * WIDTH)
    other = rows.clone()
    other[..., COLUMNS[0]] += 1.0
    keep, start = torch.ones(1, 1), torch.zeros(1, made.state_size)
    with torch.no_grad():
        states = [made._run(seen, start, keep)[1] for seen in (rows, other)]
    # Layer by layer the hub's seven units and five of each item; the last item's are looked at.
    assert made.state_size == 2 * (7 + 3 * 5)
    moved = (states[0] - states[1]).abs()[0]
    assert float(moved[7 + 10 : 7 + 15].max()) > 1e-4
    assert float(moved[22 + 7 + 10 :].max()) > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": [[0, 4], [1]]}, "expected sequence of length"),
        ({"columns": [[0], [9]]}, "columns must be as many of the 9 columns"),
        ({"columns": []}, "columns must be as many of the 9 columns"),
        ({"first_action": 3}, "3 actions from 3 on must be among"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        policy(**options)


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("Laboratory", {"items": 8, "item_parts": ("knobs",)}, "item_parts must be among switches, .*received 'knobs'"),
        ("Laboratory", {"items": 3, "item_parts": ("switches",)}, "'switches' has 8 numbers, which cannot be shared"),
        ("Laboratory", {"items": 8, "item_actions": 4}, "8 actions from 4 on name the items, received actions: 11"),
        ("PointRobot", {"items": 3, "item_actions": 0}, "received actions: continuous ones"),
    ],
)
def test_items_that_the_environment_does_not_have_are_refused(env_id, options, message):
    config = RL2Config(encoder_size=8, **options)
    with pytest.raises(ValueError, match=message):
        make(f"daytwo/{env_id}-v0", config=config, settings={}, steps=64, num_envs=None, seed=0)


def test_weights_of_another_network_are_refused():
    good = policy().tensors()
    ItemNetwork(good)
    with pytest.raises(ValueError, match=r"The policy's weights lack 'layers\.0\.say\.bias'"):
        ItemNetwork({name: array for name, array in good.items() if name != "layers.0.say.bias"})
    for name, wrong, message in (
        ("layers.0.say.weight", np.zeros((6, 12)), r"Expected layers.0.say .* of shape \(12, 6\), received \(13, 6\)"),
        ("layers.0.hub.state_weight", np.zeros((20, 7)), r"Expected layers.0.hub.state_weight of shape \(3H, H\)"),
        ("mixture.bias", np.zeros(6), "Expected a bias and matrices of as many rows"),
        ("shared_columns", np.arange(3), "to hold each of 18 columns once"),
        ("score_weight", np.zeros(4), r"Expected score_weight .* of shape \(5,\), received \(4,\)"),
        ("answer.bias", np.full(6, np.nan), "'answer.bias' are not all finite"),
    ):
        with pytest.raises(ValueError, match=message):
            ItemNetwork({**good, name: wrong})
