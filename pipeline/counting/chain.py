"""The exact hidden Markov chain of an M/G/∞ zone, seen through an imperfect frame classifier.

Trucks enter a zone as a Poisson stream and each stays for k cells with probability g(k). Let r be
the number of cells until the zone is next empty. When trucks with stays S1, S2, … enter in one
cell, r becomes ``max(r - 1, S1, S2, …)``; with arrivals at rate a per cell that is

    P(r' <= x | r) = 1[r - 1 <= x] · exp(-a (1 - G(x)))

so r is Markov for *any* distribution of stays, whatever the overlap: merged runs are in the model,
not corrected afterwards. The frame classifier sees only whether r > 0. One step costs O(states) by
cumulative sums (forward) and reversed ones (backward). The arrival rate may differ while the zone
stays occupied, r > 1 (factor ``clump``: above 1 for platoons, below 1 for lanes, in which a truck
may follow closely but not overlap); a zone about to be empty, r = 1, counts as empty.

An empty zone may also flicker: a van, a shadow, a reflection looks like a truck for a moment. A
flicker begins with probability ``begin`` per cell and goes on with ``stay_on``; it looks like a
truck but does not last like one, and that is what tells them apart.

A zone may also stand still: at a gate or a light all that is in it stops, and none of it is
counted again. A standstill begins with probability ``begin`` per occupied cell, ends with ``end``,
and leaves up to ``back`` cells until the zone is next empty.

A day is cut into equally long blocks that run side by side as columns of an array; each block is
preceded and followed by a warm-up of the neighbouring cells, long enough for the chain to forget.

Shapes: T cells per column (warm-up + core + warm-up), B columns, K longest stay in cells. Columns
need not share parameters, so that several parameter sets are tried side by side in one pass. The
passes run in float32: every step is normalised, and sums over cells are taken in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.counting.records import Floats, Indices

Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Blocks:
    """Columns of cells.

    Attributes:
        llr: float64[T, B] log-likelihood ratio (truck : no truck) of each cell, 0 where unseen.
        core: float64[T, B] 1 where the cell is to be counted: seen, and not warm-up.
        cell: int64[T, B] index of the cell in the day, clipped.
        group: int64[B] the hour each block belongs to.
        lead: Cells of warm-up on either side.
    """

    llr: Floats
    core: Floats
    cell: Indices
    group: Indices
    lead: int


@dataclass(frozen=True)
class Flicker:
    """Brief false sights in an empty zone: chances per cell to begin, and to go on."""

    begin: float = 0.0
    stay_on: float = 0.3


@dataclass(frozen=True)
class Standstill:
    """Stops of what is in the zone: chances per cell to begin and to end, cells left after it."""

    begin: float = 0.0
    end: float = 0.1
    back: int = 1


@dataclass(frozen=True)
class Expectation:
    """What one forward-backward pass expects, given everything observed.

    Attributes:
        arrivals_idle, arrivals_busy: float64[B] expected arrivals into an empty zone (r < 2), an
            occupied one.
        time_idle, time_busy: float64[B] expected cells before which it was empty, occupied.
        stays: float64[K + 1, B] expected number of trucks by cells covered.
        busy: float32[T, B] P(a truck is on the zone).
        arrivals: float32[T, B] expected arrivals by cell; zeros unless asked for.
        loglik: float64[B] log-likelihood of the core cells beside "never a truck".
        flicker: float32[T, B] P(a flicker).
        flickers: float64[2, B] expected flickers begun, and gone on.
    """

    arrivals_idle: Floats
    arrivals_busy: Floats
    time_idle: Floats
    time_busy: Floats
    stays: Floats
    busy: Singles
    arrivals: Singles
    loglik: Floats
    flicker: Singles
    flickers: Floats


@dataclass(frozen=True)
class _Law:
    """Transition tables: F (cdf of the longest new stay), f its pmf; float32[K + 1, B]."""

    cdf_busy: Singles
    pmf_busy: Singles
    pmf_idle: Singles
    start: Singles


def _law(rate: Floats, clump: Floats, stay: Floats) -> _Law:
    """Build the transition tables for arrival rates float64[B] per cell."""
    beyond = np.maximum(1.0 - np.cumsum(stay, axis=0), 0.0)
    cdf_idle = np.exp(-rate * beyond)
    cdf_busy = np.exp(-clump * rate * beyond)
    ahead = np.cumsum(beyond[::-1], axis=0)[::-1]  # sum over j >= x of P(stay > j)
    start_cdf = np.exp(-rate * ahead)
    first = np.zeros((1, rate.size))
    tables = (
        cdf_busy,
        np.diff(cdf_busy, axis=0, prepend=first),
        np.diff(cdf_idle, axis=0, prepend=first),
        np.diff(start_cdf, axis=0, prepend=first),
    )
    return _Law(*(np.ascontiguousarray(table, dtype=np.float32) for table in tables))


def _sum_up(values: Singles, out: Singles) -> Singles:
    """Cumulative sum along the first, short axis; row by row, which numpy's own does not do."""
    out[0] = values[0]
    for row in range(1, values.shape[0]):
        np.add(out[row - 1], values[row], out=out[row])
    return out


