"""One more vote, only where it can matter: frames whose posterior is unsure.

A call asks for one vote beyond those that a frame has; asked again before that vote has come it
asks for the same one, so pushing twice costs nothing. Frames that half of the people can't tell are
left to experts, and so are those that have had the most votes allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from labeling.aggregate import Aggregation


@dataclass(frozen=True)
class ExtraVotes:
    """A posterior between ``low`` and ``high`` deserves another vote, up to ``most`` in all."""

    low: float = 0.1
    high: float = 0.9
    most: int = 5

    def __post_init__(self) -> None:
        """Refuse thresholds that make no range.

        Raises:
            InputError: they do not.
        """
        if not 0.0 <= self.low < self.high <= 1.0:
            raise InputError(
                f"posteriors between {self.low} and {self.high} are none.",
                "Give 0 ≤ low < high ≤ 1.",
            )


def votes_wanted(
    result: Aggregation, votes: pd.DataFrame, usual: int, wanted: ExtraVotes
) -> dict[str, int]:
    """Return frame_id → how many votes it should have in all, for frames that deserve one more.

    Args:
        result: of aggregating ``votes``.
        votes: ``frame_id, label``, one row per vote.
        usual: votes that every frame gets; one that has fewer is not at its turn yet.
        wanted: thresholds and maximum.
    """
    given = votes.groupby("frame_id").size()
    cant = votes["label"].eq("cant_tell").groupby(votes["frame_id"]).mean()
    table = result.labels[result.labels["method"] != "adjudicated"]
    p = table["p_truck"]
    unsure = table.loc[(p > wanted.low) & (p < wanted.high), "frame_id"]
    return {
        str(frame): int(given[frame]) + 1
        for frame in unsure
        if usual <= given.get(frame, 0) < wanted.most and cant[frame] < 0.5
    }
