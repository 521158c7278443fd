"""A crowd that does not exist, for demonstrations and tests: workers of stated skill.

It writes ordinary rows for the ``annotations`` table, every one with ``source = "simulated"``.
A worker's votes depend only on the seed, the frame and the worker's name, so more frames or another
order change no vote already cast.

Model: on frame f worker w errs with probability min(½, c_w · d_f), d_f being the frame's
difficulty and c_w set so that the mean over the frames is exactly 1 − skill.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Habit = Literal["honest", "constant", "coin"]


@dataclass(frozen=True)
class Worker:
    """One simulated person.

    ``skill``: expected share of right answers among those given. ``cant_tell``: share of frames
    of mean difficulty passed over. ``habit``: honest, always the same answer, or a coin.
    """

    name: str
    skill: float = 0.9
    cant_tell: float = 0.0
    habit: Habit = "honest"
    says: Literal["truck", "no_truck"] = "no_truck"


CROWD: tuple[Worker, ...] = (
    Worker("sim-ada", 0.97),
    Worker("sim-bea", 0.96, cant_tell=0.03),
    Worker("sim-cyd", 0.95),
    Worker("sim-dov", 0.94, cant_tell=0.02),
    Worker("sim-eli", 0.92),
    Worker("sim-fay", 0.90, cant_tell=0.05),
    Worker("sim-gus", 0.86),
    Worker("sim-hal", 0.68),
    Worker("sim-ida", 0.58),
    Worker("sim-jon", habit="constant"),
)
"""The default: seven who try, two poor ones, one who always answers ``no_truck``."""

SOUND: tuple[Worker, ...] = CROWD[:7]
"""Those who try: right on 86 to 97% of frames."""


def annotate(
    truth: Mapping[str, bool | None],
    votes: int = 5,
    crowd: Sequence[Worker] = CROWD,
    seed: int = 0,
    difficulty: Mapping[str, float] | None = None,
    started_at: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
) -> pd.DataFrame:
    """Let ``votes`` workers, drawn per frame, judge each frame.

    Args:
        truth: frame_id → is it a truck; None where even the truth cannot say (an instant at an
            entry or exit): answers there are coin tosses and half of them can't tell.
        votes: workers per frame, at most ``len(crowd)``.
        crowd: the workers to draw from.
        seed: another seed, other votes.
        difficulty: frame_id → positive number, relative; by default mostly easy, a few hard
            (exponential).
        started_at: when the first frame is put before them.

    Returns:
        Columns of ``schemas.ANNOTATIONS``, sorted by frame and worker.
    """
    import pandas as pd

    frames = sorted(truth)
    hardness = np.array([_hardness(f, seed, difficulty) for f in frames])
    scale = {w.name: _scale(1.0 - w.skill, hardness) for w in crowd}
    rows = []
    for i, frame in enumerate(frames):
        for worker in _drawn(frame, votes, crowd, seed):
            rng = _rng("vote", seed, frame, worker.name)
            error = min(0.5, scale[worker.name] * hardness[i])
            label = _vote(worker, truth[frame], error, hardness[i] / hardness.mean(), rng)
            spent = float(np.round(rng.lognormal(1.0, 0.4), 1))
            at = started_at + dt.timedelta(seconds=4.0 * i + spent)
            rows.append((frame, worker.name, label, at, spent, "simulated"))
    columns = ["frame_id", "worker", "label", "annotated_at", "seconds_spent", "source"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["frame_id", "worker"], ignore_index=True)


def _rng(*parts: object) -> np.random.Generator:
    text = "\0".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _hardness(frame: str, seed: int, difficulty: Mapping[str, float] | None) -> float:
    if difficulty is not None:
        return max(float(difficulty[frame]), 1e-6)
    return float(_rng("difficulty", seed, frame).exponential()) + 0.05


def _scale(error: float, hardness: NDArray[np.float64]) -> float:
    """Return c with mean(min(½, c·d)) = ``error`` (at most ½), by bisection."""
    low, high = 0.0, 1.0
    wanted = min(error, 0.5 - 1e-9)
    if wanted <= 0.0 or not hardness.size:
        return 0.0
    while np.minimum(0.5, high * hardness).mean() < wanted and high < 1e12:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        if np.minimum(0.5, middle * hardness).mean() < wanted:
            low = middle
        else:
            high = middle
    return high


def _drawn(frame: str, votes: int, crowd: Sequence[Worker], seed: int) -> list[Worker]:
    order = _rng("draw", seed, frame).permutation(len(crowd))
    return [crowd[i] for i in order[:votes]]


def _vote(
    worker: Worker, truth: bool | None, error: float, hardness: float, rng: np.random.Generator
) -> str:
    abstain, wrong, coin = rng.random(3)
    if worker.habit == "constant":
        return worker.says
    tossed = "truck" if coin < 0.5 else "no_truck"
    if worker.habit == "coin":
        return tossed
    if truth is None:
        return "cant_tell" if abstain < 0.5 else tossed
    if abstain < min(0.9, worker.cant_tell * hardness):
        return "cant_tell"
    return "truck" if truth != (wrong < error) else "no_truck"
