"""Reference returns are what they say: stored, kept on disk or measured, and equal to closed forms."""

import json

import numpy as np
import pytest

import daytwo
from daytwo import calibration
from daytwo.calibration import ReferenceReturns, episode_returns, measure, reference_returns, settings_key, stored_path
from daytwo.envs import harder_settings, standard_settings
from tests.toy import ORACLE, RANDOM, Counting, Steering

TASKS, SEED = 4096, 1
SHIPPED = standard_settings() + [pair for pair in harder_settings() if pair not in standard_settings()]
STORED = json.loads(stored_path().read_text()) if stored_path().exists() else {}


def test_every_standard_setting_is_stored_and_nothing_else():
    expected = {}
    for env_id, settings in SHIPPED:
        family = daytwo.make_family(env_id, **settings)
        if family.reference_returns is None:
            expected.setdefault(env_id, set()).add(settings_key(family))
    assert {env_id: set(entries) for env_id, entries in STORED.items()} == expected
    assert set(expected) | {i for i in daytwo.env_ids() if daytwo.make_family(i).reference_returns} == set(
        daytwo.env_ids()
    )


@pytest.mark.parametrize(("env_id", "settings"), SHIPPED, ids=str)
def test_what_is_stored_is_what_is_measured_again(env_id, settings):
    family = daytwo.make_family(env_id, **settings)
    if family.reference_returns is not None:
        pytest.skip(f"{env_id} with {settings} brings its own reference returns: there is nothing stored")
    stored = reference_returns(family)
    assert stored == calibration.from_plain(STORED[env_id][settings_key(family)])
    again = measure(family, tasks=TASKS, seed=SEED)
    for which in ("random", "oracle"):
        first, second = (np.array(getattr(one, f"{which}_return")) for one in (stored, again))
        errors = [np.array(getattr(one, f"{which}_error")) for one in (stored, again)]
        pooled = np.hypot(*errors)
        # Where hardly any episode differs from the others the measured error says little: allow for one unseen one.
        slack = np.where(
            errors[1] == 0.0, family.levels[0].horizon * max(map(abs, family.reward_range)) * 10 / TASKS, 0.0
        )
        assert (np.abs(first - second) <= 5 * pooled + slack).all(), (which, first, second, pooled)
    assert np.allclose(stored.oracle_spread, again.oracle_spread, atol=0.03, rtol=0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"arms": 5, "pulls": 10}, {"kind": "dependent-uniform"}, {"kind": "gaussian"}]
)
def test_bandit_returns_are_the_closed_forms(settings):
    family = daytwo.make_family("daytwo/Bandit-v0", **settings)
    stored = reference_returns(family)
    pulls = family.keywords["pulls"]
    for level in range(len(family.levels)):
        offered = sum(family.levels[level].actions)
        best = 0.75 if "dependent" in family.keywords["kind"] else offered / (offered + 1)
        assert abs(stored.random_return[level] - pulls / 2) <= 5 * stored.random_error[level]
        assert abs(stored.oracle_return[level] - pulls * best) <= 5 * stored.oracle_error[level]


def test_the_errors_and_the_spread_are_those_of_the_measured_returns():
    family = Steering()
    measured = measure(family, tasks=3000, seed=4)
    lowest = episode_returns(family, 0, "random", 3000, 4)
    highest = episode_returns(family, 0, "oracle", 3000, 4)
    assert measured.random_return == (lowest.mean(),) and measured.oracle_return == (highest.mean(),)
    assert measured.oracle_error[0] == pytest.approx(highest.std(ddof=1) / np.sqrt(3000))
    assert measured.oracle_spread[0] == pytest.approx(highest.std(ddof=1) / (highest.mean() - lowest.mean()))
    # Aims are uniform on [-1, 1]: the oracle makes three times the mean of |a| + |b|, that is 3; at random 0.
    assert abs(highest.mean() - 3.0) < 5 * 3 * np.sqrt(1 / 6 / 3000)
    assert abs(lowest.mean()) < 5 * measured.random_error[0]


def test_a_measurement_does_not_depend_on_the_batch():
    whole = episode_returns(Steering(), 0, "random", 100, 3)
    assert episode_returns(Steering(), 0, "random", 100, 3, batch=37).tolist() == whole.tolist()


def test_counting_is_measured_exactly_by_its_oracle():
    family = Counting()
    measured = measure(family, tasks=500, seed=0)
    assert measured.oracle_return == ORACLE and measured.oracle_spread == (0.0,) * 3
    assert measured.random_return[0] == pytest.approx(1.0, abs=5 * measured.random_error[0])


# --- where reference returns come from -----------------------------------------------------------------------------


@pytest.fixture
def measuring(monkeypatch, tmp_path):
    """An empty cache, and a count of the measurements."""
    count = []

    def measured(family, *arguments, **keywords):
        count.append(family.name)
        return ReferenceReturns.given([0.0], [3.0])

    monkeypatch.setenv("DAYTWO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "measure", measured)
    monkeypatch.setattr(calibration, "_measured", {})
    return count, tmp_path / "cache"


def test_what_was_measured_is_kept_on_disk_and_used(measuring, monkeypatch):
    count, folder = measuring
    first = reference_returns(Steering())
    assert count == ["Steering"] and len(list(folder.iterdir())) == 1
    reference_returns(Steering())
    monkeypatch.setattr(calibration, "_measured", {})
    assert reference_returns(Steering()) == first and count == ["Steering"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"random_return": [0]}', None], ids=repr
)
def test_an_unreadable_cache_file_is_measured_anew_and_replaced(measuring, monkeypatch, content):
    count, folder = measuring
    good = reference_returns(Steering())
    (path,) = folder.iterdir()
    plain = json.loads(path.read_text())
    path.write_bytes(json.dumps({**plain, "oracle_return": [-1.0]}).encode() if content is None else content)
    monkeypatch.setattr(calibration, "_measured", {})
    assert reference_returns(Steering()) == good and len(count) == 2
    assert json.loads(path.read_text()) == plain and len(list(folder.iterdir())) == 1


def test_an_unwritable_cache_costs_nothing_but_time(measuring, monkeypatch):
    count, folder = measuring
    folder.write_text("a file where the folder should be")
    assert reference_returns(Steering()).oracle_return == (3.0,)
    assert count == ["Steering"]


def test_given_reference_returns_are_used_as_they_are(measuring):
    count, _ = measuring
    assert reference_returns(Counting()).random_return == RANDOM and count == []
    env = daytwo.LifetimeEnv(Steering, reference_returns=ReferenceReturns.given(-1.0, 1.0), compiled=False)
    assert env.reference_returns.oracle_return == (1.0,) and count == []
    daytwo.LifetimeEnv("daytwo/Bandit-v0", compiled=False)
    assert count == [], "the standard settings ship with the package"


def test_a_family_without_oracle_must_bring_its_own():
    family = type("Blind", (Steering,), {"name": "Blind", "oracle": None})()
    with pytest.raises(ValueError, match=r"Blind has no oracle: give the family reference_returns="):
        measure(family)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_impossible_reference_returns_are_refused(low, high):
    with pytest.raises(ValueError, match="must exceed the random policy's"):
        ReferenceReturns.given(low, high)


def test_reference_returns_of_another_number_of_levels_are_refused():
    with pytest.raises(ValueError, match="each of the 3 levels, received 1"):
        daytwo.LifetimeEnv(Counting, reference_returns=ReferenceReturns.given(0.0, 1.0), compiled=False)
    with pytest.raises(ValueError):
        ReferenceReturns.given([0.0, 1.0], [2.0])
