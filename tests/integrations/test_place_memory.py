"""The memory of places: against torch's own operations, and against where one really is."""

import heapq

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from daytwo.integrations import place_memory  # noqa: E402
from daytwo.integrations.place_memory import PlaceMemory  # noqa: E402
from daytwo.integrations.rl2_trainer import RL2Trainer  # noqa: E402
from daytwo.integrations.training_config import RL2Config  # noqa: E402
from daytwo.kernels import kernel  # noqa: E402
from daytwo.place_values import KINDS, WAYS, neighbours, spread_values  # noqa: E402
from daytwo.places import LOOKS, PlacePlan, check_plan  # noqa: E402

SEEN = PlacePlan(3, 2, 1, 4, -1, -1, -1, -1)  # of an observation of six numbers: one, the column, the row
OBSERVED = 6
MAZE = {"places": ("heading", "walls_behind"), "place_width": 13, "place_ahead": 7}
ROOM = {"places": ("x", "y")}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def layer(inputs=5, value_size=4, plans=False):
    memory = PlaceMemory(SEEN, OBSERVED, inputs, value_size, plans)
    for parameter in memory.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return memory


def walk(steps, lanes, keep):
    """``[T, N, 2 O]``: places at random, one next to the other or not, and the observation before."""
    rows = torch.randn(steps + 1, lanes, OBSERVED)
    rows[..., 1:] = 0.0
    for part, width in ((1, 3), (4, 2)):
        rows.scatter_(2, part + torch.randint(width, (steps + 1, lanes, 1)), 1.0)
    return torch.cat([rows[1:], keep.unsqueeze(-1) * rows[:-1]], dim=2)


def places_looked_at(generator, steps, lanes):
    """``int64[T + 1, N, LOOKS]``: places at random and their neighbours in the order of a heading at random."""
    near = neighbours(SEEN.width, SEEN.height)
    looked = np.full((steps + 1, lanes, LOOKS), -1)
    for row in looked.reshape(-1, LOOKS):
        place, turn = generator.integers(-1, len(near)), generator.integers(4)
        row[0] = place
        for k in range(4):
            row[1 + k] = -1 if place < 0 else near[place, (turn + k) % 4]
    return torch.from_numpy(looked)


def gradients(run, memory, steps, lanes):
    generator = torch.Generator().manual_seed(1)
    size, kinds = memory.value_size, memory.kinds
    rows = 2 * size + kinds + (WAYS if kinds else 0)
    projections = torch.randn(steps, lanes, rows, generator=generator).requires_grad_()
    start = torch.rand(lanes, memory.places, memory.stored, generator=generator)
    keep = (torch.rand(steps, lanes, generator=generator) > 0.2).float()
    looked = places_looked_at(np.random.default_rng(0), steps, lanes)
    weights = memory.content_weight.detach().clone().requires_grad_()
    first = torch.randn(memory.places, kinds, generator=generator).requires_grad_()
    base = torch.full((1,), 0.3).requires_grad_()
    out, planned, contents = run(projections, start, keep, weights, first, base, looked, SEEN.width)
    assert out.shape == (steps, lanes, LOOKS, size) and planned.shape == (steps, lanes, LOOKS, kinds)
    total = (out * torch.randn(out.shape, generator=generator)).sum()
    (total + (planned * torch.randn(planned.shape, generator=generator)).sum()).backward()
    found = [out.detach(), contents, projections.grad, weights.grad]
    return found + ([planned.detach(), first.grad, base.grad] if kinds else [])


@pytest.mark.parametrize("plans", [False, True])
def test_compiled_and_torch_agree_forwards_and_backwards(plans):
    memory = layer(plans=plans)
    fast = gradients(place_memory._CompiledPlaces.apply, memory, steps=15, lanes=5)
    plain = gradients(place_memory._torch_places, memory, steps=15, lanes=5)
    for one, other in zip(fast, plain, strict=True):
        assert float(other.abs().max()) > 0.1
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("plans", [False, True])
def test_gradients_are_those_of_finite_differences(plans):
    memory = layer(plans=plans).double()
    inputs = torch.randn(8, 3, 5, dtype=torch.float64, requires_grad=True)
    keep = torch.ones(8, 3, dtype=torch.float64)
    keep[2, 1] = 0.0
    observations, start = walk(8, 3, keep.float()), torch.zeros(3, memory.size, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda inputs: memory(observations, inputs, start, keep)[0], (inputs,))


def shortest_paths(near, prices, source):
    """What every place is worth by Dijkstra's algorithm, from the best source on."""
    worth, left = np.full(len(near), -np.inf), [(-value, place) for place, value in enumerate(source)]
    heapq.heapify(left)
    while left:
        value, place = heapq.heappop(left)
        if -value > worth[place]:
            worth[place] = -value
            for way, back in enumerate((2, 3, 0, 1)):
                if near[place, way] >= 0:
                    heapq.heappush(left, (value + prices[near[place, way], back], near[place, way]))
    return worth


