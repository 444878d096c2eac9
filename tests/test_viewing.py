"""Films show the lifetime's true numbers, and whoever plays sees how the others lived the same lifetime."""

import io
import math
import re
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daytwo
from daytwo import viewing
from daytwo.course import Course, Stage
from daytwo.improvement import RULES, ImprovementRule, next_bar
from daytwo.lifetime import LifetimeEnv
from daytwo.pictures import PALETTE, Canvas
from daytwo.viewing import (
    LivedEpisode,
    adaptation_chart,
    adaptation_in_words,
    adaptation_table,
    draw_strip,
    film,
    lay_out_strip,
    live_again,
    play,
)
from tests.test_command_line import run
from tests.toy import SCORE, WAIT, Counting, Phases, Steering

pytest.importorskip("PIL")
from PIL import Image

NAN = math.nan


def episodes(*values_and_bars, stage=0, level=0) -> list[LivedEpisode]:
    return [LivedEpisode(stage, place, level, value, bar) for place, (value, bar) in enumerate(values_and_bars)]


def marks(chart: str, mark: str) -> list[float]:
    """The heights at which a mark stands in a chart of one page, from left to right."""
    found = []
    for line in chart.splitlines():
        row = re.match(r" *(?:oracle|random)? *(-?\d\.\d) ┤(.*)", line)
        if row:
            found += [(at, float(row[1])) for at, letter in enumerate(row[2]) if letter == mark]
    return [height for _, height in sorted(found)]


# --- the strip -----------------------------------------------------------------------------------------------------


def test_columns_stand_on_random_and_reach_their_value_on_a_linear_scale():
    lived = episodes((0.5, 0.0), (-0.25, 0.125), (1.0, 0.03125))
    running = LivedEpisode(0, 3, 0, 0.25, 0.75)
    strip = lay_out_strip(250, [Stage(0, 5)], lived, running)
    unit = strip.zero - strip.one  # upwards is less
    assert unit == pytest.approx((strip.bottom - strip.top) / 2)  # -0.5 to 1.5
    assert strip.zero == pytest.approx(strip.bottom - 0.5 * unit)
    heights = [(column.top, column.bottom) for column in strip.columns]
    expected = [
        (strip.zero - 0.5 * unit, strip.zero),
        (strip.zero, strip.zero + 0.25 * unit),
        (strip.one, strip.zero),
        (strip.zero - 0.25 * unit, strip.zero),
    ]
    assert np.allclose(heights, expected)
    assert [column.bar for column in strip.columns] == pytest.approx(
        [strip.zero - bar * unit for bar in (0.0, 0.125, 0.03125, 0.75)]
    )
    assert [column.episode.above for column in strip.columns] == [True, False, True, False]
    assert [column.running for column in strip.columns] == [False, False, False, True]
    lefts = [column.left for column in strip.columns]
    assert lefts == [strip.stages[0].left + k * strip.slot for k in range(4)]
    assert strip.stages[0].right == strip.stages[0].left + 5 * strip.slot  # the episode to come has its place, too
    assert not (strip.earlier or strip.later)


def test_values_off_the_scale_end_at_its_edge_and_say_so():
    strip = lay_out_strip(250, [Stage(0, 3)], episodes((7.0, 9.0), (-3.0, -4.0), (1.5, 0.0)), None)
    above, below, inside = strip.columns
    assert (above.top, above.bar, above.outside) == (strip.top, strip.top, 1)
    assert (below.bottom, below.bar, below.outside) == (strip.bottom, strip.bottom, -1)
    assert (inside.top, inside.outside) == (strip.top, 0)
    picture = draw_strip(strip, name="a", title="", level_names=["one"])
    edge = [picture[int(strip.top) + 1, int((column.left + column.right) / 2)] for column in (above, inside)]
    assert edge[0].max() < 120  # the tip of a triangle, or the bar
    assert tuple(edge[1]) == PALETTE["blue"]


