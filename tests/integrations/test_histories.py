"""Learning histories: what is in them, that they repeat, and that files hold the same."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import daytwo
from daytwo.integrations.histories import Histories, HistoryFiles, HistoryStream, export_histories

BANDIT = "daytwo/Bandit-v0"
SETTINGS = {"arms": 3, "pulls": 4, "course": "single", "episodes": 3}
DARK = {"course": "single", "level": 0, "episodes": 2}


def bandit(**options):
    return HistoryStream(BANDIT, **{"sources": "thompson", "lifetimes": 10, **SETTINGS, **options})


def assert_same(first, second):
    for field in dataclasses.fields(Histories):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name), err_msg=field.name)


def test_a_batch_is_whole_lifetimes():
    histories = bandit().take()
    assert histories.observations.shape[:2] == histories.actions.shape == histories.rewards.shape == (10, 12)
    assert histories.observations.dtype == np.float32 and histories.actions.dtype == np.int64
    assert (histories.lengths == 12).all() and histories.steps == 120 and histories.present.all()
    np.testing.assert_array_equal(np.flatnonzero(histories.episode_start[0]), [0, 4, 8])
    np.testing.assert_array_equal(histories.labels, histories.actions)


def test_observations_show_the_actions_and_rewards_before_them():
    stream = bandit(noise=0.5)
    histories, layout = stream.take(), stream.spec.layout
    shown = histories.observations[:, 1:, layout["previous_action"]].argmax(axis=-1)
    np.testing.assert_array_equal(shown, histories.actions[:, :-1])
    paid = histories.observations[:, 1:, layout["previous_reward"]][..., 0]
    np.testing.assert_array_equal(paid, histories.rewards[:, :-1])


def test_batches_differ_and_each_repeats_from_its_position():
    stream = bandit(sources={"thompson": 1.0, "random": 2.0}, noise=0.3, labels="ucb1", seed=4)
    first, second, third = itertools.islice(stream, 3)
    assert (first.rewards != second.rewards).any() and stream.position == 3
    stream.position = 1
    assert_same(stream.take(), second)
    other = bandit(sources={"thompson": 1.0, "random": 2.0}, noise=0.3, labels="ucb1", seed=4)
    other.position = 2
    assert_same(other.take(), third)
    assert (bandit(seed=5).take().rewards != bandit(seed=4).take().rewards).any()


def test_a_named_agent_lives_as_in_an_evaluation():
    """The mean return of the histories is that of ``daytwo.evaluate``, within 4 standard errors."""
    paid = bandit(sources="gittins", lifetimes=2000).take().rewards.sum(axis=1)
    lived = daytwo.evaluate("gittins", BANDIT, lifetimes=2000, split="train", **SETTINGS).returns.sum(axis=1)
    assert abs(paid.mean() - lived.mean()) < 4 * np.hypot(paid.std(), lived.std()) / np.sqrt(2000)


def test_sources_share_the_lifetimes_by_their_weights():
    stream = bandit(sources={"thompson": 3.0, "random": 1.0}, lifetimes=2000)
    histories = stream.take()
    assert stream.sources == ("thompson", "random")
    assert np.mean(histories.sources) == pytest.approx(0.25, abs=0.04)
    total = histories.rewards.sum(axis=1)
    assert total[histories.sources == 0].mean() > total[histories.sources == 1].mean() + 0.5


def test_labels_are_what_the_oracle_would_do():
    histories = bandit(labels="oracle", lifetimes=500, noise=1.0, pulls=20).take()
    assert (histories.labels == histories.labels[:, :1]).all()  # a bandit's best arm stays the best
    right = histories.labels == histories.actions
    assert histories.rewards[right].mean() > histories.rewards[~right].mean() + 0.2
    followed = bandit(sources="oracle", labels="oracle").take()
    np.testing.assert_array_equal(followed.actions, followed.labels)


def test_an_agent_that_labels_sees_what_is_really_done():
    """Room sweep walks a shortest way to a goal that somebody else has found."""
    clean = HistoryStream("daytwo/DarkRoom-v0", sources="reference", labels="reference", lifetimes=20, **DARK).take()
    np.testing.assert_array_equal(clean.actions[clean.present], clean.labels[clean.present])
    noisy = HistoryStream("daytwo/DarkRoom-v0", labels="reference", noise=1.0, lifetimes=20, **DARK).take()
    assert 0.05 < np.mean(noisy.actions[noisy.present] != noisy.labels[noisy.present]) < 0.8


def test_noise_is_a_share_per_lifetime():
    histories = bandit(sources="oracle", labels="oracle", noise=1.0, lifetimes=400, pulls=50).take()
    replaced = 1.5 * (histories.actions != histories.labels).mean(
        axis=1
    )  # a random arm of three is the best in a third
    assert replaced.mean() == pytest.approx(0.5, abs=0.06) and replaced.std() == pytest.approx(0.29, abs=0.06)


def test_shorter_lifetimes_are_padded_and_cut_again():
    stream = HistoryStream("daytwo/DarkRoom-v0", sources="oracle", lifetimes=20, course="single", level=2, episodes=2)
    histories = stream.take()
    assert histories.lengths.min() < histories.lengths.max() == histories.rewards.shape[1]
    assert (histories.present.sum(axis=1) == histories.lengths).all()
    over = ~histories.present
    for name in ("observations", "actions", "rewards", "episode_start", "labels"):
        assert not getattr(histories, name)[over].any()
    assert (histories.episode_start.sum(axis=1) == 2).all()
    shortest = int(histories.lengths.argmin())
    assert histories[shortest : shortest + 1].rewards.shape == (1, histories.lengths.min())


def test_continuous_actions_are_vectors():
    stream = HistoryStream("daytwo/PointRobot-v0", labels="oracle", noise=0.5, lifetimes=5, course="single", level=0)
    histories = stream.take()
    assert histories.actions.shape == histories.labels.shape == (*histories.rewards.shape, 2)
    assert histories.actions.dtype == np.float32 and np.abs(histories.actions).max() <= 1.0


def test_another_agent_may_live_the_lifetimes():
    class First:
        def begin(self, spec, seeds):
            self.lifetimes = len(seeds)

        def act(self, observations, fresh):
            return np.full(len(fresh), 2)

    histories = bandit(labels="oracle").take(First())
    assert (histories.actions == 2).all() and (histories.sources == -1).all() and (histories.labels != 2).any()


def test_tasks_are_those_of_the_training_split():
    stream = bandit()
    assert stream.split == "train" and bandit(split="validation").split == "validation"
    assert not stream.privileged and bandit(labels="oracle").privileged


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_hold_what_the_stream_makes(tmp_path):
    assert export_histories(bandit(), tmp_path / "data", 3) == 3
    files, stream = HistoryFiles(tmp_path / "data"), bandit()
    expected = list(itertools.islice(stream, 3))
    assert len(files) == 3
    for found, made in zip(files, expected, strict=True):
        assert_same(found, made)
    taken = [files.take() for _ in range(4)]
    assert_same(taken[3], expected[0])
    assert files.position == 4
    assert files.description["sources"] == {"thompson": 1.0} and files.description["env_id"] == BANDIT


def test_an_export_that_was_killed_goes_on_where_it_was(tmp_path):
    export_histories(bandit(), tmp_path, 2)
    (tmp_path / "histories-000002.unfinished").write_bytes(b"half a fi")
    kept = (tmp_path / "histories-000001.npz").stat().st_mtime_ns
    (tmp_path / "histories-000000.npz").unlink()
    assert export_histories(bandit(), tmp_path, 3) == 2
    assert (tmp_path / "histories-000001.npz").stat().st_mtime_ns == kept
    for found, made in zip(HistoryFiles(tmp_path), bandit(), strict=False):
        assert_same(found, made)
    assert not list(tmp_path.glob("*.unfinished"))


def test_other_data_are_never_mixed(tmp_path):
    export_histories(bandit(), tmp_path / "data", 1)
    with pytest.raises(ValueError, match="holds other histories: seed is 0 there and 1 here"):
        export_histories(bandit(seed=1), tmp_path / "data", 2)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "note").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        export_histories(bandit(), tmp_path / "else", 1)


def test_incomplete_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no histories: expected a dataset\.json"):
        HistoryFiles(tmp_path)
    export_histories(bandit(), tmp_path, 2)
    (tmp_path / "histories-000000.npz").unlink()
    with pytest.raises(ValueError, match=r"lacks 'histories-000000\.npz'"):
        HistoryFiles(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="format 99, expected 1"):
        HistoryFiles(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sources": {}}, "sources must name agents"),
        ({"sources": {"thompson": -1.0}}, "sources must name agents with weights of at least 0"),
        ({"sources": "nobody"}, "Unknown agent 'nobody'"),
        ({"labels": "nobody"}, "Unknown agent 'nobody'"),
        ({"labels": 3}, "labels must be"),
        ({"noise": 1.5}, "noise must be a number in .0, 1., received 1.5"),
        ({"lifetimes": 0}, "lifetimes must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"privileged": True}, "decide privileged themselves"),
    ],
)
def test_impossible_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        bandit(**wrong)
