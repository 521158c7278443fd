"""Cutting a day into columns for the chain, and leaving out what can hold no truck."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.counting.chain import Blocks
from pipeline.counting.dwell import cells_pmf, longest_cells
from pipeline.counting.model import Theta, ZoneDay
from pipeline.counting.records import Flags, Floats


def hopeful(day: ZoneDay, theta: Theta, llr: Floats, stay: Floats) -> Flags:
    """Return bool[C]: cells in which a truck might begin.

    Each cell's expected number of trucks is bounded by rate · Σ P(stay = k) · e^(evidence over k
    cells); cells are left out from the smallest on while together they promise less than a
    thousandth of the day's trucks.
    """
    count = llr.size
    total = np.concatenate(([0.0], np.cumsum(llr)))
    hope = np.zeros(count)
    for k in np.flatnonzero(stay > 1e-9):
        if 0 < k <= count:
            hope[: count - k + 1] += stay[k] * np.exp(np.minimum(total[k:] - total[:-k], 40.0))
    hope *= theta.rate[day.cells.hour]
    step = np.clip(np.floor(2 * np.log(hope + 1e-15)) + 70, 0, 200).astype(np.int64)
    promised = np.cumsum(np.bincount(step, weights=hope, minlength=201))
    allowed = 1e-3 * float(np.sum(theta.rate[day.cells.hour] * day.cells.seen)) + 1e-4
    return np.asarray(step >= np.searchsorted(promised, allowed))


def cut(day: ZoneDay, theta: Theta) -> tuple[Blocks, Floats, int]:
    """Cut the day into columns, leaving out what can hold no truck.

    Returns the blocks, float64[C] 1 for seen cells outside all blocks, and the longest stay K.
    """
    cells = day.cells
    llr = day.cell_llr(theta)
    longest = longest_cells(1.08 * theta.dwell_cells, theta.cv, 64)
    stay = cells_pmf(theta.dwell_cells, theta.cv, longest)
    count = llr.size
    lead = longest + 3
    hot = np.concatenate(([0], np.cumsum(hopeful(day, theta, llr, stay))))
    core = int(np.clip(hot[-1] * 4 / 400, 1.5 * lead, 8 * lead))
    starts = np.arange(0, count, core)
    near = hot[np.minimum(starts + core + lead, count)] - hot[np.maximum(starts - lead, 0)]
    seen = np.concatenate(([0], np.cumsum(cells.seen)))
    seen_in = seen[np.minimum(starts + core, count)] - seen[starts]
    chosen = starts[(near > 0) & (seen_in > 0)]
    if chosen.size == 0:
        chosen = starts[seen_in > 0][:1]
    index = chosen[None, :] + np.arange(-lead, core + lead)[:, None]
    index = np.where((index < 0) | (index >= count), count - 1, index)
    inner = cells.seen[index].astype(np.float64)
    inner[:lead] = 0.0
    inner[lead + core :] = 0.0
    group = cells.hour[np.minimum(chosen + core // 2, count - 1)]
    apart = cells.seen.astype(np.float64)
    apart[index[lead : lead + core]] = 0.0
    return Blocks(llr[index], inner, index, group, lead), apart, longest


@dataclass(frozen=True)
class Work:
    """The day cut for one purpose: all blocks, or a share of them that stands for all."""

    day: ZoneDay
    blocks: Blocks
    apart: Floats
    longest: int
    scale: float = 1.0

    @cached_property
    def outside(self) -> Floats:
        """Seen cells by hour outside all blocks, float64[H]."""
        by_hour = np.bincount(self.day.cells.hour, weights=self.apart, minlength=self.day.hours)
        return by_hour.astype(np.float64)

    @cached_property
    def frames(self) -> tuple[float, float]:
        """Frames above and below the threshold that this work stands for."""
        cells, held = self.day.cells, self.blocks
        out = []
        for side in (cells.positives, cells.negatives):
            inside = float(np.sum(side[held.cell] * held.core))
            out.append(self.scale * inside + float(np.sum(side * self.apart)))
        return out[0], out[1]

    def sample(self, most: int) -> Work:
        """Return evenly spread blocks, at most about ``most``, with the factor they stand for."""
        columns = self.blocks.group.size
        if columns <= most:
            return self
        pick = np.unique(np.linspace(0, columns - 1, most).astype(np.int64))
        held = self.blocks
        scale = float(held.core.sum() / max(held.core[:, pick].sum(), 1.0))
        part = Blocks(
            held.llr[:, pick], held.core[:, pick], held.cell[:, pick], held.group[pick], held.lead
        )
        return replace(self, blocks=part, scale=scale)
