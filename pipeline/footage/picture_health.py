"""Pictures that decode and yet show nothing: frozen, black, overexposed; and a view that moved.

A camera that lies is the commonest source of a wrong count, so stretches without a trustworthy
view are no exposure. Pure: numpy only. Judged on *thumbnails*, ``uint8[h, w]`` grey made by taking
every n-th pixel (never averaging: sensor noise must survive), every half a second or so. That a
picture is frozen keyframes say best: between them an encoder repeats a still scene exactly, frozen
or not. Where two of them say so, the pictures around them tell when it began and ended.

Thresholds are grey levels of 0-255. On seven real clips two keyframes' thumbnails differ by 1.7 on
average or more, with nothing moving; a repeated picture encoded anew differs by 0.02 or less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.domain import Span

    Thumbnail = tuple[float, NDArray[np.uint8]]

Fault = Literal["frozen", "black", "overexposed"]

FROZEN_MEAN = 0.1
FROZEN_MOST = 2  # of the 99th percentile
FROZEN_S = 10.0
FROZEN_WHOLE_S, FROZEN_KEYS = 5.0, 3  # of a clip that shows little else, in so many keyframes
LIT_S = 60.0  # what passes with its lights on through a black picture
REFINED = (0.5, 6)  # a frozen picture's copies get so much sharper, one after the other
RECODED = (4.0, 16)  # and differ so much from its next keyframe, which is encoded on its own
BLACK_BRIGHTEST = 40  # of the 99th percentile: a few lamps do not show the road
OVEREXPOSED_DARKEST = 235  # of the 10th percentile
MOVED_SHARE = 0.03  # of the picture's width
SAME_VIEW_PEAK = 0.15  # the same view peaks at 0.25 or more, another at 0.05-0.15
STILL_HERE = 0.5  # of the peak, found without a shift: moved cars and exposure, not the camera


@dataclass(frozen=True)
class Flag:
    """A stretch of a clip, in seconds, whose pictures cannot be trusted, and why."""

    span: Span
    fault: Fault


def flags(
    thumbnails: Iterable[tuple[float, NDArray[np.uint8]]], end_s: float | None = None
) -> Iterator[Flag]:
    """Find stretches without a view in ``(offset_s, thumbnail)`` pairs, in order of time.

    A fault holds from the first thumbnail that has it to the first that has not (or ``end_s``, or
    the last thumbnail). Memory does not grow. ``frozen`` must last ``FROZEN_S`` to count, or the
    rest of a clip that shows little else, ``FROZEN_WHOLE_S`` or more.

    >>> black = np.zeros((9, 16), np.uint8)
    >>> [f.fault for f in flags([(0.0, black), (1.0, black)], end_s=2.0)]
    ['black']
    """
    watch = Watch()
    for offset_s, thumbnail in thumbnails:
        yield from watch.see(offset_s, thumbnail)
    yield from watch.end(end_s)


class Watch:
    """:func:`flags` for someone who has one thumbnail at a time."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._open: dict[Fault, float] = {}
        self._first: float | None = None
        self._keys = 0  # how many may have spoken of a frozen picture, the last of them:
        self._key: Thumbnail | None = None
        self._until: list[Thumbnail] = []  # those between the one before it and it
        self._since: list[Thumbnail] = []  # those after it

    def see(
        self, offset_s: float, thumbnail: NDArray[np.uint8], *, key: bool = True
    ) -> Iterator[Flag]:
        """Take the next thumbnail; yield the faults that end with it.

        Without ``key`` it is one between keyframes, and no proof of a frozen picture.
        """
        now = set(faults(thumbnail))
        if self._first is None:
            self._first = offset_s
        for fault in [fault for fault in self._open if fault not in now | {"frozen"}]:
            yield from self._closed(fault, offset_s)
        for fault in now:
            self._open.setdefault(fault, offset_s)
        if not key:
            self._since.append((offset_s, thumbnail))
            return
        if self._key is not None:
            same = is_same(self._key[1], thumbnail) and not now
            if same and "frozen" not in self._open:
                self._open["frozen"] = self._still_since(self._key)
            elif not same and "frozen" in self._open:
                yield from self._closed("frozen", self._moving_again(offset_s))
        self._key, self._until, self._since = (offset_s, thumbnail), self._since, []
        self._keys += 1

    def end(self, end_s: float | None = None) -> Iterator[Flag]:
        """Yield the faults that last to the end."""
        seen = [*([self._key] if self._key else []), *self._since]
        last = end_s if end_s is not None else (seen[-1][0] if seen else 0.0)
        for fault in list(self._open):
            # At first an encoder still finds its rate: keyframes of one picture differ.
            most = last - self._open[fault] >= 0.75 * (last - (self._first or 0.0))
            whole = most and self._keys >= FROZEN_KEYS
            until = self._moving_again(last) if fault == "frozen" else last
            yield from self._closed(fault, until, FROZEN_WHOLE_S if whole else FROZEN_S)

    def state(self) -> dict[str, Any]:
        """Return what it remembers, as JSON can hold it."""
        thumbnails = [*self._until, *([self._key] if self._key else []), *self._since]
        return {
            "open": dict(self._open),
            "first": self._first,
            "keys": self._keys,
            "key": self._key and self._key[0],
            "thumbnails": [(at, thumbnail.tolist()) for at, thumbnail in thumbnails],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Remember what another one did."""
        self._open, key = dict(state["open"]), state["key"]
        self._first, self._keys = state["first"], state["keys"]
        kept = [(at, np.array(told, np.uint8)) for at, told in state["thumbnails"]]
        self._until = [one for one in kept if key is not None and one[0] < key]
        self._key = next((one for one in kept if one[0] == key), None)
        self._since = [one for one in kept if key is not None and one[0] > key]

    def _still_since(self, key: Thumbnail) -> float:
        """Return since when what is frozen at ``key`` was shown."""
        if not self._until or not is_same(self._until[-1][1], key[1], *RECODED):
            return key[0]
        return _still(self._until[::-1])

    def _moving_again(self, at_latest_s: float) -> float:
        """Return when what froze first showed something else."""
        still_s = _still([*([self._key] if self._key else []), *self._since])
        return next((at for at, _ in self._since if at > still_s), at_latest_s)

    def _closed(self, fault: Fault, end_s: float, frozen_s: float = FROZEN_S) -> Iterator[Flag]:
        start = self._open.pop(fault)
        if end_s - start >= (frozen_s if fault == "frozen" else 0.0):
            yield Flag((start, end_s), fault)


def bridged(flags: Iterable[Flag]) -> list[Flag]:
    """Return flags, and those of what passes with its lights on through a black picture.

    Were it seen, and the dark around it not, then exposure would be chosen by the traffic itself.
    A lit spell counts as one of the black where it is no longer than ``LIT_S`` and than the longer
    of the black stretches beside it.

    >>> spans = [(0.0, 20.0), (23.0, 60.0)]
    >>> [flag.span for flag in bridged(Flag(span, "black") for span in spans)]
    [(0.0, 20.0), (23.0, 60.0), (20.0, 23.0)]
    """
    found = list(flags)
    black = sorted(flag.span for flag in found if flag.fault == "black")
    again = True
    while again:  # one bridge makes a longer stretch, beside which another spell is short
        again = False
        for i, ((start, dark), (lit, end)) in enumerate(pairwise(black)):
            if lit - dark <= min(LIT_S, max(dark - start, end - lit)):
                found += [Flag((dark, lit), "black")] if lit > dark else []
                black[i : i + 2] = [(start, end)]
                again = True
                break
    return found


def _still(thumbnails: list[Thumbnail]) -> float:
    """Return how far pictures stay what the first one shows, from one to the next: an offset."""
    for (at, here), (_, there) in pairwise(thumbnails):
        if not is_same(here, there, *REFINED):
            return at
    return thumbnails[-1][0]


def faults(thumbnail: NDArray[np.uint8]) -> Iterator[Fault]:
    """Yield what is wrong with one picture by itself."""
    dark, bright = np.percentile(thumbnail, (10, 99))
    if bright < BLACK_BRIGHTEST:
        yield "black"
    if dark >= OVEREXPOSED_DARKEST:
        yield "overexposed"


def is_same(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    mean: float = FROZEN_MEAN,
    most: float = FROZEN_MOST,
) -> bool:
    """Tell whether two thumbnails show one and the same picture: not even the noise differs."""
    if before.shape != after.shape:
        return False
    apart = np.abs(before.astype(np.int16) - after)
    return bool(apart.mean() <= mean and np.percentile(apart, 99) <= most)


def thumbnail_of(grey: NDArray[np.uint8], width: int = 128, height: int = 72) -> NDArray[np.uint8]:
    """Take about ``width`` x ``height`` evenly spaced pixels of ``uint8[h, w]``."""
    down, across = max(grey.shape[0] // height, 1), max(grey.shape[1] // width, 1)
    return grey[down // 2 :: down, across // 2 :: across].copy()


def shift_between(
    reference: NDArray[np.uint8], thumbnail: NDArray[np.uint8]
) -> tuple[int, int, float]:
    """Return how far a view moved, ``(right, down)`` in thumbnail pixels, and how sure that is.

    The sureness is near 1 for the same scene and below 0.15 for another; see :func:`has_moved`.
    """
    surface = likeness(reference, thumbnail)
    down, right = np.unravel_index(int(surface.argmax()), surface.shape)
    height, width = reference.shape
    return int(right) - width // 2, int(down) - height // 2, float(surface.max())


def has_moved(reference: NDArray[np.uint8], thumbnail: NDArray[np.uint8]) -> bool:
    """Tell whether the camera looks elsewhere than in its reference picture.

    Either the scene is found clearly better somewhere further off than ``MOVED_SHARE`` of the
    width, or nowhere (turned away, or covered). Lighting changes leave edges where they are. One
    picture may err, with a lorry in front of the lens: ask for several in a row.
    """
    if reference.shape != thumbnail.shape:
        return True
    surface = likeness(reference, thumbnail)
    reach = max(round(MOVED_SHARE * reference.shape[1]), 1)
    down, right = (size // 2 for size in surface.shape)
    here = surface[down - reach : down + reach + 1, right - reach : right + reach + 1].max()
    return bool(surface.max() < SAME_VIEW_PEAK or here < surface.max() * STILL_HERE)


def likeness(reference: NDArray[np.uint8], thumbnail: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Phase correlation of edges (Kuglin & Hines 1975), no shift being in the middle.

    It is the inverse transform of the normalised cross-power spectrum: a single peak at the shift.
    """
    ours, theirs = (np.fft.rfft2(_edges(picture)) for picture in (reference, thumbnail))
    cross = theirs * np.conj(ours)
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=reference.shape)
    centred: NDArray[np.float64] = np.fft.fftshift(surface)
    return centred


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return gradient magnitude, faded out towards the border so that it does not count."""
    grey = np.sqrt(picture.astype(np.float64))  # shadows and highlights alike
    down, across = np.gradient(grey)
    window = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1]))
    edges: NDArray[np.float64] = np.hypot(down, across) * window
    return edges
