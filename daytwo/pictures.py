"""Pictures for people: a small canvas and one palette, so that every family's rendering looks of a piece.

Pillow does the drawing and is imported on first use, so that environments work without it.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe & Ito's palette, told apart under every common form of colour blindness, with neutrals for rooms and text.
PALETTE: dict[str, tuple[int, int, int]] = {
    "paper": (255, 255, 255),
    "light": (238, 240, 243),
    "grey": (176, 182, 190),
    "dark": (92, 98, 108),
    "ink": (32, 34, 40),
    "blue": (0, 114, 178),
    "orange": (230, 159, 0),
    "green": (0, 158, 115),
    "purple": (204, 121, 167),
    "red": (213, 94, 0),
    "sky": (86, 180, 233),
    "yellow": (240, 228, 66),
}
# What a thing is called in a rendering, whatever the family: the agent is blue everywhere.
PALETTE.update(
    agent=PALETTE["blue"],
    goal=PALETTE["green"],
    key=PALETTE["orange"],
    door=PALETTE["purple"],
    danger=PALETTE["red"],
    wall=PALETTE["dark"],
    floor=PALETTE["light"],
)
CATEGORIES = ("blue", "orange", "green", "purple", "red", "sky", "yellow", "dark")

Colour = str | tuple[int, int, int]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Glyphs that Pillow's own font lacks, by their nearest ASCII.
_ASCII = str.maketrans(
    "─━│┃┌┐└┘├┤┬┴┼═║╔╗╚╝╠╣╦╩╬█▓▒░■□●○·•…–—“”‘’←→↑↓▲▼◀▶×−",
    "--||+++++++++=|+++++++++###:##Oo...--\"\"''<>^v^v<>x-",
)


def _pillow() -> Any:
    """Pillow's modules, or an error that says how to get them.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError(
            'Pictures need Pillow, which is not installed: run `pip install daytwo[report]`, or use render_mode="ansi".'
        ) from error
    return Image, ImageDraw, ImageFont


def _printable(text: str) -> str:
    """Text in the letters that Pillow's own font has: ASCII, accents dropped, anything else a question mark."""
    text = unicodedata.normalize("NFKD", text.translate(_ASCII))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return text.encode("ascii", "replace").decode("ascii")


def colour(value: Colour) -> tuple[int, int, int]:
    """A colour as red, green and blue in 0..255.

    Args:
        value: a name in `PALETTE`, or three numbers in 0..255.

    Raises:
        ValueError: unknown name, or not three numbers in 0..255.
    """
    if isinstance(value, str):
        if value not in PALETTE:
            raise ValueError(f"Unknown colour {value!r}: expected one of {', '.join(PALETTE)}, or (red, green, blue).")
        return PALETTE[value]
    numbers = tuple(int(number) for number in value)
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise ValueError(f"A colour is three numbers in 0..255, received {value!r}.")
    return numbers[0], numbers[1], numbers[2]


def category(k: int) -> str:
    """The palette's name for the ``k``-th of several kinds of things; after eight the colours come round again."""
    return CATEGORIES[k % len(CATEGORIES)]


