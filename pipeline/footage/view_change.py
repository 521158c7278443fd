"""Does a camera still look where its reference picture says? Judged minute by minute. Pure: numpy.

A *look* is the median of a minute's thumbnails: vehicles, headlights, rain and noise are gone from
it. Looks are compared with the reference picture's thumbnail by :mod:`picture_health`'s phase
correlation of edges, which light and exposure leave alone. A day's light does move edges (shadows,
lamps at night), so a look that follows one of the same view without a jump is a further face of it.

A camera has *moved* only where that is positively seen: the same scene found elsewhere, at one
place, minute after minute; or a quite other scene in light like the reference's. Night, fog and
dirt give no such sight: they leave us *unsure*, which changes nothing.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.exposure import seconds
from pipeline.footage.picture_health import MOVED_SHARE, SAME_VIEW_PEAK, STILL_HERE, likeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Span

MINUTE_S = 60.0
_BESIDE = 24  # looks that a minute and a half may hold on either side: of 5 s and more
FEWEST = 5  # thumbnails in a look: of fewer the median does not take a vehicle out
FOUND_PEAK = 0.18  # the scene, shifted: above what another scene reaches
MINUTES_MOVED, MINUTES_ELSEWHERE = 3, 10  # so many looks in a row, which last as long in all
FACES = 8
JUMP_S = 300.0  # a look later than this is no continuation
DULL = 2.0  # mean edge strength below which nothing can be told

# Blurred: fine detail against coarse, far below the reference's, in light like the reference's.
BLURRED_SHARE = 0.4
# Obstructed: so much of what had texture has none, and something is still where it was.
COVERED_SHARE, HELD_SHARE = 0.4, 0.2
LIKE_LIGHT = (0.6, 1.6)  # brightness ÷ the reference's
_CELL_PX = 8
_TEXTURED = 6.0  # standard deviation within a cell, in grey levels

Doubt = Literal["blurred", "obstructed"]


@dataclass(frozen=True, eq=False)
class Look:
    """What a camera saw in a stretch (seconds), ``uint8[h, w]``, and how fine its detail was."""

    start_s: float
    end_s: float
    grey: NDArray[np.uint8]
    fineness: float


class Minutes:
    """Thumbnails in, one look a minute out. Memory does not grow."""

    def __init__(self) -> None:
        self._start, self._greys, self._fine = 0.0, list[Any](), list[float]()

    def see(self, at_s: float, thumbnail: NDArray[np.uint8], fine: float) -> Iterator[Look]:
        """Take the next thumbnail; yield the look of the minute that ends with it."""
        if self._greys and at_s - self._start >= MINUTE_S:
            yield from self.end(at_s)
        if not self._greys:
            self._start = at_s
        self._greys.append(thumbnail)
        self._fine.append(fine)

    def end(self, end_s: float) -> Iterator[Look]:
        """Yield the look of what is left, where it is enough for one."""
        if len(self._greys) >= FEWEST:
            grey = np.median(np.stack(self._greys), axis=0).astype(np.uint8)
            yield Look(self._start, end_s, grey, float(np.median(self._fine)))
        self._greys, self._fine = [], []


def fineness(grey: NDArray[np.uint8]) -> float:
    """Return the strength of the finest detail against that of coarse edges, ``uint8[h, w]``.

    Sensor noise raises it, a lens out of focus or wet lowers it, contrast leaves it alone.
    """
    rows = grey[::8].astype(np.int16)
    if rows.shape[1] <= 16:
        return 0.0
    fine = np.abs(2 * rows[:, 1:-1] - rows[:, :-2] - rows[:, 2:]).mean()
    coarse = np.abs(rows[:, 16:] - rows[:, :-16]).mean()
    return float(fine / (coarse + 1.0))


@dataclass(frozen=True)
class Verdict:
    """What came of a day's looks.

    ``changed_s`` when the view was last known to be the reference's before it changed (None: it did
    not change; -inf: it never was), ``shift`` by which share of width and height (None: elsewhere),
    ``same_s`` when it was last known to be the reference's; ``doubts``: stretches and why.
    """

    changed_s: float | None
    shift: tuple[float, float] | None
    same_s: float | None
    doubts: tuple[tuple[Span, Doubt], ...]


def judged(reference: NDArray[np.uint8], fine: float, looks: Iterable[Look]) -> Verdict:
    """Judge looks, in order of time, against the reference thumbnail and its fineness."""
    watch = _Watch(reference, fine)
    for look in looks:
        watch.see(look)
    return Verdict(watch.changed_s, watch.shift, watch.same_s, tuple(watch.doubts()))


class _Watch:
    def __init__(self, reference: NDArray[np.uint8], fine: float) -> None:
        self._reference, self._fine, self._faces = reference, fine, [reference]
        down, across = (max(round(MOVED_SHARE * size), 1) for size in reference.shape)
        self._reach = across, down
        self._before: Look | None = None
        self._moves: list[tuple[tuple[int, int], float]] = []  # and when each began
        self._elsewhere: list[float] = []
        self._doubted: list[tuple[Span, Doubt]] = []
        self.changed_s: float | None = None
        self.shift: tuple[float, float] | None = None
        self.same_s: float | None = None

    def see(self, look: Look) -> None:
        if self.changed_s is not None:
            return  # only a person can say that it is right again
        grey = fitted(look.grey, self._reference.shape)
        look = Look(look.start_s, look.end_s, grey, look.fineness)
        said = self._compared(look)
        if said == "same":
            self._moves, self._elsewhere, self.same_s = [], [], look.end_s
            self._before = look
            self._doubted += [((look.start_s, look.end_s), d) for d in self._doubts_of(look)]
        elif said == "elsewhere":
            self._elsewhere.append(look.start_s)
        elif said != "unsure":
            self._moves = [*(m for m in self._moves if _near(m[0], said)), (said, look.start_s)]
        if _last(MINUTES_MOVED, [start for _, start in self._moves], look.end_s):
            height, width = self._reference.shape
            right, down = self._moves[-1][0]
            self._changed((right / width, down / height))
        elif _last(MINUTES_ELSEWHERE, self._elsewhere, look.end_s):
            self._changed(None)

    def _changed(self, shift: tuple[float, float] | None) -> None:
        self.changed_s = -np.inf if self.same_s is None else self.same_s
        self.shift = shift

    def _compared(self, look: Look) -> tuple[int, int] | Literal["same", "elsewhere", "unsure"]:
        if strength(look.grey) < DULL:
            return "unsure"
        found: tuple[float, tuple[int, int]] = (0.0, (0, 0))
        for number, face in enumerate(self._faces):
            here, peak, shift = self._found(face, look.grey)
            if here >= SAME_VIEW_PEAK and here >= STILL_HERE * peak:
                self._faces.insert(0, self._faces.pop(number))  # most likely next time, too
                return "same"
            if here < STILL_HERE * peak and peak > found[0]:
                found = peak, shift
        follows = self._follows(look)
        far = any(abs(by) > reach + 2 for by, reach in zip(found[1], self._reach, strict=True))
        if found[0] >= FOUND_PEAK and not (follows and far):
            return found[1]
        if follows:
            self._faces = [look.grey, *self._faces][:FACES]
            return "same"
        return "elsewhere" if self._is_like_day(look) else "unsure"

    def _found(
        self, face: NDArray[np.uint8], grey: NDArray[np.uint8]
    ) -> tuple[float, float, tuple[int, int]]:
        """Return how well a face is found unmoved, and at best, and how far off that is."""
        surface = likeness(face, grey)
        row, column = (size // 2 for size in surface.shape)
        across, below = self._reach
        here = surface[row - below : row + below + 1, column - across : column + across + 1].max()
        down, right = np.unravel_index(int(surface.argmax()), surface.shape)
        return float(here), float(surface.max()), (int(right) - column, int(down) - row)

    def _follows(self, look: Look) -> bool:
        """Tell whether it continues, without a jump, a look that was the same view."""
        if self._before is None or look.start_s - self._before.end_s > JUMP_S:
            return False
        here, peak, _ = self._found(self._before.grey, look.grey)
        return here >= SAME_VIEW_PEAK and here >= STILL_HERE * peak

    def _is_like_day(self, look: Look) -> bool:
        light = float(look.grey.mean()) / max(float(self._reference.mean()), 1.0)
        clear = strength(look.grey) >= 0.7 * strength(self._reference)
        return clear and LIKE_LIGHT[0] <= light <= LIKE_LIGHT[1]

    def _doubts_of(self, look: Look) -> Iterator[Doubt]:
        light = float(look.grey.mean()) / max(float(self._reference.mean()), 1.0)
        if LIKE_LIGHT[0] <= light <= LIKE_LIGHT[1] and look.fineness < BLURRED_SHARE * self._fine:
            yield "blurred"
        if is_covered(self._reference, look.grey):
            yield "obstructed"

    def doubts(self) -> Iterator[tuple[Span, Doubt]]:
        """Yield what lasted two looks or more, a minute in all: one may be a lorry at the lens.

        Short clips have short looks, so it is the seconds that count.
        """
        for number, (span, doubt) in enumerate(self._doubted):
            beside = self._doubted[max(number - _BESIDE, 0) : number + _BESIDE + 1]
            alike = [s for s, d in beside if d == doubt and abs(s[0] - span[0]) < 1.5 * MINUTE_S]
            if len(alike) > 1 and seconds(alike) >= MINUTE_S:
                yield span, doubt


def is_covered(reference: NDArray[np.uint8], grey: NDArray[np.uint8]) -> bool:
    """Tell whether a large part of the view is hidden while the rest is as it was, in like light.

    In cells of 8 x 8 pixels: what had texture and has none is hidden; what has it still, in the
    same pattern, is held. At night the held part is darker, and nothing is said.
    """
    before, now = _cells(reference), _cells(grey)
    textured = before.std(axis=1) >= _TEXTURED
    if textured.sum() < 10:
        return False
    before, now = before[textured], now[textured]
    hidden = now.std(axis=1) < 0.25 * before.std(axis=1)
    b, n = before - before.mean(axis=1, keepdims=True), now - now.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(b, axis=1) * np.linalg.norm(n, axis=1)
    held = (b * n).sum(axis=1) > 0.7 * np.maximum(norms, 1.0)
    if hidden.mean() < COVERED_SHARE or held.mean() < HELD_SHARE:
        return False
    light = float(now[held].mean() / max(before[held].mean(), 1.0))
    return LIKE_LIGHT[0] <= light <= LIKE_LIGHT[1]


def strength(grey: NDArray[np.uint8]) -> float:
    """Return the mean step between neighbouring pixels, in grey levels."""
    wide = grey.astype(np.int16)
    return float(np.abs(np.diff(wide, axis=0)).mean() + np.abs(np.diff(wide, axis=1)).mean()) / 2


def fitted(grey: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pick pixels so that a picture of another size compares with one of ``shape``."""
    if grey.shape == shape:
        return grey
    down, across = (np.arange(n) * size // n for n, size in zip(shape, grey.shape, strict=True))
    return np.asarray(grey[np.ix_(down, across)], np.uint8)


def to_json(look: Look) -> list[Any]:
    """Return a look as JSON can hold it."""
    told = base64.b64encode(zlib.compress(look.grey.tobytes(), 6)).decode()
    return [look.start_s, look.end_s, list(look.grey.shape), told, round(look.fineness, 5)]


def look_of(told: list[Any]) -> Look:
    """Read back what :func:`to_json` gave."""
    start_s, end_s, shape, text, fine = told
    grey = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
    return Look(start_s, end_s, grey, fine)


def _cells(grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Cut into cells, ``float64[n, 64]``; what is left over at the edges counts for nothing."""
    rows, columns = grey.shape[0] // _CELL_PX, grey.shape[1] // _CELL_PX
    part = grey[: rows * _CELL_PX, : columns * _CELL_PX].astype(np.float64)
    cells = part.reshape(rows, _CELL_PX, columns, _CELL_PX).swapaxes(1, 2)
    return np.asarray(cells.reshape(-1, _CELL_PX * _CELL_PX))


def _last(minutes: int, starts: list[float], end_s: float) -> bool:
    """Tell whether there are so many looks, over so many minutes: short clips have short looks."""
    return len(starts) >= minutes and end_s - starts[0] >= 0.95 * minutes * MINUTE_S


def _near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] - other[0]) <= 2 and abs(one[1] - other[1]) <= 2
