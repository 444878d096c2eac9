"""The canvas draws what it is asked to, and says what is missing."""

import sys

import numpy as np
import pytest

from daytwo.pictures import CATEGORIES, PALETTE, Canvas, blend, category, colour, text_picture

pytest.importorskip("PIL")


def test_a_canvas_becomes_an_image_of_its_size_and_background():
    picture = Canvas(40, 30, background="light").array()
    assert picture.shape == (30, 40, 3)
    assert picture.dtype == np.uint8
    assert (picture == PALETTE["light"]).all()


def test_shapes_fill_exactly_the_pixels_they_name():
    canvas = Canvas(40, 30)
    canvas.rectangle(10, 5, 20, 15, fill="goal")
    picture = canvas.array()
    inside = np.zeros((30, 40), dtype=bool)
    inside[5:15, 10:20] = True
    assert (picture[inside] == PALETTE["goal"]).all()
    assert (picture[~inside] == PALETTE["paper"]).all()


def test_circles_lines_arrows_and_paths_leave_their_colour_where_they_pass():
    canvas = Canvas(100, 100)
    canvas.circle(20, 20, 8, fill="agent", outline="ink")
    canvas.line(50, 10, 90, 10, colour="danger", width=3)
    canvas.arrow(10, 60, 60, 60, colour="key", width=3, head=12)
    canvas.path([(10, 80), (50, 80), (50, 95)], colour="door", width=3)
    canvas.polygon([(70, 50), (90, 50), (80, 70)], fill="sky")
    picture = canvas.array()
    expected = {
        (20, 20): "agent",
        (70, 10): "danger",
        (30, 60): "key",
        (30, 80): "door",
        (50, 88): "door",
        (80, 56): "sky",
    }
    for (x, y), name in expected.items():
        assert tuple(picture[y, x]) == PALETTE[name], (x, y)
    # The head is wider than the shaft.
    painted = (picture[:, :, 2] < 200) & (picture[:, :, 0] > 150)
    assert painted[45:75, 51].sum() > painted[45:75, 30].sum() + 4
    assert tuple(picture[60, 70]) == PALETTE["paper"]


def test_arrows_of_no_length_and_empty_rectangles_draw_nothing():
    canvas = Canvas(20, 20)
    canvas.arrow(5, 5, 5, 5)
    canvas.rectangle(5, 5, 5, 10, fill="ink")
    canvas.path([(1, 1)])
    assert (canvas.array() == 255).all()


def test_text_is_written_where_its_anchor_lies():
    canvas = Canvas(200, 60)
    canvas.text(100, 30, "middle", anchor="mm", size=20)
    rows, columns = np.nonzero(canvas.array().min(axis=2) < 128)
    assert abs((columns.min() + columns.max()) / 2 - 100) < 4
    assert abs((rows.min() + rows.max()) / 2 - 30) < 6
    assert canvas.text_width("middle", size=20) == pytest.approx(columns.max() - columns.min(), abs=5)


def test_the_array_is_a_copy_that_later_drawing_leaves_alone():
    canvas = Canvas(10, 10)
    before = canvas.array()
    canvas.rectangle(0, 0, 10, 10, fill="ink")
    before[0, 0] = 7
    assert (before[1:] == 255).all()
    assert (canvas.array() == PALETTE["ink"]).all()


def test_text_pictures_keep_columns_in_line_and_drop_terminal_codes():
    picture = text_picture("iii|\nWWW|\n   |")
    across, down = round(16 * 0.72), round(16 * 1.3)
    spans = []
    for row in range(3):
        cell = picture[16 + row * down : 16 + (row + 1) * down, 16 + 3 * across + 2 :]
        columns = np.nonzero(cell.min(axis=(0, 2)) < 200)[0]
        spans.append((columns.min(), columns.max()))
    assert spans[0] == spans[1] == spans[2]
    assert np.array_equal(text_picture("\x1b[1;31mred\x1b[0m"), text_picture("red"))


@pytest.mark.parametrize("text", ["", "\n\n", "one", "é┌─┐\n│@│\n└─┘", "日本語 ∞"])
def test_any_text_becomes_a_picture(text):
    picture = text_picture(text)
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8


def test_letters_without_a_glyph_are_written_by_their_nearest_ascii():
    assert np.array_equal(text_picture("é│→"), text_picture("e|>"))


def test_categories_stay_apart_in_colour_blind_eyes():
    """Vienot, Brettel & Mollon 1999: linear RGB as seen without red (protan) or green (deutan) cones."""
    protan = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    deutan = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    colours = np.array([PALETTE[name] for name in CATEGORIES]) / 255.0
    for seen_as in (np.eye(3), protan, deutan):
        seen = np.clip((colours**2.2) @ seen_as.T, 0, 1) ** (1 / 2.2) * 255.0
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert apart[~np.eye(len(seen), dtype=bool)].min() > 25.0


def test_colours_are_names_or_numbers_and_errors_name_the_choices():
    assert colour("agent") == PALETTE["blue"]
    assert colour((1, 2, 3)) == (1, 2, 3)
    assert blend("paper", "ink", 0.0) == PALETTE["paper"]
    assert blend((0, 0, 0), (200, 100, 50), 0.5) == (100, 50, 25)
    assert [category(k) for k in range(9)] == [*CATEGORIES, CATEGORIES[0]]
    with pytest.raises(ValueError, match="Unknown colour 'pink'"):
        colour("pink")
    with pytest.raises(ValueError, match="three numbers"):
        colour((1, 2, 300))
    with pytest.raises(ValueError, match="share"):
        blend("paper", "ink", 1.5)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="width"):
        Canvas(0, 10)
    with pytest.raises(ValueError, match="size"):
        text_picture("x", size=2)


def test_without_pillow_the_error_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install daytwo\[report\]"):
        text_picture("x")
