"""The compiled loss of RL2: value by value and gradient by gradient that of torch's operations in double precision."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from gymnasium import spaces  # noqa: E402

from daytwo.integrations import ppo_loss  # noqa: E402
from daytwo.integrations.gru_policy import GruPolicy  # noqa: E402
from daytwo.integrations.ppo_loss import Terms, loss, plain_loss  # noqa: E402
from daytwo.integrations.rl2 import clip_gradients  # noqa: E402
from daytwo.kernels import compile_cached  # noqa: E402

CASES = [
    (continuous, imitated, auxiliary, masked)
    for continuous in (False, True)
    for imitated in (False, True)
    for auxiliary in (0.0, 0.3)
    for masked in (False, True)
    if not (continuous and masked)
]


def sample(steps, lanes, *, continuous=False, auxiliary=0.0, masked=False, outputs=3, seed=0):
    """A policy with large weights, states as its heads read them, and a minibatch."""
    torch.manual_seed(seed)
    actions = spaces.Box(-1.0, 1.0, (outputs,)) if continuous else spaces.Discrete(outputs)
    policy = GruPolicy(
        spaces.Box(-1.0, 1.0, (4,)), actions, lambda _: 1e-3, hidden_size=8, value_size=5, auxiliary=bool(auxiliary)
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    shape = (steps, lanes)

    def chosen():
        return torch.randn(*shape, outputs) if continuous else torch.randint(0, outputs, shape)

    batch = {
        "actions": chosen(),
        "labels": chosen(),
        "old": 0.5 * torch.randn(shape) - 1.0,  # some ratios are clipped, on either side
        "advantages": torch.randn(shape),
        "targets": torch.randn(shape),
        "time": torch.rand(shape),
    }
    if masked:
        masks = torch.rand(*shape, outputs) > 0.4
        masks.scatter_(-1, batch["actions"].unsqueeze(-1), True)
        masks[0, 0], masks[0, 0, batch["labels"][0, 0]] = True, False  # a label that is not offered
        batch["masks"] = masks
    return policy, torch.randn(*shape, 8), batch


def results(function, policy, states, batch, terms, precision):
    policy = copy.deepcopy(policy).to(precision)
    states = states.to(precision).requires_grad_()
    batch = {name: value.to(precision) if value.is_floating_point() else value for name, value in batch.items()}
    total, told = function(policy, states, batch, terms)
    leaves = {"states": states, **dict(policy.named_parameters())}
    found = torch.autograd.grad(1.5 * total, list(leaves.values()), allow_unused=True)
    told = {name: float(value) for name, value in told.items()}
    return {"loss": float(total.detach()), **told}, dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("shape", [(3, 5), (50, 47)], ids=str)
@pytest.mark.parametrize(("continuous", "imitated", "auxiliary", "masked"), CASES)
def test_losses_and_gradients_are_those_of_torch(continuous, imitated, auxiliary, masked, shape):
    """In several blocks, the last of them not full, and in less than one."""
    if imitated and masked:
        pytest.skip("below, with labels that are offered")
    policy, states, batch = sample(*shape, continuous=continuous, auxiliary=auxiliary, masked=masked)
    terms = Terms(0.2, 0.07, 0.5, auxiliary, imitated)
    values, found = results(loss, policy, states, batch, terms, torch.float32)
    exact, expected = results(plain_loss, policy, states, batch, terms, torch.float64)
    assert values == pytest.approx(exact, rel=1e-5, abs=1e-5)
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            error = float((found[name] - gradient).abs().max())
            assert error <= 1e-5 * max(1e-3, float(gradient.abs().max())), name


def test_imitation_among_offered_actions():
    policy, states, batch = sample(20, 10, masked=True)
    batch["masks"].scatter_(-1, batch["labels"].unsqueeze(-1), True)
    terms = Terms(0.2, 0.0, 0.5, imitated=True)
    values, found = results(loss, policy, states, batch, terms, torch.float32)
    exact, expected = results(plain_loss, policy, states, batch, terms, torch.float64)
    assert values == pytest.approx(exact, rel=1e-5, abs=1e-5)
    torch.testing.assert_close(found["states"].double(), expected["states"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("continuous", "imitated"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_plain_loss_has_the_gradients_of_finite_differences(continuous, imitated):
    policy, states, batch = sample(2, 3, continuous=continuous, auxiliary=0.3)
    terms, policy = Terms(0.2, 0.07, 0.5, 0.3, imitated), policy.double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    states = states.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda states: plain_loss(policy, states, batch, terms)[0], (states,))


def test_between_two_ways_to_go_imitation_takes_the_more_frequent_one_and_not_their_mean():
    """Six of ten labels say one way and four the other: their mean would go neither."""
    policy, states, batch = sample(10, 1, continuous=True, outputs=2)
    one, other = torch.tensor([0.6, 0.8]), torch.tensor([0.6, -0.8])
    batch["labels"] = torch.stack([one] * 6 + [other] * 4).unsqueeze(1)
    states = torch.ones(10, 1, 8)  # the same is seen every time
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for _ in range(500):
        optimizer.zero_grad()
        loss(policy, states, batch, Terms(0.2, 0.0, 0.5, imitated=True))[0].backward()
        optimizer.step()
    torch.testing.assert_close(policy.action_net(states[0, 0]), one, atol=0.05, rtol=0.0)


def test_an_action_that_is_not_offered_has_no_gradient():
    policy, states, batch = sample(4, 4, masked=True)
    batch["masks"][..., 2] = False
    batch["actions"].clamp_(max=1)
    batch["masks"][..., :2] = True
    _, found = results(loss, policy, states, batch, Terms(0.2, 0.07, 0.5), torch.float32)
    assert torch.all(found["action_net.weight"][2] == 0.0)
    assert float(found["action_net.bias"][2]) == 0.0
    assert torch.any(found["action_net.weight"][1] != 0.0)


def test_a_second_loss_leaves_the_first_ones_gradients_alone():
    policy, states, batch = sample(30, 40)
    terms, one, two = Terms(0.2, 0.07, 0.5), states.clone().requires_grad_(), (-states).requires_grad_()
    alone = torch.autograd.grad(loss(policy, one, batch, terms)[0], one)[0]
    first = loss(policy, one, batch, terms)[0]
    second = loss(policy, two, batch, terms)[0]
    second.backward()
    assert torch.equal(torch.autograd.grad(first, one)[0], alone)


def test_gradients_add_up_over_two_calls_of_backward():
    policy, states, batch = sample(5, 6)
    states.requires_grad_()
    total, _ = loss(policy, states, batch, Terms(0.2, 0.07, 0.5))
    total.backward(retain_graph=True)
    once = [parameter.grad.clone() for parameter in policy.parameters() if parameter.grad is not None]
    total.backward()
    twice = [parameter.grad for parameter in policy.parameters() if parameter.grad is not None]
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(2.0 * one, other)


def test_the_exponential_is_that_of_single_precision():
    @compile_cached
    def every(x, out):
        for i in range(x.shape[0]):
            out[i] = ppo_loss._exp(x[i])

    x = np.linspace(-87.0, 87.0, 200_001).astype(np.float32)
    out = np.empty_like(x)
    every(x, out)
    assert np.abs(out / np.exp(x.astype(np.float64)) - 1.0).max() < 2e-7


def test_gradients_are_clipped_as_torch_does():
    parameters = [
        torch.nn.Parameter(torch.zeros(3, 2)),
        torch.nn.Parameter(torch.zeros(4)),
        torch.nn.Parameter(torch.zeros(1)),
    ]
    for longest in (0.5, 100.0):
        for k, parameter in enumerate(parameters[:2]):  # the last has no gradient
            parameter.grad = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape) - k
        others = [torch.nn.Parameter(torch.zeros_like(parameter)) for parameter in parameters[:2]]
        for parameter, other in zip(parameters, others, strict=False):
            other.grad = parameter.grad.clone()
        norm = clip_gradients(parameters, longest)
        torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(others, longest))
        for parameter, other in zip(parameters, others, strict=False):
            torch.testing.assert_close(parameter.grad, other.grad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("continuous", "imitated", "auxiliary", "masked"), CASES)
def test_cuda_gives_what_the_processor_gives(continuous, imitated, auxiliary, masked):
    policy, states, batch = sample(20, 30, continuous=continuous, auxiliary=auxiliary)
    terms = Terms(0.2, 0.07, 0.5, auxiliary, imitated)
    values, found = results(loss, policy, states, batch, terms, torch.float32)
    there = {name: value.to("cuda") for name, value in batch.items()}
    others, expected = results(loss, policy.to("cuda"), states.to("cuda"), there, terms, torch.float32)
    assert values == pytest.approx(others, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(found["states"], expected["states"].cpu(), rtol=1e-3, atol=1e-7)