@pytest.mark.parametrize(("width", "height"), [(7, 5), (1, 6), (6, 1)])
def test_places_are_worth_the_best_source_less_the_prices_on_the_way(width, height):
    random, near = np.random.default_rng(0), neighbours(width, height)
    stored = random.exponential(2.0, (width * height, 3 + KINDS + WAYS)).astype(np.float32)
    first = random.normal(0.0, 6.0, (width * height, KINDS)).astype(np.float32)
    values, queue = np.empty_like(first), np.empty((2, len(near)), dtype=np.int64)
    kernel(spread_values)(near, np.float32(0.5), first, stored, values, queue)
    sources, prices = first + stored[:, 3 : 3 + KINDS], 0.5 + stored[:, 3 + KINDS :]
    assert ((values > sources).mean(axis=0) > 0.2).all()  # most have to go somewhere else
    for c in range(KINDS):
        np.testing.assert_allclose(values[:, c], shortest_paths(near, prices, sources[:, c]), rtol=1e-5)


@pytest.mark.parametrize("plans", [False, True])
def test_a_sequence_in_two_parts_is_a_sequence(plans):
    memory = layer(plans=plans)
    keep = (torch.rand(10, 4) > 0.2).float()
    keep[0] = 0.0
    observations, inputs, start = walk(10, 4, keep), torch.randn(10, 4, 5), torch.zeros(4, memory.size)
    with torch.no_grad():
        whole, end = memory(observations, inputs, start, keep)
        first, middle = memory(observations[:6], inputs[:6], start, keep[:6])
        second, last = memory(observations[6:], inputs[6:], middle, keep[6:])
    torch.testing.assert_close(whole, torch.cat([first, second]))
    torch.testing.assert_close(end, last)


def test_what_is_written_at_a_place_is_read_there_and_from_its_neighbours_alone():
    memory = layer()
    keep = torch.tensor([[0.0], [1.0], [1.0]])
    rows = torch.zeros(3, 1, 2 * OBSERVED)
    for t, (x, y) in enumerate([(0, 0), (1, 0), (2, 1)]):
        rows[t, 0, [1 + x, 4 + y]] = 1.0
    with torch.no_grad():
        out = memory(rows, torch.randn(3, 1, 5), torch.zeros(1, memory.size), keep)[0].view(3, LOOKS, -1)
    full = (out.abs().sum(-1) > 0).tolist()
    # Place (0, 0) is written from (1, 0), to whose left it lies; (1, 0) from (2, 1), which is no neighbour.
    assert full == [[False] * LOOKS, [False, False, False, False, True], [False] * LOOKS]


def true_places(state, width):
    """``y * width + x``; the maze keeps them turned by the heading."""
    x, y = state["x"].astype(int), state["y"].astype(int)
    if "heading" in state.dtype.names:
        for turns in range(3, 0, -1):  # a turn to the left for every quarter that the heading is away from north
            turn = state["heading"] >= turns
            x, y = np.where(turn, width - 1 - y, x), np.where(turn, x, y)
    return y * width + x


@pytest.mark.parametrize(("env_id", "options"), [("daytwo/Maze-v0", MAZE), ("daytwo/DarkRoom-v0", ROOM)])
def test_places_are_those_of_the_environment(env_id, options):
    config = RL2Config(previous=True, encoder_size=4, hidden_size=4, rollout_steps=4, batches_per_update=1, **options)
    trainer = RL2Trainer(env_id, config=config, settings={}, steps=1000, num_envs=64, seed=0)
    env, memory = trainer.lifetimes, trainer.model.policy.places
    random = np.random.default_rng(0)
    observations, last = env.reset(), np.zeros((64, trainer.spec.layout.size), dtype=np.float32)
    keep, looked, changed = np.zeros(64, dtype=np.float32), np.zeros((2, 64, LOOKS), dtype=np.int64), 0
    for _ in range(200):
        rows = np.concatenate([observations, keep[:, None] * last], axis=1)[None]
        place_memory._locate(memory.plan.numpy(), rows, keep[None], looked)
        found = looked[1, :, 0]
        changed += int((found != looked[0, :, 0]).sum())
        np.testing.assert_array_equal(found, true_places(env.env._state, int(memory.plan[0])))
        looked[0], last = looked[1], observations
        observations, _, ended, _ = env.step(random.integers(trainer.spec.actions, size=64))
        keep = 1.0 - ended.astype(np.float32)
    assert changed > 1000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"places": ("heading", "nothing")}, "places must be among"),
        ({"places": ("walls_behind", "heading"), "place_width": 13}, "Places are reckoned from a part of 4"),
    ],
)
def test_parts_that_are_not_there_are_refused(options, told):
    config = RL2Config(previous=True, encoder_size=4, hidden_size=4, rollout_steps=4, **options)
    with pytest.raises(ValueError, match=told):
        RL2Trainer("daytwo/Maze-v0", config=config, settings={}, steps=1000, num_envs=64, seed=0)


@pytest.mark.parametrize(
    ("plan", "numbers"),
    [
        (SEEN, OBSERVED),
        (PlacePlan(3, 3, -1, -1, 2, 0, 1, 0), 6),
        (PlacePlan(3, 3, -1, -1, 0, 5, 1, 2), 6),
        (PlacePlan(3, 3, -1, -1, 0, 1, 5, 2), 6),
        (PlacePlan(3, 3, -1, -1, 0, 1, 2, 5), 6),
    ],
)
def test_a_plan_may_look_at_the_last_number_and_not_beyond(plan, numbers):
    check_plan(plan, numbers)
    with pytest.raises(ValueError, match=f"Expected a plan of places in {numbers - 1} numbers"):
        check_plan(plan, numbers - 1)
