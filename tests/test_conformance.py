"""Every family of the suite passes `check_family`, and for each check a small broken family fails it."""

import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from numba.extending import register_jitable

import daytwo
from daytwo import conformance
from daytwo.conformance import CHECKS, ConformanceError, ConformanceReport, check_family
from daytwo.course import Level
from daytwo.envs import standard_settings
from daytwo.family import Scene, TaskFamily
from daytwo.observation import Field
from daytwo.streams import agent_streams, integer, uniform


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_every_registered_family_conforms(env_id: str) -> None:
    report = check_family(env_id)
    assert report.passed == CHECKS
    assert report.family == env_id
    assert not [note for note in report.notes if "level(s)" in note or "reference learner" in note], report.notes


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        pytest.param(env_id, settings, id=f"{env_id}-{'-'.join(map(str, settings.values()))}")
        for env_id, settings in standard_settings()
        if "kind" in settings and settings["kind"] not in ("dependent-easy", "dependent-hard")
    ],
)
def test_published_settings_conform(env_id: str, settings: dict) -> None:
    # The default settings' test compiles the code, and calibration compares the oracle with the random policy.
    only = [name for name in CHECKS if name not in ("reference learner", "compiled equals interpreted", "oracle")]
    assert check_family(env_id, settings=settings, lifetimes=64, compiled=False, only=only).passed == tuple(only)


# --- a small family, and ways to break it ---------------------------------------------------------------------------


@register_jitable
def draw(settings, task, stream, i):
    task.secret[i] = integer(stream, i, 64)


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.sign[i] = integer(stream, i, 4)
    state.count[i] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    right = action == (task.secret[i] + state.sign[i]) % (2 + level)
    state.sign[i] = integer(stream, i, 4)
    state.count[i] += 1
    return (1.0 if right else 0.0), state.count[i] == 3


@register_jitable
def observe(settings, task, state, level, i, out):
    out[state.sign[i]] = 1.0
    out[4] = state.count[i]


@register_jitable
def oracle(settings, task, state, level, i):
    return (task.secret[i] + state.sign[i]) % (2 + level)


class Reader:
    """A reference learner that acts by its own stream among what is offered."""

    def begin(self, spec: Any, seeds: np.ndarray) -> None:
        self.spec, self.streams = spec, agent_streams(seeds)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        masks = self.spec.observed_mask(observations)
        with np.errstate(over="ignore"):
            return np.array(
                [np.flatnonzero(mask)[integer(self.streams, i, mask.sum())] for i, mask in enumerate(masks)]
            )


class Tiny(TaskFamily):
    """Signs appear; which answer a sign wants depends on a secret number."""

    name = "Tiny"
    tags = ("exploration",)
    split_fields = ("secret",)
    reference = Reader
    draw, begin, step = staticmethod(draw), staticmethod(begin), staticmethod(step)
    observe, oracle = staticmethod(observe), staticmethod(oracle)
    declared: dict[str, Any] = {}  # what a broken family declares otherwise

    def __init__(self, *, longest: int = 4) -> None:
        super().__init__(
            **{
                "keywords": {"longest": longest},
                "settings": {"longest": longest},
                "task": [("secret", "i8")],
                "state": [("sign", "i8"), ("count", "i8")],
                "levels": [
                    Level(f"{2 + k} answers", longest, actions=tuple(a < 2 + k for a in range(4))) for k in range(3)
                ],
                "actions": spaces.Discrete(4),
                "fields": [Field("sign", 4), Field("count", 1, 0.0, 3.0)],
                "distinct_tasks": 64,
                **self.declared,
            }
        )


def broken(declared: dict[str, Any] | None = None, **changes: Any) -> type[Tiny]:
    """`Tiny` with some functions, methods or attributes exchanged."""
    functions = ("draw", "begin", "step", "observe", "oracle", "offered")
    body = {name: staticmethod(value) if name in functions else value for name, value in changes.items()}
    return type("Broken", (Tiny,), {**body, "declared": declared or {}, "__doc__": "Broken on purpose."})


