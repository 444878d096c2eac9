"""Ids, classes and strings become families under settings; impossible ones are refused by name."""

import inspect

import gymnasium
import pytest

import daytwo
from daytwo import loop
from daytwo.family import TaskFamily
from daytwo.registration import _families, env_ids, family_class, make_family, register
from tests.toy import Counting, Steering, assert_same


@pytest.fixture
def registered():
    before = dict(_families)
    env_id = register("tests.toy:Counting", env_id="toy/Counting-v3")
    yield env_id
    for added in set(_families) - set(before):
        del _families[added]
        gymnasium.registry.pop(added, None)


def test_every_id_is_known_to_gymnasium_and_names_its_family():
    assert len(env_ids()) >= 3
    for env_id in env_ids():
        family = make_family(env_id)
        assert family.id == env_id and env_id in gymnasium.registry
        assert family.tags and family.episodes >= 1 and family.__doc__
        assert family_class("daytwo:" + env_id) is type(family)


def test_a_family_may_be_an_id_a_string_a_class_or_an_instance(registered):
    made = [make_family(one, secrets=40) for one in (registered, "tests.toy:Counting", Counting)]
    assert all(type(family) is Counting and family.keywords == {"secrets": 40} for family in made)
    assert make_family(made[0]) is made[0]
    resets = [daytwo.LifetimeEnv(one, compiled=False).reset(seed=0) for one in (registered, Counting, Counting())]
    assert_same(resets[0], resets[1])
    assert_same(resets[0], resets[2])


def test_a_registered_family_is_made_by_gymnasium_with_its_settings(registered):
    env = gymnasium.make(registered, secrets=50, compiled=False)
    assert env.unwrapped.family.keywords == {"secrets": 50} and env.spec.id == registered
    wide = gymnasium.make_vec(registered, num_envs=3, secrets=50, compiled=False)
    assert isinstance(wide.unwrapped, daytwo.LifetimeVectorEnv) and wide.num_envs == 3


def test_registering_the_same_family_again_is_harmless_and_another_is_refused(registered):
    assert register("tests.toy:Counting", env_id=registered) == registered
    with pytest.raises(ValueError, match=r"toy/Counting-v3 is registered already, for 'tests\.toy:Counting'"):
        register("tests.toy:Steering", env_id=registered)
    assert register(Steering) == "daytwo/Steering-v0" == register(Steering)
    assert "daytwo/Steering-v0" in env_ids()


class Nameless(Counting):
    name = ""


@pytest.mark.parametrize(
    ("family", "env_id", "message"),
    [
        ("tests.toy:Counting", None, r"needs env_id=, e\.g\. 'mylab/Kitchen-v0'"),
        ("tests.toy:Counting", "Counting", "reads 'namespace/Name-v0', received 'Counting'"),
        ("tests.toy:Counting", "toy/Counting", "received 'toy/Counting'"),
        (int, None, "expects a TaskFamily subclass"),
        (Nameless, None, "Nameless must set the class attribute `name`"),
    ],
)
def test_an_impossible_registration_is_refused(family, env_id, message):
    before = env_ids()
    with pytest.raises(ValueError, match=message):
        register(family, env_id=env_id)
    assert env_ids() == before


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("daytwo/Maize-v0", {}, r"Unknown environment 'daytwo/Maize-v0': expected one of daytwo/Bandit-v0"),
        ("tests.toy:Missing", {}, "Cannot load 'tests.toy:Missing'"),
        ("no_such_module:Family", {}, "Cannot load 'no_such_module:Family'"),
        ("tests.toy:RANDOM", {}, "no TaskFamily subclass"),
        (7, {}, "Expected an environment id or a TaskFamily, received 7"),
        (
            Counting,
            {"secret": 3},
            "Unknown setting 'secret' for Counting: it takes secrets, and every environment takes",
        ),
        (Steering, {"size": 3}, "Unknown setting 'size' for Steering: it takes no settings"),
        (Counting, {"secrets": 0}, r"in 1\.\.1000000, received 0"),
        (Counting(), {"secrets": 5}, r"has its settings already, received \['secrets'\]"),
    ],
)
def test_an_impossible_family_is_refused(family, settings, message):
    with pytest.raises(ValueError, match=message):
        make_family(family, **settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw": None}, "must set `draw = staticmethod"),
        ({"tags": ("fun",)}, "Unknown tag 'fun': expected some of exploration"),
        ({"split_fields": ("goal",)}, "split_fields names 'goal', which is no field of the task; it has secret"),
        ({"visible_at_start": ("goal",)}, "visible_at_start names 'goal'"),
    ],
)
def test_an_incomplete_family_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        type("Broken", (Counting,), changes)()


def test_methods_and_compiled_functions_are_refused_with_the_cause():
    import numba

    from tests import toy

    def as_method(self, settings, task, stream, i):
        pass

    method = type("AsMethod", (Counting,), {"draw": as_method})
    with pytest.raises(TypeError, match=r"draw is a method: write `draw = staticmethod\(function\)`"):
        daytwo.LifetimeEnv(method, compiled=False)
    compiled = type("Compiled", (Counting,), {"begin": staticmethod(numba.njit(toy.begin))})
    with pytest.raises(TypeError, match=r"compiled already: mark it with numba\.extending\.register_jitable"):
        daytwo.LifetimeEnv(compiled, compiled=False)


def test_the_fingerprint_follows_the_source():
    assert Counting().fingerprint() == Counting(secrets=3).fingerprint()

    def other_oracle(settings, task, state, level, i):
        return 0

    namespace = {}
    exec("def other_step(settings, task, state, level, stream, i, action):\n    return 1.0, True", namespace)
    changed = type("Changed", (Counting,), {"step": staticmethod(namespace["other_step"])})
    assert changed().fingerprint() != Counting().fingerprint()
    assert issubclass(Counting, TaskFamily)


def test_compiled_loops_are_cached_under_the_hubs_own_source_too(monkeypatch):
    """Numba's cache looks at one file alone: an edited generator must not meet loops compiled before."""
    before = loop._hub_fingerprint()
    getsource = inspect.getsource
    for module in ("daytwo.streams", "daytwo.improvement"):
        monkeypatch.setattr(
            inspect, "getsource", lambda source, module=module: getsource(source) + "#" * (source.__name__ == module)
        )
        assert loop._hub_fingerprint.__wrapped__() != before
        monkeypatch.undo()
    assert loop._hub_fingerprint.__wrapped__() == before
