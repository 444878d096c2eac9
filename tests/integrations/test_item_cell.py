"""The recurrent network over items: against torch's own operations, and for what it is for."""

import pytest

torch = pytest.importorskip("torch")

from daytwo.integrations import item_cell  # noqa: E402

STEPS, LANES, ITEMS, UNITS, HUBS, SAID = 9, 4, 3, 5, 6, 7


DENSE = 8


def parts(precision=torch.float32, dense=False):
    """What `run_cell` takes, but for ``keep``."""
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (STEPS, LANES, ITEMS, SAID), (STEPS, LANES, ITEMS, 3 * UNITS), (STEPS, LANES, 3 * HUBS),
        (LANES, HUBS), (LANES, ITEMS, UNITS),
        (SAID, UNITS), (3 * HUBS, SAID), (3 * HUBS, HUBS), (HUBS,), (3 * UNITS, HUBS), (3 * UNITS, UNITS), (UNITS,),
    ]  # fmt: skip
    if dense:
        shapes[2], shapes[6] = (STEPS, LANES, DENSE), (DENSE, SAID)
        shapes += [(3 * HUBS, DENSE), (3 * HUBS,)]
    tensors = [torch.randn(shape, generator=generator, dtype=precision) for shape in shapes]
    for k, tensor in enumerate(tensors):
        if k >= 5:
            tensor *= 0.5
        tensor.requires_grad_(k not in (3, 4))
    keep = (torch.rand(STEPS, LANES, generator=generator) > 0.2).to(precision)
    assert 0.0 < float(keep.mean()) < 1.0
    return tensors, keep


def run(cell, tensors, keep):
    return cell(*tensors[:5], keep, *tensors[5:])


@pytest.mark.parametrize("dense", [False, True])
def test_compiled_and_torch_agree_forwards_and_backwards(dense):
    found = []
    for cell in (item_cell._CompiledCell.apply, item_cell._torch_cell):
        tensors, keep = parts(dense=dense)
        hub, items = run(cell, tensors, keep)
        assert hub.shape == (STEPS, LANES, HUBS) and items.shape == (STEPS, LANES, ITEMS, UNITS)
        (hub.square().sum() + (items * torch.linspace(-1.0, 2.0, UNITS)).sum()).backward()
        found.append([hub.detach(), items.detach(), *(tensor.grad for tensor in tensors if tensor.requires_grad)])
    for fast, plain in zip(*found, strict=True):
        assert float(plain.abs().max()) > 0.05
        torch.testing.assert_close(fast, plain, atol=3e-5, rtol=3e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_gradients_are_those_of_finite_differences(dense):
    tensors, keep = parts(torch.float64, dense)
    assert torch.autograd.gradcheck(lambda *given: run(item_cell.run_cell, given, keep), tensors)


def test_a_sequence_in_two_parts_is_a_sequence():
    tensors, keep = parts()
    with torch.no_grad():
        hub, items = run(item_cell.run_cell, tensors, keep)
        first = [tensor[:4] for tensor in tensors[:3]]
        middle = run(item_cell.run_cell, [*first, *tensors[3:]], keep[:4])
        rest = [tensor[4:] for tensor in tensors[:3]]
        last = run(item_cell.run_cell, [*rest, middle[0][-1], middle[1][-1], *tensors[5:]], keep[4:])
    torch.testing.assert_close(torch.cat([middle[0], last[0]]), hub)
    torch.testing.assert_close(torch.cat([middle[1], last[1]]), items)


def test_states_go_with_the_items_and_the_hub_does_not_know_their_order():
    tensors, keep = parts()
    order = [2, 0, 1]
    moved = [tensors[0][:, :, order], tensors[1][:, :, order], tensors[2], tensors[3], tensors[4][:, order]]
    with torch.no_grad():
        hub, items = run(item_cell.run_cell, tensors, keep)
        hub_too, items_too = run(item_cell.run_cell, [*moved, *tensors[5:]], keep)
    torch.testing.assert_close(hub_too, hub)
    torch.testing.assert_close(items_too, items[:, :, order])
    assert float((items - items_too).abs().max()) > 0.1


def test_items_hear_of_each_other_a_step_later():
    tensors, keep = parts()
    keep[:] = 1.0
    with torch.no_grad():
        _, items = run(item_cell.run_cell, tensors, keep)
        tensors[1][2, :, 0] += 1.0  # at the third step the first item takes in something else
        _, other = run(item_cell.run_cell, tensors, keep)
    changed = (items - other).abs().amax((1, 3)) > 1e-4
    assert changed[:3].tolist() == [[False] * 3, [False] * 3, [True, False, False]]
    assert changed[3].all()