def failures(family: Any, check: str, **arguments: Any) -> list[conformance.Failure]:
    """The failures of one check, made alone unless ``only`` says otherwise, and run as ordinary Python."""
    arguments = {"compiled": False, "lifetimes": 64, "only": [check], **arguments}
    with pytest.raises(ConformanceError) as caught:
        check_family(family, **arguments)
    found = [failure for failure in caught.value.failures if failure.check == check]
    assert found, str(caught.value)
    assert all(str(failure) in str(caught.value) for failure in found)
    return found


def test_the_small_family_itself_conforms() -> None:
    report = check_family(Tiny(longest=5), lifetimes=64, compiled=False)
    assert isinstance(report, ConformanceReport)
    assert report.passed == CHECKS
    assert report.settings == {"longest": 5}
    assert str(report).startswith(f"daytwo/Tiny-v0 passes {len(CHECKS)} checks: declaration, fresh memory, ")
    assert max(map(len, str(report).splitlines())) <= 100


def aim_draw(settings, task, stream, i):
    task.aim[i] = 2.0 * uniform(stream, i) - 1.0


def aim_begin(settings, task, state, level, stream, i):
    state.count[i] = 0


def aim_step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    return -abs(task.aim[i] - action[0]), False


def aim_observe(settings, task, state, level, i, out):
    out[0] = state.count[i]


def aim_oracle(settings, task, state, level, i, out):
    out[0] = task.aim[i]


class Aim(TaskFamily):
    """Hit a hidden number: a family with continuous actions."""

    name = "Aim"
    draw, begin, step = staticmethod(aim_draw), staticmethod(aim_begin), staticmethod(aim_step)
    observe, oracle = staticmethod(aim_observe), staticmethod(aim_oracle)

    def __init__(self) -> None:
        super().__init__(
            keywords={},
            settings={"unused": 0},
            task=[("aim", "f8")],
            state=[("count", "i8")],
            levels=[Level("two shots", 2), Level("three shots", 3)],
            actions=spaces.Box(-1.0, 1.0, (1,), np.float32),
            fields=[Field("count", 1, 0.0, 3.0)],
            reward_range=(-2.0, 0.0),
        )


def overshooting_oracle(settings, task, state, level, i, out):
    out[0] = 1.5


def test_a_family_with_continuous_actions_conforms_unless_its_oracle_overshoots() -> None:
    assert check_family(Aim, lifetimes=64, compiled=False).passed == CHECKS
    overshooting = type("Overshooting", (Aim,), {"oracle": staticmethod(overshooting_oracle)})
    (failure,) = failures(overshooting, "oracle")
    assert "the oracle chose [1.5]" in failure.problem


def test_what_is_unusual_but_right_is_noted() -> None:
    family = broken({"levels": [Level("only", 4, actions=(True, True, False, False))]}, reference=None, tags=())
    notes = " ".join(check_family(family, lifetimes=64, compiled=False).notes)
    assert "1 level(s)" in notes
    assert "no reference learner" in notes
    assert "no tags" in notes


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="lifetimes must be an integer of at least 32, received 8"):
        check_family(Tiny, lifetimes=8)
    with pytest.raises(ValueError, match="Unknown check 'magic'"):
        check_family(Tiny, only=["magic"])
    with pytest.raises(ValueError, match="Unknown setting 'size'"):
        check_family(Tiny, settings={"size": 3})


def test_all_failures_are_listed_at_once() -> None:
    family = broken({"reward_range": (0.0, 0.5)}, describe_rules=lambda self, level: "", reference="nobody")
    with pytest.raises(ConformanceError) as caught:
        check_family(family, compiled=False, lifetimes=64)
    assert {failure.check for failure in caught.value.failures} == {"bounds", "words", "reference learner"}
    assert str(caught.value).startswith(f"daytwo/Tiny-v0 fails 3 of {len(CHECKS)} checks:\n- reference learner: ")


# declaration


def test_keywords_that_do_not_make_the_family_again_fail() -> None:
    (failure,) = failures(broken({"keywords": {"lenght": 4}}), "declaration")
    assert "keywords" in failure.cause
    (failure,) = failures(broken({"keywords": {}})(longest=5), "declaration")
    assert "leaves out an argument" in failure.cause


def test_returns_without_a_scale_fail() -> None:
    family = broken()
    family.oracle = None  # type: ignore[assignment]
    (failure,) = failures(family, "declaration")
    assert "cannot be normalised" in failure.cause


# fresh memory


