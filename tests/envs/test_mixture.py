"""Mixture: lifetimes of the members' own environments, drawn by hash, in one padded interface."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import daytwo
from daytwo.envs.mixture import FAMILIES, MixtureEnv, MixtureVectorEnv
from daytwo.kernels import interpreted
from daytwo.lifetime import make_vector_env
from daytwo.padding import COMMON, PaddedLayout, Padding
from daytwo.registration import compound_ids
from tests.test_autoreset import EPISODE_KEYS, check_info, check_lane
from tests.toy import assert_same

ID = "daytwo/Mixture-v0"
LANES = 6
SHORT = {"families": ("Bandit", "TabularMDP", "LearningSet"), "episodes": 1, "course": "single", "level": 1}


def actions_of(steps, lanes=LANES, actions=40, seed=0):
    return np.random.default_rng(seed).integers(0, actions, (steps, lanes))


# --- the list of families ------------------------------------------------------------------------------------------


def test_it_holds_every_discrete_family_of_the_package():
    """A new family does not join by itself: that makes another environment, so raise the version and list it."""
    own = [i for i in daytwo.env_ids() if type(daytwo.make_family(i)).__module__.startswith("daytwo.envs.")]
    assert set(FAMILIES) == {env_id for env_id in own if not daytwo.make_family(env_id).continuous}


def test_it_is_no_family():
    assert ID in compound_ids() and ID in gymnasium.registry and ID not in daytwo.env_ids()
    for call in (daytwo.make_family, lambda env_id: daytwo.evaluate("random", env_id, lifetimes=1)):
        with pytest.raises(ValueError, match=r"Mixture-v0 is no single family.*evaluate on the families one by one"):
            call(ID)
    with pytest.raises(ValueError, match=r"Mixture-v0 is registered already"):
        daytwo.register("daytwo.envs.bandit:Bandit", env_id=ID)


def test_held_out_families_are_absent_and_fit_the_same_interface():
    everything = gymnasium.make_vec(ID, num_envs=2)
    env = gymnasium.make_vec(ID, num_envs=400, without=("Alchemy", "daytwo/Textbook-v0"))
    assert env.families == tuple(one for one in FAMILIES if "Alchemy" not in one and "Textbook" not in one)
    assert env.interface == everything.interface and env.observation_space.shape[1] == everything.layout.size
    env.reset(seed=0)
    counts = np.bincount(env.family_index, minlength=len(env.families))
    assert len(counts) == 8 and (counts > 25).all()
    held_out = daytwo.LifetimeVectorEnv("daytwo/Alchemy-v0", 3)
    padding = Padding(held_out.lifetime_spec, **env.interface)
    padded = padding.observations(held_out.reset(seed=0)[0])
    assert all(row in env.single_observation_space for row in padded)
    assert dict(padding.layout) == dict(env.layout)


def test_every_family_gets_the_same_share_of_lifetimes_or_of_steps():
    by_lifetimes, by_steps = (MixtureVectorEnv(num_envs=4000, equal=equal) for equal in ("lifetimes", "steps"))
    lengths = np.array([spec.steps for spec in by_steps.member_specs])
    for env, expected in ((by_lifetimes, np.full(10, 0.1)), (by_steps, 1 / lengths / (1 / lengths).sum())):
        env._seed[:] = np.arange(4000)
        env._draw(np.ones(4000, dtype=bool))
        shares = np.bincount(env.family_index, minlength=10) / 4000
        assert shares == pytest.approx(expected, abs=0.03)


# --- lifetimes -----------------------------------------------------------------------------------------------------


def test_the_checker_finds_nothing():
    check_env(gymnasium.make(ID).unwrapped)
    check_env(gymnasium.make(ID, families="Bandit,Workplace", show_family=True).unwrapped)


@pytest.mark.parametrize("show_family", [False, True])
def test_a_lifetime_is_that_of_the_members_own_environment(show_family):
    env = MixtureVectorEnv(num_envs=12, autoreset_mode="Disabled", show_family=show_family)
    observations, _ = env.reset(seed=3)
    families, seeds = env.family_index.copy(), env.lifetime_seeds.copy()
    assert len(set(families.tolist())) > 5
    alone = [daytwo.LifetimeEnv(env.families[family]) for family in families]
    paddings = [Padding(one.lifetime_spec, **env.interface) for one in alone]
    rows = [one.reset(seed=int(seed))[0] for one, seed in zip(alone, seeds, strict=True)]
    common = paddings[0].size
    for actions in actions_of(250, 12):
        for lane in range(12):
            assert_same(observations[lane, :common], paddings[lane].observations(rows[lane][None])[0])
            if show_family:
                assert observations[lane, common:].tolist() == np.eye(len(env.families))[families[lane]].tolist()
        step = env.step(actions)
        observations = step[0]
        for lane in range(12):
            if alone[lane]._over:
                continue
            own = int(paddings[lane].actions(actions[lane : lane + 1])[0])
            rows[lane], reward, terminated, _, info = alone[lane].step(own)
            assert step[1][lane] == reward and step[2][lane] == terminated
            check_info(step[4], lane, info)
            mask = paddings[lane].action_masks(info["action_mask"][None])[0]
            assert step[4]["action_mask"][lane].tolist() == mask.tolist()
            if "_family" in step[4] and step[4]["_family"][lane]:
                assert step[4]["family"][lane] == families[lane]


def singles_of(arguments, seed):
    singles = [MixtureEnv(**arguments) for _ in range(LANES)]
    return singles, [single.reset(seed=seed + lane)[0] for lane, single in enumerate(singles)]


def test_next_step_equals_single_environments_by_hand():
    env = gymnasium.make_vec(ID, num_envs=LANES, **SHORT)
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    singles, rows = singles_of(SHORT, 10)
    observations, _ = env.reset(seed=10)
    assert_same(list(observations), rows)
    over, dummies = [False] * LANES, 0
    for actions in actions_of(80):
        step = env.step(actions)
        for lane, single in enumerate(singles):
            if over[lane]:
                assert_same(step[0][lane], single.reset()[0])
                assert step[1][lane] == 0.0 and not step[2][lane] and not step[4]["_raw_reward"][lane]
                assert not any(step[4]["_" + key][lane] for key in EPISODE_KEYS if key in step[4])
                over[lane], dummies = False, dummies + 1
            else:
                row, reward, over[lane], _, info = single.step(actions[lane])
                check_lane(step, lane, row, reward, over[lane], info)
        assert "final_obs" not in step[4]
    assert dummies > 15
    assert len({int(single.lanes.family_index[0]) for single in singles}) > 1


def test_same_step_equals_single_environments_by_hand():
    env = MixtureVectorEnv(num_envs=LANES, autoreset_mode="SameStep", **SHORT)
    singles, rows = singles_of(SHORT, 10)
    assert_same(list(env.reset(seed=10)[0]), rows)
    finished = 0
    for actions in actions_of(80):
        step = env.step(actions)
        for lane, single in enumerate(singles):
            row, reward, terminated, _, info = single.step(actions[lane])
            if terminated:
                first, first_info = single.reset()
                check_lane(step, lane, first, reward, True, first_info, ended_by=info)
                assert_same(step[4]["final_obs"][lane], row)
                check_info(step[4]["final_info"], lane, info)
                assert step[4]["final_info"]["family"][lane] == info["family"]
                finished += 1
            else:
                check_lane(step, lane, row, reward, False, info)
                assert "final_obs" not in step[4] or step[4]["final_obs"][lane] is None
    assert finished > 15


def test_disabled_equals_single_environments_by_hand_with_partial_resets():
    env = MixtureVectorEnv(num_envs=LANES, autoreset_mode="Disabled", **SHORT)
    singles, latest = singles_of(SHORT, 10)
    assert_same(list(env.reset(seed=10)[0]), latest)
    over, resets = np.zeros(LANES, dtype=bool), 0
    for number, actions in enumerate(actions_of(90)):
        if number % 7 == 6:
            mask = over | (np.arange(LANES) == number % LANES)  # some are broken off
            seed = 50 + number if number % 2 else None
            observations, _ = env.reset(seed=seed, options={"reset_mask": mask})
            for lane in np.flatnonzero(mask):
                latest[lane] = singles[lane].reset(seed=None if seed is None else seed + int(lane))[0]
            assert_same(list(observations), latest)
            over[:], resets = False, resets + 1
        step = env.step(actions)
        for lane, single in enumerate(singles):
            if over[lane]:
                assert_same(step[0][lane], latest[lane])
                assert step[1][lane] == 0.0 and step[2][lane]
                assert not any(step[4]["_" + key][lane] for key in EPISODE_KEYS if key in step[4])
                continue
            latest[lane], reward, over[lane], _, info = single.step(actions[lane])
            check_lane(step, lane, latest[lane], reward, over[lane], info)
    assert resets > 10


def test_lanes_out_of_use_stand_still():
    env = MixtureVectorEnv(num_envs=30, autoreset_mode="Disabled", families=("Bandit", "Workplace"))
    for seed in (0, 1):  # the second reset breaks lifetimes off
        env.reset(seed=seed)
        env.step(np.zeros(30, dtype=int))
        for index, member in enumerate(env.members):
            assert (member.step(np.zeros(30, dtype=int))[2] == (env.family_index != index)).all()


def test_a_snapshot_brings_everything_back():
    env = MixtureVectorEnv(num_envs=LANES, autoreset_mode="SameStep", **SHORT)
    other = MixtureVectorEnv(num_envs=LANES, autoreset_mode="SameStep", **SHORT)
    env.reset(seed=1)
    for actions in actions_of(33):
        env.step(actions)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    copy = pickle.loads(pickle.dumps(env))
    other.restore(saved)
    for actions in actions_of(60, seed=1):
        step = env.step(actions)
        assert_same(step, other.step(actions))
        assert_same(step, copy.step(actions))
    wide = MixtureVectorEnv(num_envs=LANES + 1, autoreset_mode="SameStep", **SHORT)
    wide.reset(seed=0)
    before = wide.snapshot()
    with pytest.raises(ValueError, match="made with other arguments"):
        wide.restore(saved)
    paid = MixtureVectorEnv(num_envs=LANES, autoreset_mode="SameStep", reward="raw", **SHORT)
    with pytest.raises(ValueError, match="another course, reward, split"):
        paid.restore(saved)
    with pytest.raises(ValueError, match="with autoreset_mode SameStep; this has NextStep"):
        MixtureVectorEnv(num_envs=LANES, **SHORT).restore(saved)
    assert all((before[name] == wide.snapshot()[name]).all() for name in ("_rows", "_seed", "family_index"))


def test_interpreted_it_is_the_same():
    both = []
    for compiled in (True, False):
        with interpreted(not compiled):
            env = MixtureVectorEnv(num_envs=3, compiled=compiled, families=("Bandit", "Alchemy"), episodes=1)
            steps = [env.reset(seed=0)]
            both.append(steps + [env.step(actions) for actions in actions_of(30, 3)])
    assert_same(*both)


def test_the_spec_bounds_every_members_lifetime():
    env = gymnasium.make_vec(ID, num_envs=1)
    spec = env.lifetime_spec
    assert spec.env_id == ID and spec.actions == 40 and not spec.continuous
    assert spec.layout.size == env.single_observation_space.shape[0] == spec.observation_space.shape[0]
    assert spec.steps >= max(member.steps for member in env.member_specs)
    assert spec.course.episodes == max(one.course.episodes for one in env.member_specs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ("Bandit", "PointRobot")}, "PointRobot-v0 has continuous actions"),
        ({"families": "Maize"}, "Unknown environment 'Maize'"),
        ({"families": ()}, "needs at least one family"),
        ({"families": ("Bandit", "daytwo/Bandit-v0")}, "must differ, received daytwo/Bandit-v0, daytwo/Bandit-v0"),
        ({"families": "Bandit", "without": "Maze"}, "without: daytwo/Maze-v0 is none of the families daytwo/Bandit"),
        ({"families": "Bandit", "without": "Bandit"}, "needs at least one family"),
        ({"member_settings": {"PointRobot": {}}}, "member_settings names 'daytwo/PointRobot-v0'"),
        ({"member_settings": {"Bandit": {"arm": 3}}}, "Unknown setting 'arm' for Bandit"),
        ({"families": "Maze", "width": 60}, "daytwo/Maze-v0 needs width of at least 69, received 60"),
        ({"arms": 3}, "Unknown argument 'arms' for a mixture"),
        ({"privileged": True}, "Unknown argument 'privileged' for a mixture"),
        ({"equal": "episodes"}, "equal must be one of lifetimes, steps, received 'episodes'"),
        ({"show_family": 1}, "show_family must be True or False, received 1"),
        ({"num_envs": 0}, "num_envs must be an integer"),
        ({"autoreset_mode": "Never"}, "autoreset_mode must be one of"),
        ({"split": "tests"}, "Unknown split 'tests'"),
    ],
)
def test_impossible_mixtures_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixtureVectorEnv(**arguments)


def test_bad_actions_and_options_are_refused_and_nothing_is_done():
    env = MixtureVectorEnv(num_envs=2, families="Bandit,LearningSet", autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros(2, dtype=int))
    env.reset(seed=0)
    before = env.snapshot()
    for actions, message in (
        ([0, 40], r"must lie in 0..39, received 40 in lane 1"),
        ([-1, 0], r"received -1 in lane 0"),
        ([0.0, 1.0], "integer dtype, received float64"),
        ([0], r"shape \(2,\), received shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(actions))
    with pytest.raises(ValueError, match="Unknown reset option 'level'"):
        env.reset(options={"level": 1})
    for name in ("_rows", "_lifetime"):
        assert (env.snapshot()[name] == before[name]).all()
    single = gymnasium.make(ID, families="Bandit,LearningSet")
    with pytest.raises(gymnasium.error.ResetNeeded):
        single.step(0)
    single.reset(seed=0)
    for action in (40, 0.5, "left"):
        with pytest.raises(ValueError, match=r"[Aa]ction"):
            single.step(action)


# --- padding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", FAMILIES)
def test_a_padded_row_holds_all_that_the_family_shows(env_id):
    env = daytwo.LifetimeVectorEnv(env_id, 20, autoreset_mode="SameStep", episodes=2)
    spec = env.lifetime_spec
    padding = Padding(spec, width=80, actions=41, levels=7)
    assert padding.describe() == {"width": 80, "actions": 41, "levels": 7}
    assert dict(padding.layout) == dict(PaddedLayout(**padding.describe())) and list(padding.layout) == [
        *COMMON,
        "observation",
    ]
    space, streams = padding.layout.flat_space(), daytwo.streams.agent_streams(np.arange(20, dtype=np.uint64))
    rows, _ = env.reset(seed=0)
    for _ in range(60):
        padded = padding.observations(rows)
        assert padded.dtype == np.float32 and all(row in space for row in padded)
        back = np.zeros_like(rows)
        bounds = np.maximum(np.abs(spec.layout.low), np.abs(spec.layout.high))
        own = padded[:, padding.layout["observation"]]
        size = spec.layout.family_size
        back[:, :size] = own[:, :size] * bounds[:size]
        if "final_observation" in spec.layout:
            back[:, spec.layout["final_observation"]] = own[:, size : 2 * size] * bounds[:size]
        for name in COMMON:
            if name not in spec.layout:
                assert not padded[:, padding.layout[name]].any()
                continue
            part, given = spec.layout[name], padded[:, padding.layout[name]].astype(float)
            if name == "previous_reward":
                largest = max(map(abs, spec.reward_range))
                given = np.sign(given) * np.expm1(np.abs(given) * np.log1p(largest))
            elif name in ("episode", "stage_length"):
                given = given * bounds[part]
            assert not given[:, part.stop - part.start :].any()
            back[:, part] = given[:, : part.stop - part.start]
        assert back == pytest.approx(rows, abs=1e-4)
        wiped = spec.layout.wipe(rows, np.ones(20, dtype=bool))
        gone = padding.observations(wiped)
        assert not gone[:, padding.layout["previous_reward"]].any()
        rows = env.step(env.random_actions(streams))[0]


def test_padded_actions_are_the_remainder_and_masks_offer_only_the_familys():
    env = daytwo.LifetimeVectorEnv("daytwo/Workplace-v0", 4)
    padding = Padding(env.lifetime_spec, width=60, actions=40, levels=6)
    assert padding.actions(np.array([0, 5, 6, 39])).tolist() == [0, 5, 0, 3]
    masks = padding.action_masks(np.ones((4, 6), dtype=bool))
    assert masks.shape == (4, 40) and masks[:, :6].all() and not masks[:, 6:].any()


def test_padding_refuses_what_does_not_fit():
    spec = daytwo.LifetimeVectorEnv("daytwo/Alchemy-v0", 1).lifetime_spec
    for given, message in (
        ({"width": 38, "actions": 40, "levels": 3}, "Alchemy-v0 needs width of at least 39, received 38"),
        ({"width": 39, "actions": 39, "levels": 3}, "Alchemy-v0 needs actions of at least 40, received 39"),
        ({"width": 39, "actions": 40, "levels": 2}, "Alchemy-v0 needs levels of at least 3, received 2"),
        ({"width": 0, "actions": 40, "levels": 3}, "width must be an integer in 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Padding(spec, **given)
    with pytest.raises(ValueError, match="continuous actions"):
        Padding(daytwo.LifetimeVectorEnv("daytwo/PointRobot-v0", 1).lifetime_spec, width=40, actions=4, levels=4)
    padding = Padding(spec, width=39, actions=40, levels=3)
    with pytest.raises(ValueError, match=r"rows of shape \(N, 85\), received \(2, 7\)"):
        padding.observations(np.zeros((2, 7), dtype=np.float32))
    with pytest.raises(NotImplementedError):
        padding.layout.wipe(np.zeros((1, padding.size)), np.ones(1, dtype=bool))


# --- training ------------------------------------------------------------------------------------------------------


def test_stable_baselines3_trains_on_it():
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from daytwo.integrations.stable_baselines3 import LifetimeVecEnv

    env = LifetimeVecEnv(ID, 4, families=("Bandit", "LearningSet"), reward="return", episodes=1, seed=5)
    assert isinstance(env.env, MixtureVectorEnv) and env.env.rule.name == "return"
    seen = []
    callback = stable_baselines3.common.callbacks.ConvertCallback(
        lambda local, _: seen.extend(info["family"] for info in local["infos"] if "family" in info) or True
    )
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=40, batch_size=80, n_epochs=1, device="cpu")
    model.learn(640, callback=callback)
    assert set(seen) == {0, 1}
    assert env.action_masks().shape == (4, 40) and not env.action_masks()[:, 10:].any()


def test_native_vector_environments_are_made_by_id_or_family():
    assert isinstance(make_vector_env(ID, 2, families="Bandit"), MixtureVectorEnv)
    assert isinstance(make_vector_env("daytwo:" + ID, 2, families="Bandit"), MixtureVectorEnv)
    assert isinstance(make_vector_env("daytwo/Bandit-v0", 2, arms=3), daytwo.LifetimeVectorEnv)