@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=8),
    share=st.floats(0, 1),
    width=st.integers(16, 700),
)
def test_the_present_episode_is_always_shown_and_columns_stay_apart(lengths, share, width):
    stages = [Stage(k, length) for k, length in enumerate(lengths)]
    every = [LivedEpisode(k, j, k, 0.4, 0.1) for k, length in enumerate(lengths) for j in range(length)]
    now = round(share * (len(every) - 1))
    strip = lay_out_strip(width, stages, every[:now], every[now])
    assert strip.columns[-1].episode == every[now]
    shown = [column.episode for column in strip.columns]
    assert shown == every[now + 1 - len(shown) : now + 1]  # an unbroken piece of the lifetime
    for before, after in zip(strip.columns, strip.columns[1:], strict=False):
        assert before.right <= after.left + 1e-9
    for column in strip.columns:
        place = next(place for place in strip.stages if place.stage == column.episode.stage)
        assert place.left <= column.left < column.right <= place.right + 1e-9
    if width >= 100:
        assert strip.stages[-1].right <= width
        assert strip.slot >= viewing.NARROWEST_SLOT
    if sum(lengths) * viewing.NARROWEST_SLOT + len(lengths) * viewing.STAGE_GAP < width - strip.gutter - 6:
        assert (strip.earlier, strip.later) == (False, False)
        assert len(strip.stages) == len(stages)


def test_beaten_and_missed_bars_differ_in_more_than_colour():
    strip = lay_out_strip(250, [Stage(0, 4)], episodes((0.9, 0.2), (0.9, 1.2)), LivedEpisode(0, 2, 0, 0.9, 0.2))
    picture = draw_strip(strip, name="somebody", title="", level_names=["one"])

    def shades(column) -> int:
        top, bottom = int(column.top) + 3, int(column.bar if column.episode.above else column.bottom) - 3
        area = picture[top:bottom, int(column.left) + 4 : int(column.right) - 4]
        return len(np.unique(area.reshape(-1, 3).sum(axis=1)))

    beaten, missed, running = strip.columns
    assert shades(beaten) == shades(running) == 1
    assert shades(missed) > 1  # hatched
    for column in strip.columns:
        middle = int((column.left + column.right) / 2)
        assert picture[int(column.bar), middle].max() < 120, "the bar"
    middles = [int((column.left + column.right) / 2) for column in (beaten, running)]
    full, pale = (int(picture[int(strip.zero) - 15, middle].sum()) for middle in middles)
    assert pale > full + 100


def test_where_a_rule_has_no_bar_none_is_drawn():
    values = [(0.9, NAN), (0.4, NAN)]
    strip = lay_out_strip(250, [Stage(0, 3)], episodes(*values), LivedEpisode(0, 2, 0, 0.3, NAN))
    assert [column.bar for column in strip.columns] == [None] * 3
    chart = draw_strip(strip, name="", title="", level_names=["one"])[int(strip.top) : int(strip.bottom)]
    assert chart.min() >= min(PALETTE["dark"])  # no ink


def test_a_hatch_covers_a_rectangle_and_nothing_else():
    canvas = Canvas(60, 40)
    canvas.hatch(10, 5, 50, 30, colour="ink")
    dark = canvas.array().max(axis=2) < 250
    inside = np.zeros_like(dark)
    inside[4:31, 9:51] = True
    assert not dark[~inside].any()
    assert all(dark[y : y + 6, x : x + 6].any() for y in range(5, 25, 5) for x in range(10, 45, 5))


# --- filming -------------------------------------------------------------------------------------------------------


def filmed(monkeypatch, tmp_path, env_id, **arguments) -> list[tuple]:
    """The (stages, lived, running) of every strip of a film."""
    seen = []
    drawn = lay_out_strip

    def spy(width, stages, lived, running):
        seen.append((stages, lived, running))
        return drawn(width, stages, lived, running)

    monkeypatch.setattr(viewing, "lay_out_strip", spy)
    film(env_id, tmp_path / "film.gif", frames=1000, **arguments)
    return seen