def forgetful_begin(settings, task, state, level, stream, i):
    state.sign[i] = integer(stream, i, 4)


def forgetful_draw(settings, task, stream, i):
    pass


def mistaken_step(settings, task, state, level, stream, i, action):
    return task.sekret[i] == action, False


def test_a_begin_that_forgets_a_field_fails_and_the_field_is_named() -> None:
    (failure,) = failures(broken(begin=forgetful_begin), "fresh memory")
    assert "state.count" in failure.cause
    assert "state.sign" not in failure.cause


def test_a_draw_that_forgets_a_field_fails_and_the_field_is_named() -> None:
    (failure,) = failures(broken(draw=forgetful_draw), "fresh memory")
    assert "task.secret" in failure.cause


def test_an_exception_is_reported_with_its_place() -> None:
    (failure,) = failures(broken(step=mistaken_step), "fresh memory")
    assert "sekret" in failure.problem
    assert "compiled=False" in failure.cause


def late_oracle(settings, task, state, level, i):
    return [oracle(settings, task, state, level, i)][0 if state.count[i] < 3 else 1]


def test_an_oracle_that_cannot_look_at_a_finished_episode_fails() -> None:
    (failure,) = failures(broken(oracle=late_oracle), "fresh memory")
    assert "IndexError" in failure.problem
    assert "late_oracle" in failure.cause


# compiled equals interpreted


@register_jitable
def overflowing_step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    return (1.0 if (int(action) + 2**62) * 4 > 2**62 else 0.0), state.count[i] == 3


def unmarked(value):
    return value + 1


@register_jitable
def calling_step(settings, task, state, level, stream, i, action):
    state.count[i] = unmarked(state.count[i])
    return 0.0, state.count[i] == 3


def test_arithmetic_that_compiles_to_something_else_fails() -> None:
    (failure, *_) = failures(broken(step=overflowing_step), "compiled equals interpreted", compiled=True)
    assert "raw rewards" in failure.problem
    assert "integer overflow" in failure.cause


def test_a_function_that_cannot_be_compiled_fails() -> None:
    (failure,) = failures(broken(step=calling_step), "compiled equals interpreted", compiled=True)
    assert "do not compile" in failure.problem
    assert "register_jitable" in failure.cause
    assert "unmarked" in failure.cause


# episodes end


def endless_step(settings, task, state, level, stream, i, action):
    return 0.0, False


def test_episodes_that_do_not_end_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "MOST_STEPS", 200)
    levels = [Level("for ever", 10**9)]
    (failure,) = failures(broken({"levels": levels}, step=endless_step), "episodes end")
    assert "no episode end within 200 steps" in failure.problem


# determinism

_steps_taken = [0]


def global_step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    return float(np.random.random() < 0.5), state.count[i] == 3  # noqa: NPY002 - the mistake to be found


def first_row_step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    return float(action == task.secret[0] % 4), state.count[i] == 3


def writing_observe(settings, task, state, level, i, out):
    observe(settings, task, state, level, i, out)
    state.sign[i] = (state.sign[i] + 1) % 4


def writing_oracle(settings, task, state, level, i):
    action = oracle(settings, task, state, level, i)
    state.sign[i] = 0
    return action


def test_another_source_of_randomness_fails() -> None:
    (failure,) = failures(broken(step=global_step), "equal seeds")
    assert "np.random" in failure.cause


def test_reading_another_row_fails() -> None:
    (failure,) = failures(broken(step=first_row_step), "lane equals single")
    assert "another row than i" in failure.cause


def test_looking_that_changes_the_state_fails() -> None:
    check = "looking changes nothing"
    assert "`observe` changes state.sign" in failures(broken(observe=writing_observe), check)[0].problem
    assert "when the oracle is asked" in failures(broken(oracle=writing_oracle), check)[0].problem


def wavering_observe(settings, task, state, level, i, out):
    _steps_taken[0] += 1
    out[4] = _steps_taken[0] % 3


def test_an_observation_that_depends_on_more_than_its_arguments_fails() -> None:
    (failure,) = failures(broken(observe=wavering_observe), "looking changes nothing")
    assert "something else than before" in failure.problem


def task_writing_step(settings, task, state, level, stream, i, action):
    reward, ended = step(settings, task, state, level, stream, i, action)
    task.secret[i] = (task.secret[i] + action) % 64
    return reward, ended