def _forward(
    law: _Law, weight: Singles, brief: Flicker, still: Standstill
) -> tuple[Singles, Singles, Singles]:
    """Run the filter.

    Returns P(r = 0..K) float32[T, K + 1, B], P(flicker) and normalisers, both float32[T, B].
    """
    cells, columns = weight.shape
    state = np.empty((cells, law.start.shape[0], columns), dtype=np.float32)
    norm = np.empty((cells, columns), dtype=np.float32)
    cdf = law.cdf_busy[:-1]
    cumulative, product = np.zeros_like(cdf), np.empty_like(cdf)
    step = state[0]
    step[...] = law.start
    flicker = np.zeros((cells, columns), dtype=np.float32)
    moving, again = np.float32(1 - still.begin), np.float32(still.end / still.back)
    stands = np.zeros(columns, dtype=np.float32)
    leave, calm = np.float32(1 - brief.stay_on), np.float32(1 - brief.begin)
    begin, stay_on = np.float32(brief.begin), np.float32(brief.stay_on)
    for t in range(cells):
        if t:
            now, step = step, state[t]
            before = flicker[t - 1]
            flicker[t] = (now[0] * begin + before * stay_on) * weight[t]
            _sum_up(now[2:], cumulative[1:])
            stood = stands
            stands = (
                cumulative[-1] * np.float32(still.begin) + stood * np.float32(1 - still.end)
            ) * weight[t]
            cumulative *= moving
            np.multiply(cumulative, cdf, out=product)
            np.multiply(law.pmf_idle, now[0] * calm + now[1] + before * leave, out=step)
            step[:-1] += product
            step[1:-1] -= product[:-1]
            step[-1] += cumulative[-1] - product[-1]
            step[1 : still.back + 1] += stood * again
        step[1:] *= weight[t]
        np.add.reduce(step, axis=0, out=norm[t])
        norm[t] += flicker[t] + stands
        stands = stands / norm[t]
        step /= norm[t]
        flicker[t] /= norm[t]
    return state, flicker, norm


def _arrivals_given_top(rate: Floats, stay: Floats) -> tuple[Floats, Floats]:
    """Expected arrivals in a cell given the longest new stay: [K + 1, B] if new, if hidden."""
    upto = np.cumsum(stay, axis=0)
    own = rate * stay
    new = rate * (upto - stay) + _given_any(own)
    hidden = rate * upto
    new[0] = hidden[0]
    return new, hidden


def _given_any(own: Floats) -> Floats:
    """Mean of a Poisson variable with mean ``own``, given that it is not 0."""
    return np.asarray(own / -np.expm1(-np.maximum(own, 1e-300)))