def blend(first: Colour, second: Colour, share: float) -> tuple[int, int, int]:
    """A colour between two: ``share`` 0 is the first, 1 the second.

    Raises:
        ValueError: ``share`` is outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie in [0, 1], received {share!r}.")
    pairs = zip(colour(first), colour(second), strict=True)
    red, green, blue = (round((1.0 - share) * a + share * b) for a, b in pairs)
    return red, green, blue


class Canvas:
    """A picture to draw on, in pixels from the top left corner.

    Everything is drawn at twice the size and reduced at the end, which smooths edges. Colours are names in
    `PALETTE` or (red, green, blue).
    """

    _SCALE = 2

    def __init__(self, width: int, height: int, background: Colour = "paper") -> None:
        """Begin an empty picture.

        Args:
            width: pixels, 1 to 10000.
            height: pixels, 1 to 10000.
            background: its colour.

        Raises:
            ImportError: Pillow is not installed.
            ValueError: a size out of range or an unknown colour.
        """
        for name, value in (("width", width), ("height", height)):
            if not 1 <= value <= 10_000:
                raise ValueError(f"{name} must lie in 1..10000 pixels, received {value!r}.")
        self._image_module, draw_module, self._font_module = _pillow()
        self.width, self.height = int(width), int(height)
        size = (self.width * self._SCALE, self.height * self._SCALE)
        self._image = self._image_module.new("RGB", size, colour(background))
        self._draw = draw_module.Draw(self._image)
        self._fonts: dict[int, Any] = {}

    def _points(self, *values: float) -> list[float]:
        return [value * self._SCALE for value in values]

    def _pen(self, width: float) -> int:
        return max(1, round(width * self._SCALE))

    def _font(self, size: int) -> Any:
        if size not in self._fonts:
            self._fonts[size] = self._font_module.load_default(size * self._SCALE)
        return self._fonts[size]

    @staticmethod
    def _optional(value: Colour | None) -> tuple[int, int, int] | None:
        return None if value is None else colour(value)

    def rectangle(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
        radius: float = 0,
    ) -> None:
        """Draw a rectangle, with corners rounded by ``radius``; one thinner than half a pixel is left out."""
        x0, y0, x1, y1 = self._points(left, top, right, bottom)
        if x1 - 1 < x0 or y1 - 1 < y0:
            return
        self._draw.rounded_rectangle(
            (x0, y0, x1 - 1, y1 - 1),
            radius=radius * self._SCALE,
            fill=self._optional(fill),
            outline=self._optional(outline),
            width=self._pen(width),
        )

    def hatch(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        *,
        colour: Colour = "ink",
        width: float = 1,
        spacing: float = 5,
    ) -> None:
        """Draw lines that rise to the right across a rectangle, ``spacing`` pixels apart along its sides."""
        across, down = right - left, bottom - top
        if across <= 0 or down <= 0:
            return
        for offset in np.arange(spacing / 2, across + down, spacing):
            # From where the line enters, on the left or at the bottom, to where it leaves, at the top or on the right.
            start = (left, top + offset) if offset <= down else (left + offset - down, bottom)
            stop = (left + offset, top) if offset <= across else (right, top + offset - across)
            self.line(*start, *stop, colour=colour, width=width)

    def line(self, x0: float, y0: float, x1: float, y1: float, *, colour: Colour = "ink", width: float = 1) -> None:
        """Draw a straight line."""
        self._draw.line(self._points(x0, y0, x1, y1), fill=_colour(colour), width=self._pen(width))

    def path(self, points: Sequence[tuple[float, float]], *, colour: Colour = "ink", width: float = 1) -> None:
        """Draw a line through points (at least two, or nothing is drawn)."""
        if len(points) < 2:
            return
        flat = [(x * self._SCALE, y * self._SCALE) for x, y in points]
        self._draw.line(flat, fill=_colour(colour), width=self._pen(width), joint="curve")

    def polygon(
        self,
        points: Sequence[tuple[float, float]],
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
    ) -> None:
        """Draw a closed shape through at least three points."""
        flat = [(x * self._SCALE, y * self._SCALE) for x, y in points]
        self._draw.polygon(flat, fill=self._optional(fill), outline=self._optional(outline), width=self._pen(width))

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        *,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
    ) -> None:
        """Draw a circle around (x, y)."""
        box = self._points(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(box, fill=self._optional(fill), outline=self._optional(outline), width=self._pen(width))

    def arrow(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        *,
        colour: Colour = "ink",
        width: float = 2,
        head: float = 8,
    ) -> None:
        """Draw an arrow from (x0, y0) to its tip at (x1, y1); ``head`` is the length of its head in pixels."""
        length = float(np.hypot(x1 - x0, y1 - y0))
        if length == 0.0:
            return
        head = min(head, length)
        along = ((x1 - x0) / length, (y1 - y0) / length)
        neck = (x1 - along[0] * head, y1 - along[1] * head)
        half = head * 0.6
        self.line(x0, y0, *neck, colour=colour, width=width)
        self.polygon(
            [
                (x1, y1),
                (neck[0] - along[1] * half, neck[1] + along[0] * half),
                (neck[0] + along[1] * half, neck[1] - along[0] * half),
            ],
            fill=colour,
        )

    def text(
        self, x: float, y: float, text: str, *, colour: Colour = "ink", size: int = 14, anchor: str = "la"
    ) -> None:
        """Write text.

        Args:
            x: where the anchor lies, in pixels.
            y: likewise.
            text: one or several lines.
            colour: its colour.
            size: height of the letters in pixels.
            anchor: Pillow's two letters: l, m or r (left, middle, right), then a (top), m (middle), s (baseline) or
                d (bottom). Several lines need a or s (use ``ma`` to centre them).
        """
        place = (x * self._SCALE, y * self._SCALE)
        self._draw.text(place, _printable(text), fill=_colour(colour), font=self._font(size), anchor=anchor)

    def text_width(self, text: str, *, size: int = 14) -> float:
        """How wide one line of text is, in pixels."""
        return float(self._font(size).getlength(_printable(text))) / self._SCALE

    def array(self) -> np.ndarray:
        """The picture, ``uint8[height, width, 3]``."""
        reduced = self._image.resize((self.width, self.height), self._image_module.Resampling.BOX)
        return np.asarray(reduced, dtype=np.uint8).copy()


_colour = colour  # inside methods with an argument called colour


def text_picture(text: str, *, size: int = 16) -> np.ndarray:
    """Text as a picture, each character in a cell of its own so that columns line up.

    Args:
        text: any number of lines; terminal colour codes are left out, box-drawing characters become ASCII.
        size: height of the letters in pixels, 6 to 100.

    Returns:
        ``uint8[height, width, 3]``, dark on white; at least one character wide and high.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: ``size`` is out of range.
    """
    if not 6 <= size <= 100:
        raise ValueError(f"size must lie in 6..100 pixels, received {size!r}.")
    lines = _ESCAPES.sub("", text).expandtabs(4).splitlines() or [""]
    columns = max(1, *(len(line) for line in lines))
    margin, across, down = size, round(size * 0.72), round(size * 1.3)
    canvas = Canvas(2 * margin + columns * across, 2 * margin + len(lines) * down)
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            if not character.isspace():
                x, y = margin + (column + 0.5) * across, margin + row * down
                canvas.text(x, y, character, size=size, anchor="ma")
    return canvas.array()
