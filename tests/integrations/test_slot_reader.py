"""Things in slots: what was used, and scores of pairs."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import daytwo  # noqa: E402
from daytwo.integrations.gru_policy import GruPolicy  # noqa: E402
from daytwo.integrations.rl2_trainer import make  # noqa: E402
from daytwo.integrations.slot_reader import SlotPlan, SlotReader  # noqa: E402
from daytwo.integrations.training_config import RL2Config  # noqa: E402
from daytwo.networks import Network  # noqa: E402
from daytwo.slots import CODE, CONTENT, MEANING, SHOWN  # noqa: E402

PLAN = SlotPlan(first=0, firsts=2, first_size=3, second=6, seconds=4, second_size=2, action=14)
WIDTH, SEEN, READ = PLAN.action + PLAN.actions, 7, 5
KNOWN = PLAN.seconds + PLAN.firsts * PLAN.seconds


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def reader():
    made = SlotReader(PLAN, SEEN, READ, np.full(WIDTH, -1.0), np.ones(WIDTH))
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    return made


def things(rows):
    """The first things ``[N, 2, 3]`` and the second ``[N, 4, 2]``, as views."""
    return rows[:, :6].view(-1, 2, 3), rows[:, 6:14].view(-1, 4, 2)


def test_what_was_used_is_shown_before_and_after():
    layer, rows = reader(), torch.rand(PLAN.actions + 1, 2 * WIDTH)
    rows[:, PLAN.action : WIDTH] = 0.0
    for action in range(PLAN.actions):
        rows[action, PLAN.action + action] = 1.0  # in the last row nothing was done
    with torch.no_grad():
        shown = layer.used(rows).view(-1, 5, CODE)
        (now, there), (before, had) = things(rows[:, :WIDTH].clone()), things(rows[:, WIDTH:].clone())
        now, before = (torch.tanh(layer.first_code(part)) for part in (now, before))
        there, had = (torch.tanh(layer.second_code(part)) for part in (there, had))
    assert shown.shape == (PLAN.actions + 1, 5, CODE) and SHOWN == 5 * CODE
    for action in range(PLAN.actions + 1):
        one, other = divmod(action - 1, 1 + PLAN.seconds)
        nothing = torch.zeros(CODE)
        taken = 0 < action < PLAN.actions
        torch.testing.assert_close(shown[action, 0], before[action, one] if taken else nothing)
        torch.testing.assert_close(shown[action, 1], now[action, one] if taken else nothing)
        torch.testing.assert_close(shown[action, 2], had[action, other - 1] if taken and other else nothing)
    torch.testing.assert_close(shown[:, 3], now.mean(1))
    torch.testing.assert_close(shown[:, 4], there.mean(1))


def run(layer, rows, start, keep, seen):
    with torch.no_grad():
        return layer.recall(rows, layer.used(rows), seen, start, keep)


def test_what_a_thing_did_is_known_of_its_like_and_of_like_pairs_in_other_slots():
    layer, kinds = reader(), torch.tensor([[-1.0, 0.0], [-0.2, 0.0], [0.6, 0.0], [-0.2, 0.0]])
    for memory in layer.memories:
        memory.stored.bias.data[CONTENT:] = 20.0  # all of what is seen is stored
        memory.stored.weight.data[CONTENT:] = 0.0
        memory.content_weight.data[:] = 0.0
    rows, seen = torch.rand(3, 1, 2 * WIDTH), torch.randn(3, 1, SEEN)
    rows[..., 6:14] = rows[..., WIDTH + 6 : WIDTH + 14] = kinds.flatten()
    rows[..., PLAN.action : WIDTH] = 0.0
    rows[1, :, PLAN.action + 1 + 2] = 1.0  # the first of the first things met the second of the second things
    rows[1, :, 3:6] = rows[1, :, WIDTH : WIDTH + 3]  # and the second is now what the first was before
    rows[2, :, :6] = rows[1, :, :6]
    recalled, after = run(layer, rows, torch.zeros(1, layer.size), torch.ones(3, 1), seen)
    assert recalled.shape == (3, 1, KNOWN, CONTENT)
    assert (recalled[0] == 0.0).all()
    with torch.no_grad():
        told = [torch.tanh(memory.stored(seen[1, 0])[:CONTENT]) for memory in layer.memories]
    for step in (1, 2):  # nothing was used in the last step, and nothing is stored in it
        alone, pairs = recalled[step, 0, :4], recalled[step, 0, 4:].view(2, 4, CONTENT)
        for slot in (1, 3):
            torch.testing.assert_close(alone[slot], told[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(pairs[1, slot], told[1], atol=1e-4, rtol=1e-4)
            assert float((pairs[0, slot] - told[1]).abs().max()) > 0.1
        for slot in (0, 2):
            assert float((alone[slot] - told[0]).abs().max()) > 0.1
            assert float((pairs[1, slot] - told[1]).abs().max()) > 0.1
    # A new lifetime knows nothing of it.
    later, _ = run(layer, rows[2:], after, torch.ones(1, 1), seen[2:])
    torch.testing.assert_close(later, recalled[2:])
    later, _ = run(layer, rows[2:], after, torch.zeros(1, 1), seen[2:])
    assert (later == 0.0).all()


def test_scores_go_with_the_things_and_not_with_their_slots():
    layer, rows, read = reader(), torch.rand(6, WIDTH), torch.randn(6, READ)
    known = torch.randn(6, KNOWN, CONTENT)
    alone, pairs = known.split([PLAN.seconds, PLAN.firsts * PLAN.seconds], dim=1)
    moved = rows.clone()
    moved[:, :6] = things(rows[:, :WIDTH].contiguous())[0].flip(1).flatten(1)
    order = torch.tensor([2, 0, 3, 1])
    moved[:, 6:14] = things(rows.clone())[1][:, order].flatten(1)
    pairs = pairs.view(6, PLAN.firsts, PLAN.seconds, CONTENT).flip(1)[:, :, order].flatten(1, 2)
    moved_known = torch.cat([alone[:, order], pairs], dim=1)
    with torch.no_grad():
        scores, other = layer(rows, read, known), layer(moved, read, moved_known)
    assert (scores[:, 0] == 0.0).all() and float(scores.std()) > 0.01
    pairs, now = scores[:, 1:].view(6, 2, 5), other[:, 1:].view(6, 2, 5)
    torch.testing.assert_close(now[:, :, 0], pairs[:, :, 0].flip(1))
    torch.testing.assert_close(now[:, :, 1:], pairs[:, :, 1:].flip(1)[:, :, order])


def test_a_score_may_depend_on_the_pair_and_on_the_memory():
    """No sum of a score of the one thing, one of the other and one of the memory gives these scores."""
    layer, rows = reader(), torch.rand(1, WIDTH)
    with torch.no_grad():
        one, other = (
            layer(rows, read, torch.zeros(1, KNOWN, CONTENT))[0, 1:].view(2, 5)[:, 1:]
            for read in torch.randn(2, 1, READ)
        )
    interaction = one - one.mean(0) - one.mean(1, keepdim=True) + one.mean()
    assert float(interaction.abs().max()) > 0.01
    change = one - other
    assert float((change - change.mean(0)).abs().max()) > 0.01


def test_colours_coded_as_numbers_can_be_told_apart_at_first():
    layer = SlotReader(PLAN, SEEN, READ, np.full(WIDTH, -1.0), np.ones(WIDTH))
    colours = torch.stack([torch.linspace(-1.0, 1.0, 6), torch.zeros(6)], dim=1)
    with torch.no_grad():
        codes = torch.tanh(layer.second_code(colours)).numpy()
    weights = np.linalg.lstsq(codes, np.eye(6), rcond=None)[0]
    np.testing.assert_allclose(codes @ weights, np.eye(6), atol=1e-4)
    assert np.abs(weights).max() < 1.0  # within reach of a few gradient steps


def test_the_things_lie_where_the_family_puts_them():
    config = RL2Config(
        hidden_size=8,
        encoder_size=8,
        previous=True,
        slots=(("stones", 3), ("potions", 12)),
        lifetimes_per_batch=2,
        batches_per_update=1,
        rollout_steps=8,
    )
    trainer = make("daytwo/Alchemy-v0", config=config, settings={}, steps=64, num_envs=None, seed=0)
    layout, plan = trainer.spec.layout, trainer.model.policy.slots.plan
    assert plan.actions == trainer.spec.actions == 40
    assert (plan.first, plan.second, plan.action) == tuple(
        layout[part].start for part in ("stones", "potions", "previous_action")
    )
    assert (plan.first_size, plan.second_size) == (5, 2)
    trainer.close()


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        ((("stones", 4), ("potions", 12)), "received 'stones' for 4 things"),
        ((("stones", 3), ("vials", 12)), "received 'vials' for 12 things"),
        ((("stones", 3), ("potions", 6)), "These slots have 22 actions, received"),
    ],
)
def test_slots_that_the_environment_does_not_have_are_refused(slots, message):
    config = RL2Config(encoder_size=8, previous=True, slots=slots)
    with pytest.raises(ValueError, match=message):
        make("daytwo/Alchemy-v0", config=config, settings={}, steps=64, num_envs=None, seed=0)


def test_weights_of_another_layer_are_refused():
    spec = daytwo.LifetimeVectorEnv("daytwo/Alchemy-v0", 1)
    space, actions = spec.single_observation_space, spec.single_action_space
    plan = (0, 3, 5, 15, 12, 2, 39)
    policy = GruPolicy(space, actions, lambda _: 1e-3, hidden_size=6, encoder_size=6, previous=True, slots=plan)
    good = policy.tensors()
    assert good["slots.asked.weight"].shape == (4 * MEANING, 6)
    Network(good)
    for name, wrong in (("first_code.weight", np.zeros((CODE, 4))), ("places", np.zeros(6, dtype=np.int64))):
        with pytest.raises(ValueError, match=rf"Expected slots\.{name.split('.')[0]} of"):
            Network({**good, f"slots.{name}": wrong})
    with pytest.raises(ValueError, match=r"lack 'encoder\.weight'"):
        Network({name: array for name, array in good.items() if not name.startswith("encoder.")})
    with pytest.raises(ValueError, match=r"Expected slots\.places in an observation of 85 numbers"):
        Network({**good, "slots.places": np.array([0, 3, 5, 15, 12, 2, 79])})
    stored = [f"slots.memories.{k}.stored.weight" for k in range(2)]
    for names in (["slots.asked.weight"], stored):
        wider = {name: np.zeros((good[name].shape[0], 9)) for name in names}
        with pytest.raises(ValueError, match=r"Expected slots for \(6, 6, 40\) numbers seen"):
            Network({**good, **wider})
    with pytest.raises(ValueError, match=r"Expected slots\.memories\.1\.stored of 32 rows and 9 columns"):
        Network({**good, stored[0]: np.zeros((2 * CONTENT, 9))})
