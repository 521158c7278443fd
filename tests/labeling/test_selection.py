"""Drawing with known chances, seeing large things, and finding repeats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import selection


@settings(deadline=None)
@given(
    st.lists(st.floats(0.001, 10), min_size=1, max_size=40), st.integers(1, 40), st.integers(0, 99)
)
def test_systematic_draws_the_number_asked_for(chance, n, seed):
    probability = selection.inclusion(np.array(chance), n)
    assert probability.max() <= 1 + 1e-12
    picked = selection.systematic(probability, np.random.default_rng(seed))
    assert len(picked) == min(n, len(chance))


def test_systematic_keeps_its_chances():
    rng = np.random.default_rng(0)
    probability = selection.inclusion(rng.random(40) ** 3, 10)
    counts = np.zeros(40)
    for _ in range(3000):
        counts[selection.systematic(probability, rng)] += 1
    # Standard error at most 0.0091; 40 draws.
    assert np.abs(counts / 3000 - probability).max() < 0.035


def test_uniform_instants_fall_once_in_each_equal_part():
    spans = [(0.0, 10.0), (100.0, 130.0)]
    drawn = selection.uniform_instants(spans, 8, np.random.default_rng(1))
    assert [i for i, _ in drawn] == [0, 0, 1, 1, 1, 1, 1, 1]
    for k, (_, instant) in enumerate(drawn[2:]):
        assert 100 + 5 * k <= instant < 105 + 5 * k
    assert selection.uniform_instants([], 5, np.random.default_rng(1)) == []


@settings(deadline=None)
@given(st.integers(0, 500), st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_shares_add_up(n, sizes):
    parts = selection.shares(n, sizes)
    assert sum(parts) == (n if sum(sizes) > 0 else 0)
    assert all(p == 0 for p, s in zip(parts, sizes, strict=True) if s == 0)


def scene(*things: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.full((96, 128, 3), 90, np.uint8)
    for x, y, w, h in things:
        picture[y : y + h, x : x + w] = (200, 180, 60)
    return picture


def test_motion_by_hand():
    found = selection.motion(scene((64, 40, 32, 24)), scene())
    assert found.size == pytest.approx(32 * 24 / (96 * 128), rel=0.05)
    # Two 3 × 3 filters make its outline four pixels thick: two outside, two inside.
    edges = (36 * 28 - 28 * 20) / (96 * 128)
    expected = (35 * 27 / (96 * 128)) * math.sqrt(32 * 24 / (96 * 128) * edges)
    assert found.bulk == pytest.approx(expected, rel=0.05)
    assert selection.motion(scene(), scene()).size == 0.0


def test_a_change_of_light_is_not_a_thing():
    brighter = np.clip(scene().astype(int) + 35, 0, 255).astype(np.uint8)
    assert selection.motion(brighter, scene()).size == 0.0


def test_a_truck_is_larger_than_a_queue_of_cars():
    truck = selection.motion(scene((20, 20, 70, 50)), scene())
    cars = selection.motion(scene((0, 60, 120, 16)), scene())
    assert truck.size > 1.5 * cars.size


def test_hash_finds_repeats_despite_noise():
    rng = np.random.default_rng(0)
    one, other = scene((10, 30, 60, 40)), scene((70, 50, 20, 14))
    noisy = np.clip(one + rng.normal(0, 3, one.shape), 0, 255).astype(np.uint8)
    hashes = [selection.perceptual_hash(p) for p in (one, noisy, other, one)]
    assert selection.near_duplicates(hashes).tolist() == [0, 0, 2, 0]


def test_a_truck_that_fills_the_crop_does_not_hide_itself():
    assert selection.motion(scene((4, 0, 120, 96)), scene()).size > 0.85


def test_headlights_are_large_but_not_bulky():
    y, x = np.mgrid[:96, :128]
    glow = 90 + 140 * np.exp(-(((x - 64) / 40) ** 2 + ((y - 60) / 30) ** 2))
    light = np.repeat(glow[..., None], 3, axis=2).astype(np.uint8)
    truck = selection.motion(scene((20, 20, 70, 50)), scene())
    shine = selection.motion(light, scene())
    assert shine.size > truck.size > 0.25
    assert shine.bulk < 0.3 * truck.bulk


def test_half_of_the_draw_comes_from_the_bulkiest_twentieth_of_each_hour():
    # In one hour of 1,000 moving things nine tenths of the chance fall as 1 / (1 + (r / 0.05)²),
    # whose integral to r is 0.05 · atan(20 r), and one tenth is even: 47% lies below 0.05.
    bulks = np.random.default_rng(3).permutation(np.arange(1, 1001)) / 1000.0
    every = np.ones(1000, bool)
    chance, large = selection.measure(bulks, every, np.zeros(1000, np.intp))
    chance = chance / chance.sum()
    for share in (0.05, 0.1, 0.5):
        expected = 0.9 * np.arctan(share / 0.05) / np.arctan(20) + 0.1 * share
        assert chance[bulks > 1.0 - share].sum() == pytest.approx(expected, abs=0.01)
    assert chance.max() / chance.min() < 120  # no frame stands for too much
    assert large.sum() == 100
    assert bulks[large].min() > bulks[~large].max()


def test_enrichment_without_bias():
    """Issue 4, point 4: trucks go from 5% to 35% or more; prevalence stays unbiased."""
    rng = np.random.default_rng(7)
    truck = np.zeros(6000, bool)
    truck[rng.choice(6000, 300, replace=False)] = True
    cars = rng.random(6000) < 0.3
    sizes = np.where(truck, np.exp(rng.normal(np.log(0.2), 0.35, 6000)), 0.0)
    sizes = np.where(~truck & cars, np.exp(rng.normal(np.log(0.04), 0.5, 6000)), sizes)
    strata = np.repeat(np.arange(24), 250)
    shares, from_random, from_enriched = [], [], []
    for seed in range(300):
        draw = np.random.default_rng(seed)
        n = 300
        k = round(selection.RANDOM_SHARE * n)
        instants = selection.uniform_instants([(0.0, 6000.0)], k, draw)
        random = np.array([int(t) for _, t in instants])
        chance, _ = selection.measure(sizes, sizes > 0, strata)
        probability = selection.inclusion(chance, n - k)
        enriched = selection.systematic(probability, draw)
        shares.append(truck[np.concatenate([random, enriched])].mean())
        from_random.append(truck[random].mean())
        from_enriched.append((truck[enriched] / probability[enriched]).sum() / 6000)
    assert np.mean(shares) >= 0.35
    for estimates in (from_random, from_enriched):
        error = np.std(estimates) / np.sqrt(len(estimates))
        assert abs(np.mean(estimates) - 0.05) <= 2.6 * error


def test_a_model_sends_half_to_trucks_and_half_to_doubts():
    # One hour: 10 sure trucks, 10 coin tosses, 980 sure of nothing.
    p = np.concatenate([np.full(10, 1.0), np.full(10, 0.5), np.zeros(980)])
    chance = selection.measure_by_model(p, np.zeros(1000, np.intp))
    chance = chance / chance.sum()
    # likely: 10·1.001 + 10·0.501 + 0.98 = 16; unsure: 10·0.001 + 10·0.251 + 0.98 = 3.5.
    assert chance[:10].sum() == pytest.approx((10.01 / 16 + 0.01 / 3.5) / 2, abs=1e-9)
    assert chance[10:20].sum() == pytest.approx((5.01 / 16 + 2.51 / 3.5) / 2, abs=1e-9)
    assert chance.min() > 0


def test_another_look_at_a_vehicle_comes_after_first_looks_and_before_cars():
    # 20 trucks are seen three times each, 1,000 cars once and with a fiftieth of the chance. Of 20
    # draws, trucks alone would get 60 : 20 with looks alike; now 20 · (1 + 2 / 4) = 30 : 20.
    chance = np.concatenate([np.ones(60), np.full(1000, 0.02)])
    vehicles = np.concatenate([np.repeat(np.arange(20), 3), np.arange(20, 1020)])
    p = selection.inclusion(selection.first_looks(chance, vehicles), 20)
    assert p[:60].sum() == pytest.approx(20 * 30 / 50)
    assert p[60:].sum() == pytest.approx(20 * 20 / 50)
    # Each truck's likeliest look (the first of equals) has four times the chance of its others.
    assert p[:3].tolist() == pytest.approx([20 / 50, 5 / 50, 5 / 50])
    # With twice as many frames first looks are nearly certain, and second ones still beat cars.
    more = selection.inclusion(selection.first_looks(chance, vehicles), 40)
    assert (more[0], more[1] > 10 * more[60]) == (pytest.approx(0.8), True)


def test_a_draw_is_spread_over_what_candidates_look_like():
    # Ninety alike and ten of another look: every draw of ten takes nine and one, where a draw in
    # random order takes none of the ten in a third of all cases.
    rng = np.random.default_rng(5)
    places = rng.normal(0, 0.1, (100, 3)) + np.where(np.arange(100) % 10 == 0, 9.0, 0.0)[:, None]
    rare = places[:, 0] > 4
    order = selection.spread(places, np.zeros(100, np.intp))
    assert sorted(order) == list(range(100))
    taken = []
    for seed in range(50):
        picked = selection.systematic(np.full(100, 0.1), np.random.default_rng(seed))
        taken.append(rare[order][picked].sum())
    assert set(taken) == {1}
    unordered = [
        rare[rng.permutation(100)][selection.systematic(np.full(100, 0.1), rng)].sum()
        for _ in range(50)
    ]
    assert 0 in unordered


def test_spread_keeps_strata_together_and_takes_equal_places():
    strata = np.array([1, 0, 1, 0, 1])
    order = selection.spread(np.zeros((5, 2)), strata)
    assert strata[order].tolist() == [0, 0, 1, 1, 1]
    assert selection.spread(np.zeros((0, 2)), np.zeros(0, np.intp)).tolist() == []