@pytest.mark.parametrize("rule", RULES)
def test_strips_show_the_returns_of_an_evaluation_and_the_bars_of_the_rule(monkeypatch, tmp_path, rule):
    settings = {"reward": rule, "course": "review", "episodes": 2, "split": "all"}
    seen = filmed(
        monkeypatch, tmp_path, Counting, agent="random", seed=3, settings={**settings, "compiled": False}, every=1
    )
    result = daytwo.evaluate("random", Counting, lifetimes=1, seed=3, compiled=False, **settings)
    stages, lived, running = seen[-1]
    assert running is None
    assert [one.value for one in lived] == result.normalized[0].tolist()
    assert [one.level for one in lived] == result.levels[0].tolist()
    assert [(one.stage, one.place) for one in lived] == [(k, j) for k in range(4) for j in range(2)]
    assert [stage.level for stage in stages] == [0, 1, 2, 0]
    made, bars, played = ImprovementRule(rule), dict.fromkeys(range(3), 0.0), dict.fromkeys(range(3), 0)
    for one in lived:
        expected = NAN if rule == "raw" or (rule == "difference" and not played[one.level]) else bars[one.level]
        assert one.bar == pytest.approx(expected, nan_ok=True)
        bars[one.level] = next_bar(made.kind, made.effective_rate, bars[one.level], one.value, played[one.level])
        played[one.level] += 1


def test_the_running_return_is_what_the_episode_would_come_to_now(monkeypatch, tmp_path):
    class Scorer:
        def begin(self, spec, seeds):
            pass

        def act(self, observations, fresh):
            return np.array([SCORE])

    settings = {"course": "single", "level": 2, "episodes": 2, "compiled": False}
    seen = filmed(monkeypatch, tmp_path, Counting, agent=Scorer(), settings=settings)
    running = [one for _, _, one in seen[:-1]]
    # Random earns 1 and the oracle 4 of the 4 steps; the bar moves by a quarter.
    assert [one.value for one in running] == pytest.approx([(k - 1) / 3 for k in (0, 1, 2, 3, 0, 1, 2, 3)])
    assert [one.bar for one in running] == pytest.approx([0.0] * 4 + [0.25] * 4)
    assert [one.place for one in running] == [0] * 4 + [1] * 4


def test_shuffled_stages_are_shown_in_the_order_in_which_they_are_lived(monkeypatch, tmp_path):
    orders = set()
    for seed in range(4):
        settings = {"course": "shuffled", "episodes": 1, "compiled": False}
        seen = filmed(monkeypatch, tmp_path, Counting, agent="random", seed=seed, settings=settings)
        stages, lived, _ = seen[-1]
        assert [stage.level for stage in stages] == [one.level for one in lived]
        orders.add(tuple(one.level for one in lived))
    assert len(orders) > 1


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_every_family_can_be_filmed(tmp_path, env_id):
    out = tmp_path / "film.gif"
    settings = {"compiled": False, "course": "progressive", "episodes": 1}
    count = film(env_id, out, agent=["random", "oracle"], frames=4, width=200, settings=settings)
    with Image.open(out) as picture:
        assert (count, picture.n_frames, picture.width) == (4, 4, 400)


def test_scenes_that_change_their_size_keep_the_picture_in_place(tmp_path):
    """Without a drawing of its own, a family's scene is a text, as wide as its numbers make it."""
    out, lone = tmp_path / "film.gif", tmp_path / "lone.gif"
    settings = {"compiled": False, "reference_returns": daytwo.calibration.ReferenceReturns.given(0.0, 3.0)}
    count = film(Steering, out, agent=["random", "oracle"], settings=settings)
    film(Steering, lone, agent="oracle", settings=settings)
    with Image.open(out) as picture, Image.open(lone) as half:
        sizes = set()
        for k in range(picture.n_frames):
            picture.seek(k)
            sizes.add(picture.size)
        assert len(sizes) == 1
        assert picture.n_frames == count
        assert picture.width >= 2 * 200
        assert abs(picture.width - 2 * half.width) < 100


