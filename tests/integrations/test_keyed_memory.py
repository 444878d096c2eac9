"""The keyed memory: against torch's own operations, and for what it is for."""

import pytest

torch = pytest.importorskip("torch")

from daytwo.integrations import keyed_memory  # noqa: E402
from daytwo.integrations.keyed_memory import KeyedMemory  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


OPTIONS = [{}, {"products": True}, {"front": 2}, {"front": 2, "products": True}]


def layer(observed=3, inputs=6, heads=2, key_size=7, value_size=4, **options):
    memory = KeyedMemory(observed, inputs, heads, key_size=key_size, value_size=value_size, **options)
    for parameter in memory.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return memory


def pairs(observations, keep):
    """``[T, N, 2 O]`` from ``[T + 1, N, O]``: the present observation and the one before, zeros in a new lifetime."""
    return torch.cat([observations[1:], keep.unsqueeze(-1) * observations[:-1]], dim=2)


def gradients(run, memory, steps, lanes, queries):
    generator = torch.Generator().manual_seed(1)
    shape = (steps, lanes, memory.heads, (1 + queries) * memory.key_size + 2 * memory.value_size)
    projections = torch.randn(shape, generator=generator).requires_grad_()
    start = torch.randn(lanes, memory.heads, memory.value_size, memory.key_size, generator=generator)
    keep = (torch.rand(steps, lanes, generator=generator) > 0.2).float()
    weights = memory.content_weight.detach().clone().requires_grad_()
    out, contents = run(projections, start, keep, weights)
    assert out.shape == (steps, lanes, memory.heads, queries, memory.value_size)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    return [out.detach(), contents, projections.grad, weights.grad]


@pytest.mark.parametrize("queries", [1, 3])
def test_compiled_and_torch_agree_forwards_and_backwards(queries):
    memory = layer()
    fast = gradients(keyed_memory._CompiledMemory.apply, memory, steps=15, lanes=5, queries=queries)
    plain = gradients(keyed_memory._torch_memory, memory, steps=15, lanes=5, queries=queries)
    for one, other in zip(fast, plain, strict=True):
        assert float(other.abs().max()) > 0.1
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_are_those_of_finite_differences(options):
    memory = layer(**options).double()
    observations = torch.randn(7, 3, 3, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(6, 3, 6, dtype=torch.float64, requires_grad=True)
    keep = torch.ones(6, 3, dtype=torch.float64)
    keep[2, 1] = 0.0
    start = torch.randn(3, memory.size, dtype=torch.float64)

    front = torch.randn(7, 3, options.get("front", 0), dtype=torch.float64, requires_grad=True)

    def read(observations, inputs, front):
        return memory(pairs(observations, keep), inputs, start, keep, front)[0]

    assert torch.autograd.gradcheck(read, (observations, inputs, front))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_sequence_in_two_parts_is_a_sequence(options):
    memory = layer(**options)
    inputs, start = torch.randn(10, 4, 6), torch.randn(4, memory.size)
    keep = (torch.rand(10, 4) > 0.2).float()
    observations = pairs(torch.randn(11, 4, 3), keep)
    front = torch.randn(11, 4, options.get("front", 0))
    with torch.no_grad():
        whole, end = memory(observations, inputs, start, keep, front)
        first, middle = memory(observations[:6], inputs[:6], start, keep[:6], front[:7])
        second, last = memory(observations[6:], inputs[6:], middle, keep[6:], front[6:])
    torch.testing.assert_close(torch.cat([first, second]), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(last, end, atol=1e-6, rtol=1e-6)


def test_nothing_of_an_earlier_lifetime_remains():
    memory = layer()
    inputs, keep = torch.randn(5, 2, 6), torch.ones(5, 2)
    keep[3] = 0.0
    observations = pairs(torch.randn(6, 2, 3), keep)
    with torch.no_grad():
        one, _ = memory(observations, inputs, torch.randn(2, memory.size), keep)
        other, _ = memory(observations, inputs, torch.zeros(2, memory.size), keep)
    assert float((one[:3] - other[:3]).abs().max()) > 0.01
    torch.testing.assert_close(one[3:], other[3:], atol=0.0, rtol=0.0)


def recall(memory, shown, numbers, rounds, around=0):
    """How well a memory that writes all it is told knows, in the last of some rounds, what follows which item.

    Args:
        shown: ``[I, O]``, the items.
        numbers: ``[I, V]``, what follows each of them.
        around: numbers that stand behind the items and are drawn anew at every step.

    Returns:
        Squared errors ``[I]`` as parts of the numbers' mean square, and the nearest item to what was recalled, ``[I]``.
    """
    items, contents = numbers.shape
    with torch.no_grad():
        memory.weight.zero_()
        memory.weight[:contents, :contents] = torch.eye(contents)
        memory.bias[contents:] = 9.0  # write all of it
    order = [torch.randperm(items) for _ in range(rounds)]
    rows = torch.cat([shown[k] for k in order])
    rows = torch.cat([rows, torch.randn(len(rows), around)], dim=1)
    told = torch.nn.functional.pad(torch.cat([numbers[k] for k in order]), (0, 64 - contents)).roll(1, 0)
    seen = torch.cat([rows, rows.roll(1, 0)], dim=1)
    seen[0, len(seen[0]) // 2 :], told[0] = 0.0, 0.0
    with torch.no_grad():
        out, _ = memory(seen[:, None], told[:, None], torch.zeros(1, memory.size), torch.ones(len(rows), 1))
    recalled, expected = out[-items:, 0], torch.tanh(numbers)[order[-1]]
    errors = (recalled - expected).square().mean(1) / expected.square().mean()
    nearest = (recalled[:, None] - torch.tanh(numbers)[None]).square().sum(2).argmin(1)
    return errors, nearest == order[-1]


def test_what_came_of_an_observation_is_found_when_it_comes_again():
    """Twelve items, each followed by numbers of its own: an open gate and random keys tell them apart."""
    memory = KeyedMemory(12, 64, 1, key_size=32, value_size=4)
    errors, right = recall(memory, torch.eye(12), torch.randn(12, 4), rounds=30)
    assert float(errors.median()) < 0.1
    assert right.all()


def test_products_tell_pairs_apart_and_sums_do_not():
    """Each of 3 operators with each of 8 operands: a sum of two one-hot parts has 10 dimensions for 24 pairs."""
    shown = torch.cat([torch.eye(3).repeat_interleave(8, 0), torch.eye(8).repeat(3, 1)], dim=1)
    numbers = torch.randn(24, 4)
    errors = {}
    for products in (False, True):
        memory = KeyedMemory(11, 64, 1, key_size=64, value_size=4, products=products)
        errors[products], _ = recall(memory, shown, numbers, rounds=60)
    assert float(errors[True].median()) < 0.1
    assert float(errors[False].median()) > 0.4


def test_keys_of_some_numbers_find_an_item_again_among_others_that_change():
    """Six items among thirty numbers that are drawn anew at every step."""
    shown, numbers = torch.eye(6), torch.randn(6, 4)
    errors = {}
    for columns in (None, range(6)):
        memory = KeyedMemory(36, 64, 1, key_size=32, value_size=4, columns=columns)
        errors[columns], _ = recall(memory, shown, numbers, rounds=30, around=30)
    assert float(errors[range(6)].median()) < 0.05
    assert float(errors[None].median()) > 0.4
