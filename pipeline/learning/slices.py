"""Parts of the labelled pictures on which a model may do worse: by camera, hour, light, weather.

Weather is not known, but seen: fog and rain take contrast from a picture, night its brightness. A
slice is a name and the rows in it; :func:`worst` ranks slices by how surely they do worse.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline import cameras, metrics
from pipeline.localtime import zone_info

if TYPE_CHECKING:
    from pipeline.learning.dataset import Labelled
    from pipeline.store import Workspace

Rows = NDArray[np.bool_]

FEWEST = 12  # rows below which a slice says nothing
THIRDS = {"brightness": ("dark", "middle", "bright"), "contrast": ("flat", "middle", "strong")}


@dataclass(frozen=True)
class Slice:
    """Rows that have something in common: how many, and the share judged wrongly."""

    name: str
    n: int
    wrong: int
    error: metrics.Estimate


def named(
    labelled: Labelled, rows: NDArray[np.int64], timezones: Mapping[str, str] | None = None
) -> dict[str, Rows]:
    """Return slices of ``rows``: camera, zone, local hour, thirds of brightness and contrast.

    Hours are told where ``timezones`` (by camera) is given and pictures have an instant.
    """
    crop = labelled.pixels[rows, :3].astype(np.float32)
    found = _thirds("brightness", crop.mean(axis=(1, 2, 3)))
    found |= _thirds("contrast", crop.mean(axis=1).std(axis=(1, 2)))
    cameras, zones = np.array(labelled.cameras)[rows], np.array(labelled.zones)[rows]
    found |= {f"camera {c}": cameras == c for c in np.unique(cameras) if c}
    places = np.array([f"{c} {z}" for c, z in zip(cameras, zones, strict=True)])
    several = len(np.unique(places)) > len(np.unique(cameras))
    found |= {f"zone {p}": places == p for p in np.unique(places) if several and p.strip()}
    hours = _hours(labelled, rows, timezones or {})
    found |= {f"hour {h}": hours == h for h in np.unique(hours) if h}
    return {name: at for name, at in found.items() if at.any()}


def timezones(ws: Workspace) -> dict[str, str]:
    """Return the time zone of each camera of a workspace; none where it has no registry."""
    if not ws.cameras_toml.is_file():
        return {}
    return {c.id: c.timezone for c in cameras.load(ws.cameras_toml).entries}


def worst(
    slices: Mapping[str, Rows], wrong: ArrayLike, most: int = 8, fewest: int = FEWEST
) -> list[Slice]:
    """Return slices, and meets of two, with surely more errors than there are overall.

    Ranked by the lower end of the error rate's 95% interval: a slice must be bad and large enough
    to know it. A meet is told only where it is worse than both of its slices.

    >>> wrong = [1] * 9 + [0] * 91
    >>> at = np.arange(100)
    >>> [s.name for s in worst({"early": at < 20, "late": at >= 20}, wrong)]
    ['early']
    """
    missed = np.asarray(wrong, dtype=bool)
    overall = float(missed.mean()) if len(missed) else 0.0
    single = {name: _slice(name, at, missed) for name, at in slices.items()}
    both = [
        (_slice(f"{a}, {b}", slices[a] & slices[b], missed), max(_low(single[a]), _low(single[b])))
        for a, b in itertools.combinations(slices, 2)
        if a.split()[0] != b.split()[0]
    ]
    candidates = list(single.values()) + [meet for meet, floor in both if _low(meet) > floor]
    bad = [s for s in candidates if s.n >= fewest and s.error.lo > overall]
    return sorted(bad, key=lambda s: (-_low(s), s.name))[:most]


def _slice(name: str, at: Rows, missed: Rows) -> Slice:
    n, wrong = int(at.sum()), int((missed & at).sum())
    return Slice(name, n, wrong, metrics.wilson(wrong, n))


def _low(one: Slice) -> float:
    return one.error.lo if one.n >= FEWEST else 0.0


def _thirds(name: str, values: NDArray[np.float32]) -> dict[str, Rows]:
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    first, middle, last = THIRDS[name]
    return {
        f"{name} {first}": values < low,
        f"{name} {middle}": (values >= low) & (values < high),
        f"{name} {last}": values >= high,
    }


def _hours(
    labelled: Labelled, rows: NDArray[np.int64], timezones: Mapping[str, str]
) -> NDArray[np.str_]:
    """Return each row's local hour as ``"07"``; empty where it is not known."""
    hours: Sequence[str] = [
        f"{dt.datetime.fromtimestamp(at, zone_info(timezones[camera])):%H}"
        if camera in timezones and np.isfinite(at)
        else ""
        for camera, at in (
            (labelled.cameras[i], float(labelled.captured_s[i])) for i in rows.tolist()
        )
    ]
    return np.array(hours, dtype=np.str_)