def test_the_strip_can_be_left_out(tmp_path):
    settings = {"compiled": False, "course": "single"}

    def size(**arguments):
        film("daytwo/DarkRoom-v0", tmp_path / "x.gif", frames=2, settings=settings, **arguments)
        with Image.open(tmp_path / "x.gif") as picture:
            return picture.size

    env = LifetimeEnv("daytwo/DarkRoom-v0", **settings)
    env.reset(seed=0)
    scene = env.family.render_rgb(env.scene())
    assert size(agent="random", bar=False) == scene.shape[1::-1]
    assert size(agent="random")[1] > scene.shape[0] + 60
    both = size(agent=["random", "oracle"], bar=False)
    assert both[0] == 2 * scene.shape[1]
    assert scene.shape[0] < both[1] < scene.shape[0] + 40  # their names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"frames": 0}, "frames must be an integer in 1.*received 0"),
        ({"fps": 0}, r"fps must be an integer in 1\.\.50, received 0"),
        ({"fps": 51}, "received 51"),
        ({"every": 1.5}, "every must be an integer .* received 1.5"),
        ({"width": 8}, "width must be an integer in 16.*received 8"),
        ({"seed": -1}, "seed must be an integer in 0.*received -1"),
        ({"frames": True}, "received True"),
        ({"agent": []}, "at least one agent"),
        ({"settings": {"privileged": False}}, "decides privileged itself: leave privileged=False out"),
    ],
)
def test_impossible_films_are_refused(tmp_path, arguments, expected):
    with pytest.raises(ValueError, match=expected):
        film(Counting, tmp_path / "x.gif", **arguments)
    assert not (tmp_path / "x.gif").exists()


def test_without_pillow_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'daytwo\[report\]'"):
        film(Counting, tmp_path / "x.gif")


def test_render_writes_a_gif(monkeypatch, capsys, tmp_path):
    heights = []
    for number, words in enumerate([(), ("--no-bar",)]):
        out = tmp_path / f"{number}.gif"
        words = ("daytwo/DarkRoom-v0", "--agent", "oracle", "--out", str(out), "--frames", "5", *words)
        status, _, _ = run(monkeypatch, capsys, "render", *words)
        assert status == 0
        with Image.open(out) as picture:
            assert picture.n_frames == 5
            heights.append(picture.height)
    assert heights[1] < heights[0] - 60


# --- playing -------------------------------------------------------------------------------------------------------


class Scorer:
    """Scores always, except in a lifetime's first episode, and then plays like one who has learnt."""

    def begin(self, spec, seeds):
        self.spec, self.learnt = spec, np.zeros(len(seeds), dtype=bool)
        self.first = np.ones(len(seeds), dtype=bool)

    def act(self, observations, fresh):
        begins = observations[:, self.spec.layout["episode_start"]][:, 0] > 0
        self.learnt |= begins & ~self.first
        self.first[:] = False
        return np.where(self.learnt, SCORE, WAIT)


class Taught(Counting):
    name = "Taught"
    reference = Scorer


class Unled(Counting):
    """A family that nobody can solve: it has no reference learner and no oracle."""

    name = "Unled"
    oracle = None


class Unfit(Counting):
    name = "Unfit"
    reference = "gittins"


