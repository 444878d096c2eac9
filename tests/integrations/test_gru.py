"""The recurrent layer: torch's own where nothing is cleared, its plain form where lifetimes begin, and gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from daytwo.activations import fast_tanh  # noqa: E402
from daytwo.integrations import gru as module  # noqa: E402
from daytwo.integrations.gru import LifetimeGru, _torch_gru, clear, step_gates  # noqa: E402
from daytwo.kernels import compile_cached  # noqa: E402

NAMES = ("input_weight", "input_bias", "state_weight", "state_bias")


def sample(steps, lanes, inputs, size, seed=0, starts=0.2):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = LifetimeGru(inputs, size)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    x = torch.randn(steps, lanes, inputs, generator=generator)
    start = torch.randn(lanes, size, generator=generator)
    keep = (torch.rand(steps, lanes, generator=generator) >= starts).float()
    weights = torch.randn(steps, lanes, size, generator=generator)
    return layer, x, start, keep, weights


def gradients(run, layer, tensors, keep, weights, precision):
    """Outputs, and gradients by the inputs, the start and all weights of the layer."""
    leaves = [tensor.detach().to(precision).requires_grad_() for tensor in tensors]
    leaves += [getattr(layer, name).detach().to(precision).requires_grad_() for name in NAMES]
    output = run(leaves[0], leaves[1], keep.to(precision), *leaves[2:])
    return output.detach(), torch.autograd.grad((output * weights.to(precision)).sum(), leaves)


def test_without_clearing_it_is_torchs_gru():
    layer, x, start, _, _ = sample(9, 5, 4, 6)
    other = torch.nn.GRU(4, 6)
    with torch.no_grad():
        other.weight_ih_l0.copy_(layer.input_weight)
        other.weight_hh_l0.copy_(layer.state_weight)
        other.bias_ih_l0.copy_(layer.input_bias)
        other.bias_hh_l0.zero_()
        other.bias_hh_l0[12:] = layer.state_bias  # the other gates' second biases would only be added to the first
    expected = other(x, start.unsqueeze(0))[0]
    torch.testing.assert_close(layer(x, start, torch.ones(9, 5)), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 5, 3, 4), (40, 64, 9, 16), (3, 1500, 5, 8), (1, 2, 3, 4)], ids=str)
def test_values_and_gradients_are_those_of_the_plain_form(shape):
    """The blocks of projections begin and end inside, at and beyond the sequence."""
    layer, x, start, keep, weights = sample(*shape)
    output, found = gradients(module._CompiledGru.apply, layer, (x, start), keep, weights, torch.float32)
    expected, exact = gradients(_torch_gru, layer, (x, start), keep, weights, torch.float64)
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=3e-6)
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).abs().max()) <= 5e-6 * max(1.0, float(other.abs().max()))


def test_the_plain_form_has_the_gradients_of_finite_differences():
    layer, x, start, keep, _ = sample(4, 3, 2, 3)
    leaves = [x, start, *(getattr(layer, name) for name in NAMES)]
    leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(lambda x, s, *rest: _torch_gru(x, s, keep.double(), *rest), leaves)


def test_a_cleared_state_is_that_of_a_new_lifetime():
    layer, x, start, _, _ = sample(8, 2, 3, 4)
    keep = torch.ones(8, 2)
    keep[5, 1] = 0.0
    whole = layer(x, start, keep)
    fresh = layer(x[5:, 1:], torch.zeros(1, 4), torch.ones(3, 1))
    torch.testing.assert_close(whole[5:, 1:], fresh)
    torch.testing.assert_close(whole[:, :1], layer(x[:, :1], start[:1], torch.ones(8, 1)))
    assert not torch.allclose(layer(x, start, torch.ones(8, 2))[5:, 1:], fresh)


def test_gradients_do_not_flow_into_the_lifetime_before():
    layer, x, start, keep, _ = sample(6, 2, 3, 4, starts=0.0)
    keep[3] = 0.0
    x.requires_grad_()
    layer(x, start, keep)[3:].sum().backward()
    assert torch.all(x.grad[:3] == 0.0)
    assert torch.all(x.grad[3:].abs().sum(-1) > 0.0)


def test_one_call_does_not_disturb_another_in_flight():
    layer, x, start, keep, weights = sample(20, 6, 3, 5)
    other = torch.randn(20, 6, 3)
    alone = torch.autograd.grad((layer(x, start, keep) * weights).sum(), layer.parameters())
    first = layer(x, start, keep)
    second = layer(other, start, keep)
    kept = second.clone()
    found = torch.autograd.grad((first * weights).sum(), layer.parameters())
    assert all(torch.equal(one, two) for one, two in zip(alone, found, strict=True))
    assert torch.equal(second, kept)


def test_step_by_step_is_the_whole_sequence():
    layer, x, start, keep, _ = sample(6, 3, 4, 5)
    whole = layer(x, start, keep).detach().numpy()
    state, work = start.numpy(), np.empty(20, dtype=np.float32)
    for t in range(6):
        before, after = np.empty_like(state), np.empty_like(state)
        clear(state, keep[t].numpy(), before)
        inputs = torch.nn.functional.linear(x[t], layer.input_weight, layer.input_bias).detach().numpy()
        recurrent = before @ layer.state_weight.detach().numpy().T
        step_gates(inputs, recurrent, layer.state_bias.detach().numpy(), before, work, after)
        np.testing.assert_allclose(after, whole[t], atol=1e-6)
        state = after


def test_other_precisions_take_the_plain_form():
    layer, x, start, keep, _ = sample(5, 2, 3, 4)
    expected = layer(x, start, keep)
    found = layer.double()(x.double(), start.double(), keep.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_what_the_processor_gives():
    layer, x, start, keep, _ = sample(30, 16, 5, 8)
    expected = layer(x, start, keep)
    found = layer.to("cuda")(x.to("cuda"), start.to("cuda"), keep.to("cuda"))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_tanh_is_that_of_single_precision():
    @compile_cached
    def every(x, out):
        for i in range(x.shape[0]):
            out[i] = fast_tanh(x[i])

    x = np.linspace(-12.0, 12.0, 200_001).astype(np.float32)
    out = np.empty_like(x)
    every(x, out)
    assert np.abs(out - np.tanh(x.astype(np.float64))).max() < 4e-7
    assert np.abs(out).max() <= 1.0 + 1e-6
    assert np.array_equal(out, -out[::-1])