def test_dependence_on_earlier_actions_fails() -> None:
    check = "earlier episodes leave no trace"
    found = failures(broken(step=task_writing_step), check)
    assert any("writes to the task" in failure.cause for failure in found)
    assert any("the same actions in episode 1 lead elsewhere" in failure.problem for failure in found)


def remembering_begin(settings, task, state, level, stream, i):
    state.sign[i] = (state.sign[i] + integer(stream, i, 2)) % 4
    state.count[i] = 0


def remembering_step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    state.sign[i] = action
    return 0.0, state.count[i] == 3


def test_a_first_observation_that_tells_of_the_episode_before_fails() -> None:
    check = "earlier episodes leave no trace"
    (failure, *_) = failures(broken(begin=remembering_begin, step=remembering_step), check)
    assert "the first observation of episode 1 depends on what was done in episode 0" in failure.problem


def counting_step(settings, task, state, level, stream, i, action):
    _steps_taken[0] += 1
    state.count[i] += 1
    return float(_steps_taken[0] % 5 == 0), state.count[i] == 3


def test_what_a_snapshot_cannot_hold_fails() -> None:
    (failure,) = failures(broken(step=counting_step), "snapshot")
    assert "global variable" in failure.cause


def far_observe(settings, task, state, level, i, out):
    observe(settings, task, state, level, i, out)
    out[4] = 7.5


def nan_observe(settings, task, state, level, i, out):
    out[4] = np.nan


def test_observations_out_of_bounds_fail_gymnasium_and_bounds() -> None:
    for function, shown in ((far_observe, "7.5"), (nan_observe, "nan")):
        family = broken(observe=function)
        (failure,) = failures(family, "bounds", only=["fresh memory", "gymnasium", "bounds"])
        assert f"'count' was {shown}, outside [0, 3]" in failure.problem
        assert failures(family, "gymnasium")


def test_rewards_out_of_range_fail() -> None:
    (failure,) = failures(broken({"reward_range": (0.0, 0.5)}), "bounds", only=["oracle", "bounds"])
    assert "a step paid 1, outside reward_range [0, 0.5]" in failure.problem


# tasks