def played(env_id, answers, **arguments) -> tuple[list[float], str]:
    """What `play` returns and says, given answers; nothing more is answered after them."""
    lines, said = iter(answers), []

    def ask(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    settings = {"compiled": False, **arguments.pop("settings", {})}
    curve = play(env_id, ask=ask, say=said.append, settings=settings, columns=80, **arguments)
    return curve, "\n".join(said)


SINGLE = {"course": "single", "level": 2, "episodes": 3}


def test_the_four_curves_are_shown_with_their_areas():
    answers = ["wait"] * 4 + ["score", "score", "wait", "wait"] + ["score"] * 4
    curve, text = played(Taught, answers, settings=SINGLE)
    assert curve == pytest.approx([-1 / 3, 1 / 3, 1.0])
    chart = text[text.index("Your adaptation curve") : text.index("\nlevel")]
    assert "Y you,  R reference,  O oracle,  x random,  ─ bar" in chart
    assert marks(chart, "Y") == pytest.approx([-0.3, 0.3, 1.0])
    assert marks(chart, "R") == pytest.approx([-0.3, 1.0, 1.0])
    assert marks(chart, "O") == pytest.approx([1.0, 1.0, 1.0])
    assert len(marks(chart, "x")) == 3
    rows = re.findall(r"^(?:2 4 steps|area)? +(?:(\d) +)?((?:-?\d\.\d\d *)+)$", text, flags=re.MULTILINE)
    numbers = [[float(word) for word in row[1].split()] for row in rows]
    assert [row[0] for row in rows] == ["1", "2", "3", ""]
    you, random, reference, oracle = zip(*(row[:4] for row in numbers), strict=True)
    assert you == (-0.33, 0.33, 1.0, 0.33)
    assert reference == (-0.33, 1.0, 1.0, 0.56)
    assert oracle == (1.0, 1.0, 1.0, 1.0)
    assert random[3] == pytest.approx(np.mean(random[:3]), abs=0.01)
    assert [row[4] for row in numbers[:3]] == [0.0, -0.08, 0.02]  # a quarter of the way each time
    assert "your last episode was 1.33 above your first" in text
    assert "The reference learner needed 2 episodes to reach 0.9; you needed 3." in text
    assert "You beat the bar in 2 of 3 episodes." in text


def test_each_step_tells_where_the_episode_stands_against_the_bar():
    _, text = played(Counting, ["wait"] + ["score"] * 4, settings=SINGLE)
    assert "wait: reward 0 (so far -0.33, bar 0.00: 0.33 below)" in text
    assert "score: reward 1 (so far 0.33, bar 0.00: 0.33 above)" in text
    assert "normalised 0.67 (0 is random, 1 the oracle). You beat the bar of 0.00 by 0.67." in text
    assert "(so far 0.00, bar 0.17: 0.17 below)" in text
    _, text = played(Counting, ["wait", "score", "score", "wait"], settings={**SINGLE, "reward": "raw"})
    assert "wait: reward 0 (so far -0.33)" in text
    assert "bar" not in text


def test_leaving_early_shows_the_episodes_that_were_finished():
    for last in (["quit"], []):
        curve, text = played(Taught, ["score"] * 2 + ["wait"] * 2 + ["score", *last], settings={"episodes": 2})
        assert curve == pytest.approx([1.0, -1 / 3])
        assert "You left." in text
        assert "your last episode was 1.33 below your first" in text
        assert "The reference learner needed 2 episodes to reach 0.9; you needed 1." in text
        assert len(marks(text, "R")) == len(marks(text, "Y")) == 2


def test_leaving_before_an_episode_is_over_shows_no_curve():
    for answers in ([], ["q"], ["score", "exit"]):
        curve, text = played(Taught, answers)
        assert curve == []
        assert text.endswith("You left.")
        assert "adaptation" not in text


def test_families_without_a_reference_learner_or_an_oracle_are_played_alone():
    _, text = played(Unled, ["score"] * 12, settings=SINGLE)
    assert "Y you,  x random," in text
    assert "Unled has nobody to play the reference learner or the oracle under these settings." in text
    assert "You needed 1 episode to reach 0.9." in text
    _, text = played(Unfit, ["score"] * 12, settings=SINGLE)
    assert "Unfit has nobody to play the reference learner under these settings." in text
    assert marks(text, "O") == [1.0] * 3


@pytest.mark.parametrize("course", ["single", "switch"])
def test_the_others_live_the_very_lifetime_of_the_player(course):
    """Whoever acts as the oracle does gets what the oracle gets, also after the task was redrawn."""
    settings = {"course": course, "episodes": 4, "reference_returns": daytwo.calibration.ReferenceReturns.given(0, 3)}
    twin = LifetimeEnv(Steering, privileged=True, compiled=False, **settings)
    twin.reset(seed=11)
    answers, over = [], False
    while not over:
        action = twin.oracle_actions()[0]
        answers.append(" ".join(f"{number:g}" for number in action))
        _, _, over, _, _ = twin.step(action)
    curve, text = played(Steering, answers, seed=11, settings=settings)
    assert len(curve) == 4
    lived = episodes(*((value, 0.0) for value in curve))
    others = live_again(Steering, lived, seed=11, settings={**settings, "compiled": False})
    assert others["oracle"] == pytest.approx(curve, abs=1e-12)
    assert "reference" not in others
    assert abs(np.mean(others["random"])) < 0.2
    assert marks(text, "Y") == marks(text, "O")
    elsewhere = live_again(Steering, lived, seed=12, settings={**settings, "compiled": False})
    assert elsewhere["oracle"] != pytest.approx(curve, abs=1e-3)


def test_phases_and_levels_are_played_and_compared_to_the_end():
    answers = []
    for horizon in (2, 3, 4):
        for _ in range(3):
            answers += ["wait" if k % 2 == 0 else "score" for k in range(horizon)]
    curve, text = played(Phases, answers)
    assert len(curve) == 9
    assert len(marks(text, "Y")) == len(marks(text, "x")) == 9
    assert "level │0 2 steps" in text
    assert "Each level keeps a bar of its own." in text


def test_a_course_of_ones_own_is_played_as_it_is():
    course = Course([Stage(1, 1), Stage(0, 2)])
    curve, text = played(Taught, ["score"] * 7, settings={"course": course})
    assert curve == pytest.approx([1.0] * 3)
    assert re.search(r"level │1 3 steps│0 2 steps", text)


def test_where_mastery_ends_stages_at_different_times_the_same_episodes_are_compared():
    course = Course([Stage(2, 5), Stage(0, 2)], mastery=0.9)
    answers = ["wait"] * 20 + ["score"] * 4
    curve, text = played(Taught, answers, settings={"course": course})
    assert len(curve) == 7
    assert marks(text, "O") == [1.0] * 5  # three of the first stage, and the two of the second
    assert [row.split()[-2] for row in re.findall(r"^ +[45] .*$", text, flags=re.MULTILINE)] == ["-", "-"]


def test_playing_reads_actions_and_refuses_others():
    answers = ["?", "sideways", "arm 1", *["0"] * 19]
    curve, text = played("daytwo/Bandit-v0", answers, settings={"course": "single", "level": 0, "episodes": 1})
    assert len(curve) == 1
    assert "0 arm 0; 1 arm 1" in text
    assert "Expected one of" in text
    assert "Your adaptation curve" in text


def test_playing_hides_the_task():
    curve, text = played("daytwo/DarkRoom-v0", ["stay"], settings={"course": "single", "level": 1})
    assert curve == []
    assert text.endswith("You left.")
    assert "goal" not in text[text.rindex("DarkRoom, level 1") :]


def test_the_last_sight_is_shown_also_of_dict_observations():
    settings = {"course": "single", "level": 0, "episodes": 1, "observation": "dict", "show": ("final_observation",)}
    curve, text = played("daytwo/DarkRoom-v0", ["stay"] * 12, settings=settings)
    assert len(curve) == 1
    assert "The last you see of it" in text
    assert len(marks(text, "O")) == 1  # the others see what they need, whatever the player is shown


def test_the_command_plays_in_the_terminal_and_fits_its_width(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("stay\n" * 12))
    words = ("daytwo/DarkRoom-v0", "course=single", "level=0", "episodes=2", "compiled=False")
    status, out, _ = run(monkeypatch, capsys, "play", *words)  # in a terminal 200 columns wide
    assert status == 0
    assert "You left." in out
    shown = out[out.index("Your adaptation curve") : out.index("The others lived")]
    assert len(marks(shown, "O")) == 1
    assert max(map(len, shown.splitlines())) <= 100


# --- charts of numbers ---------------------------------------------------------------------------------------------

CURVES = st.lists(
    st.tuples(*[st.floats(-5, 5, allow_nan=False)] * 4, st.sampled_from([0, 0, 1])), min_size=1, max_size=40
)


@hypothesis.settings(max_examples=50)
@given(rows=CURVES, columns=st.integers(60, 120))
def test_marks_stand_at_their_values_and_lines_are_not_too_long(rows, columns):
    stage = place = 0
    lived = []
    for you, *_, begins in rows:
        stage, place = (stage + 1, 0) if begins and lived else (stage, place)
        lived.append(LivedEpisode(stage, place, stage, you, 0.0))
        place += 1
    names = [f"number {k}" for k in range(stage + 1)]
    curves = {name: [row[k] for row in rows] for k, name in enumerate(("you", "random", "reference", "oracle"))}
    chart = adaptation_chart(lived, curves, names, columns)
    assert max(map(len, chart.splitlines())) <= columns
    found: dict[str, list[float]] = {mark: [] for mark in "YxRO"}
    for page in chart.split("\n\n")[1:]:
        for mark in found:
            found[mark] += marks(page, mark)
    low, high = min(0, *np.ravel([*curves.values()])), max(1, *np.ravel([*curves.values()]))
    unit = 0.1 if min(high, 2) - max(low, -1) <= 1.5 else 0.2
    for mark, name in zip("YxRO", ("you", "random", "reference", "oracle"), strict=True):
        drawn = np.clip(curves[name], -1, 2)
        assert len(found[mark]) == len(rows)
        assert np.abs(np.array(found[mark]) - drawn).max() <= unit / 2 + 1e-9
    assert ("lie beyond" in chart) == bool(low < -1 or high > 2)
    table = adaptation_table(lived, curves, names, columns)
    assert max(map(len, table.splitlines())) <= columns
    assert len(table.splitlines()) == len(rows) + 2


def test_the_bar_is_drawn_across_its_episode_and_missing_values_are_left_out():
    lived = episodes((0.0, 0.4), (0.0, NAN))
    curves = {"you": [0.0, 0.2], "oracle": [1.0, NAN]}
    chart = adaptation_chart(lived, curves, ["one"], 60)
    assert [line.index("─") for line in chart.splitlines() if "0.4 ┤" in line] == [viewing._MARGIN]
    assert chart.count("─") == 9 + 1  # and in the legend
    assert marks(chart, "O") == [1.0]
    table = adaptation_table(lived, curves, ["one"], 60)
    assert [line.split()[-4:] for line in table.splitlines()[1:3]] == [
        ["1", "0.00", "1.00", "0.40"],
        ["2", "0.20", "-", "-"],
    ]
    assert table.splitlines()[3].split() == ["area", "0.10", "1.00"]


@pytest.mark.parametrize(
    ("you", "reference", "expected"),
    [
        ([0.1, 0.2, 0.72], [0.5, 0.9, 0.8], "0.62 above your first. The reference learner needed 2 episodes to reach "
         "0.9; you did not reach it."),
        ([0.1, 0.92], [0.95, 0.9], "0.82 above your first. The reference learner needed 1 episode to reach 0.9; you "
         "needed 2."),
        ([0.95, 0.1], [0.2, 0.3], "0.85 below your first. You needed 1 episode to reach 0.9; the reference learner did "
         "not reach it."),
        ([0.2, 0.6], [0.5, 0.7], "0.40 above your first. The reference learner needed 1 episode to reach 0.5; you "
         "needed 2."),
        ([0.2, 0.2], [0.1, 0.4], "as good as your first."),
        ([0.1, 0.8996], None, "0.80 above your first. You needed 2 episodes to reach 0.9."),  # it is printed as 0.90
        ([0.1, 0.4], None, "0.30 above your first."),
    ],
)  # fmt: skip
def test_sentences_are_true_to_the_numbers(you, reference, expected):
    curves = {"you": you} if reference is None else {"you": you, "reference": reference}
    lived = episodes(*((value, 0.15) for value in you), level=1)
    first, bars = adaptation_in_words(lived, curves, ["zero", "one"])
    assert first == f"Level 1 (one): your last episode was {expected}"
    assert bars == f"You beat the bar in {sum(value > 0.15 for value in you)} of {len(you)} episodes."


def test_stages_of_one_episode_are_not_compared_with_themselves_and_returns_to_a_level_are_named():
    lived = [LivedEpisode(stage, place, level, 0.5, NAN) for stage, place, level in [(0, 0, 1), (1, 0, 0), (2, 0, 1)]]
    assert adaptation_in_words(lived, {"you": [0.5] * 3}, ["a", "b"]) == []
    lived.append(LivedEpisode(2, 1, 1, 0.9, NAN))
    (sentence,) = adaptation_in_words(lived, {"you": [0.5, 0.5, 0.5, 0.9]}, ["a", "b"])
    assert sentence.startswith("Level 1 (b), again: your last episode was 0.40 above your first.")


def test_impossible_charts_are_refused():
    lived = episodes((0.5, 0.0))
    with pytest.raises(ValueError, match="columns must be an integer in 60"):
        adaptation_chart(lived, {"you": [0.5]}, ["one"], 59)
    with pytest.raises(ValueError, match="at least one episode"):
        adaptation_chart([], {"you": []}, ["one"], 80)
    with pytest.raises(ValueError, match="at least one episode"):
        live_again(Counting, [], seed=0)
    with pytest.raises(ValueError, match="lives must be an integer in 1"):
        live_again(Counting, lived, seed=0, lives=0)
    with pytest.raises(ValueError, match="columns"):
        play(Counting, columns=20, settings={"compiled": False})