def expect(
    blocks: Blocks,
    rate: Floats,
    clump: Floats,
    stay: Floats,
    brief: Flicker,
    still: Standstill,
    by_cell: bool = False,
) -> Expectation:
    """Run forward and backward over all blocks.

    Args:
        blocks: The cells.
        rate: float64[B] arrivals per cell into an empty zone.
        clump: float64[B] factor on the rate while the zone is occupied.
        stay: float64[K + 1, B] probability that a truck covers 0..K cells.
        brief: The flicker law.
        still: The law of standing still.
        by_cell: Whether expected arrivals are wanted cell by cell.
    """
    still = replace(still, back=min(still.back, len(stay) - 1))
    law = _law(rate, clump, stay)
    weight = np.exp(blocks.llr).astype(np.float32)
    state, flicker, norm = _forward(law, weight, brief, still)
    cells, columns = weight.shape
    top_new = [table.astype(np.float32) for table in _arrivals_given_top(rate, stay)]
    top_busy = [table.astype(np.float32) for table in _arrivals_given_top(clump * rate, stay)]
    mask = blocks.core.astype(np.float32)
    shape = stay.shape
    beta = np.ones(shape, dtype=np.float32)
    beta_flicker = np.ones(columns, dtype=np.float32)
    beta_still = np.ones(columns, dtype=np.float32)
    moving = np.float32(1 - still.begin)
    flickers = np.zeros((2, columns))
    leave, calm = np.float32(1 - brief.stay_on), np.float32(1 - brief.begin)
    begin, stay_on = np.float32(brief.begin), np.float32(brief.stay_on)
    in_view = np.empty((cells, columns), dtype=np.float32)
    arrivals = np.zeros((cells, columns), dtype=np.float32)
    idle_top, busy_new, busy_kept = (np.zeros(shape, dtype=np.float32) for _ in range(3))
    pmf_busy, cdf_kept = law.pmf_busy[1:], law.cdf_busy[:-1]
    fresh, kept, ahead, mass_new, mass_kept = (np.empty_like(pmf_busy) for _ in range(5))
    before, mass_idle = np.empty_like(beta), np.empty_like(beta)
    first, last = blocks.lead, cells - blocks.lead
    for t in range(cells - 1, 0, -1):
        in_view[t] = state[t, 0] * beta[0]
        flicker[t] *= beta_flicker
        beta_flicker *= weight[t] / norm[t]
        beta_still *= weight[t] / norm[t]
        beta /= norm[t]
        beta[1:] *= weight[t]
        after = beta[1 : still.back + 1].mean(axis=0)
        np.multiply(pmf_busy, beta[1:], out=fresh)
        np.multiply(cdf_kept, beta[:-1], out=kept)
        np.multiply(law.pmf_idle, beta, out=beta)
        if first <= t < last:
            np.multiply(state[t - 1], mask[t], out=before)
            earlier = flicker[t - 1] * mask[t]
            flickers[0] += before[0] * begin * beta_flicker
            flickers[1] += earlier * stay_on * beta_flicker
            np.multiply(beta, before[0] * calm + before[1] + earlier * leave, out=mass_idle)
            before[1] = 0.0
            before[2:] *= moving
            _sum_up(before[1:], mass_new)
            mass_new *= fresh
            np.multiply(before[1:], kept, out=mass_kept)
            idle_top += mass_idle
            busy_new[1:] += mass_new
            busy_kept[:-1] += mass_kept
            if by_cell:
                arrivals[t] = (
                    (mass_idle * top_new[0]).sum(axis=0)
                    + (mass_new * top_busy[0][1:]).sum(axis=0)
                    + (mass_kept * top_busy[1][:-1]).sum(axis=0)
                )
        total = np.add.reduce(beta, axis=0)
        beta[0] = calm * total + begin * beta_flicker
        beta_flicker = leave * total + stay_on * beta_flicker
        _sum_up(fresh[::-1], ahead)
        np.add(kept, ahead[::-1], out=beta[1:])
        beta[1:] *= moving
        beta[1:] += np.float32(still.begin) * beta_still
        beta[1] = total
        beta_still = np.float32(1 - still.end) * beta_still + np.float32(still.end) * after
    in_view[0] = state[0, 0] * beta[0]
    flicker[0] *= beta_flicker
    tops = tuple(table.astype(np.float64) for table in (idle_top, busy_new, busy_kept))
    loglik = np.asarray(np.sum(np.log(norm) * mask, axis=0, dtype=np.float64))
    in_view = np.clip(1 - in_view - flicker, 0, 1)
    found = _gather(tops, rate, clump, stay)
    return Expectation(*found, in_view, arrivals, loglik, flicker, flickers)


def _gather(
    tops: tuple[Floats, ...],
    rate: Floats,
    clump: Floats,
    stay: Floats,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Turn expected transitions into expected trucks, trucks hidden under longer stays included.

    ``tops`` holds float64[K + 1, B] transitions from an empty zone, from an occupied one with a new
    longest stay, and from an occupied one without. Returns the first five of Expectation.
    """
    idle_top, busy_new, busy_kept = tops

    def above(mass: Floats) -> Floats:
        """Mass on longer stays than each."""
        return np.asarray(mass[::-1].cumsum(axis=0)[::-1] - mass)

    own_idle, own_busy = rate * stay, clump * rate * stay
    first = own_idle * above(idle_top) + idle_top * _given_any(own_idle)
    first[0] = own_idle[0] * idle_top.sum(axis=0)
    every = busy_new + busy_kept
    second = own_busy * (above(every) + busy_kept) + busy_new * _given_any(own_busy)
    return (
        first.sum(axis=0),
        second.sum(axis=0),
        idle_top.sum(axis=0),
        every.sum(axis=0),
        first + second,
    )