def test_a_lossy_task_dict_fails() -> None:
    def task_to_dict(self, task):
        return {"secret": int(task["secret"]) // 2}

    (failure,) = failures(broken(task_to_dict=task_to_dict), "task as dict")
    assert "'secret'" in failure.problem


def constant_draw(settings, task, stream, i):
    task.secret[i] = 5


def test_splits_that_share_tasks_fail() -> None:
    found = failures(broken({"distinct_tasks": None}, split_fields=()), "splits")
    assert "share" in found[0].problem
    assert "split_fields" in found[0].cause


def test_a_wrong_number_of_distinct_tasks_fails() -> None:
    (failure,) = failures(broken({"distinct_tasks": 8}, split_fields=()), "splits")
    assert "distinct_tasks is too small" in failure.cause
    few = {"distinct_tasks": None, "task": [("secret", "i8")]}
    found = failures(broken(few, draw=few_draw, split_fields=()), "splits")
    assert any("distinct_tasks should say how many" in failure.cause for failure in found)


def few_draw(settings, task, stream, i):
    task.secret[i] = integer(stream, i, 5)


def test_a_draw_without_randomness_fails() -> None:
    found = failures(broken({"distinct_tasks": 20}, draw=constant_draw, split_fields=()), "splits")
    assert any("all of 64 lifetimes had the same task" in failure.problem for failure in found)


def leaking_observe(settings, task, state, level, i, out):
    observe(settings, task, state, level, i, out)
    out[4] = 3.0 * task.secret[i] / 63.0


def scrambling_observe(settings, task, state, level, i, out):
    out[4] = 3.0 * ((task.secret[i] * 29 + 11) % 64) / 63.0  # no linear function of it tells the secret


def parity_observe(settings, task, state, level, i, out):
    out[task.secret[i] % 2] = 1.0


@pytest.mark.parametrize("leak", [leaking_observe, scrambling_observe, parity_observe])
def test_a_leaking_observation_fails(leak: Any) -> None:
    (failure,) = failures(broken(observe=leak), "the task stays hidden", lifetimes=512)
    assert "'secret' can be predicted" in failure.problem
    assert "add 'secret' to visible_at_start" in failure.cause


def test_what_is_declared_visible_may_be_shown() -> None:
    family = broken(observe=leaking_observe, visible_at_start=("secret",))
    assert check_family(family, compiled=False, lifetimes=64, only=["the task stays hidden"]).passed


def test_the_probes_raise_no_false_alarm() -> None:
    for seed in range(20):  # a random sign beside an unrelated secret
        assert check_family(Tiny, compiled=False, lifetimes=64, seed=100 * seed, only=["the task stays hidden"]).passed


# actions and agents


def phase_offered(settings, task, state, level, i, action):
    return state.count[i] != 1 or action == 0


def never_offered(settings, task, state, level, i, action):
    return state.count[i] == 0


def test_an_offer_that_the_observation_does_not_tell_fails() -> None:
    (failure,) = failures(broken(offered=phase_offered), "actions")
    assert "override observed_mask" in failure.cause


def test_a_phase_that_offers_nothing_fails() -> None:
    (failure,) = failures(broken(offered=never_offered), "actions")
    assert "no action is offered" in failure.problem or "observed_mask" in failure.problem


def impatient_observe(settings, task, state, level, i, out):
    observe(settings, task, state, level, i, out)
    state.sign[i] = (state.sign[i] + 1) % 4


def test_an_action_that_is_not_offered_must_change_nothing() -> None:
    (failure,) = failures(broken(observe=impatient_observe), "actions")
    assert "changed ['sign']" in failure.problem


def contrary_oracle(settings, task, state, level, i):
    return (task.secret[i] + state.sign[i] + 1) % (2 + level)


def greedy_oracle(settings, task, state, level, i):
    return 3


def test_an_oracle_worse_than_random_fails() -> None:
    found = failures(broken(oracle=contrary_oracle), "oracle")
    assert len(found) == 3
    assert "`oracle` is wrong" in found[0].cause


def test_an_oracle_that_chooses_what_is_not_offered_fails() -> None:
    (failure,) = failures(broken(oracle=greedy_oracle), "oracle")
    assert "the oracle chose 3, which is not offered there" in failure.problem


class Careless(Reader):
    """Acts as if every level offered everything."""

    def act(self, observations, fresh):
        return np.full(len(observations), 3)


class Shapeless(Reader):
    """Returns one action for all."""

    def act(self, observations, fresh):
        return np.int64(0)


class Batched(Reader):
    """Draws from one stream for all lifetimes."""

    def act(self, observations, fresh):
        with np.errstate(over="ignore"):
            return np.array([int(uniform(self.streams, 0) < 0.5) for _ in observations])


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nobody", "cannot be made"),
        (Careless, "chose 3, which is not offered"),
        (Shapeless, r"shape \(\)"),
        (Batched, "alone and beside others"),
    ],
)
def test_a_bad_reference_learner_fails(reference: Any, words: str) -> None:
    (failure,) = failures(broken(reference=reference), "reference learner")
    assert re.search(words, failure.problem)


# words and pictures


def test_words_that_do_not_round_trip_fail() -> None:
    same = broken(describe_action=lambda self, action: "do it")
    assert "share a name" in failures(same, "words")[0].cause
    lenient = broken(parse_action=lambda self, text, level: TaskFamily.parse_action(self, text, 2))
    assert any("is not offered there" in f.problem for f in failures(lenient, "words"))
    silent = broken(describe_observation=lambda self, values, level: "")
    assert "describe_observation returns ''" in failures(silent, "words")[0].problem


def showing_ansi(self: Tiny, scene: Scene) -> str:
    return f"the secret is {scene.task['secret']}"


def test_bad_pictures_fail() -> None:
    (failure,) = failures(broken(render_ansi=showing_ansi), "pictures")
    assert "shows the hidden task" in failure.problem
    (failure,) = failures(broken(render_ansi=lambda self, scene: ""), "pictures")
    assert "render_ansi returns ''" in failure.problem
    pytest.importorskip("PIL")
    grey = broken(render_rgb=lambda self, scene: np.zeros((4, 4)))
    assert "render_rgb returns float64[4, 4]" in failures(grey, "pictures")[0].problem
