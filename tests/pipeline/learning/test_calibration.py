import numpy as np
import pytest

from pipeline import metrics
from pipeline.learning import calibration
from pipeline.learning.calibration import Calibration
from pipeline.learning.training import TEMPER


def test_probabilities_hold_at_natural_prevalence_after_enriched_learning():
    # The road shows 5% trucks; half of the labelled frames were chosen because they hold one.
    rng = np.random.default_rng(0)
    truth = np.repeat([True, False], [400, 400])
    weight = np.where(truth, 0.05 / 0.5, 0.95 / 0.5)
    x = rng.normal(np.where(truth, 2.0, 0.0), 1.0)
    fitted = calibration.calibrate(2 * (2 * x - 2), truth, weight, shown=0.5, prior=0.5)

    road = rng.random(50_000) < 0.05
    seen = rng.normal(np.where(road, 2.0, 0.0), 1.0)
    p = fitted.p_truck(2 * (2 * seen - 2))

    assert fitted.natural == pytest.approx(0.05, abs=0.005)
    assert fitted.temperature == pytest.approx(2.0, rel=0.25)
    assert metrics.ece(road, p) < 0.015  # unweighted by prevalence it would be 0.16
    assert p.mean() == pytest.approx(road.mean(), abs=0.01)


def test_effective_counts_carry_weighted_rates():
    # 10 random negatives of weight 9 (none mistaken), 10 sought-out ones of weight 1 (5 mistaken)
    truth, weight = [0] * 20, [9.0] * 10 + [1.0] * 10
    p = [0.1] * 15 + [0.9] * 5
    found = calibration.effective_counts(truth, p, weight)

    n = 100.0**2 / (10 * 81 + 10)
    assert found.fp + found.tn == pytest.approx(n, abs=0.01)
    assert found.fp / (found.fp + found.tn) == pytest.approx(0.05, abs=1e-3)


def test_a_card_restores_its_calibration():
    card = {"temperature": 1.5, "prior": {"shown": 0.5, "natural": 0.1}}

    assert Calibration.of_card(card) == Calibration(1.5, 0.5, 0.1)


def test_wrong_labels_do_not_cool_the_calibration():
    # One negative in fifty carries the label of a truck, as 3 votes of honest workers may have it.
    rng = np.random.default_rng(1)
    truth = rng.random(4000) < 0.1
    logits = rng.normal(np.where(truth, 4.0, -4.0), np.sqrt(8.0))  # true log odds at one half
    votes = np.where(rng.random(4000) < 0.98, truth, ~truth)
    label_p = np.where(votes, 0.85, 0.003)  # Bayes' rule: 0.1·0.98 ÷ (0.1·0.98 + 0.9·0.02) = 0.845

    noisy = calibration.calibrate(logits, label_p, np.ones(4000), shown=0.5, prior=0.1)
    naive = metrics.fit_temperature(logits, votes, np.where(votes, 0.5 / 0.116, 0.5 / 0.884))

    assert noisy.temperature == pytest.approx(1.0, abs=0.2)
    assert naive > 1.5


def test_belief_counts_mend_wrong_labels():
    rng = np.random.default_rng(2)
    truth = rng.random(5000) < 0.1
    yes = np.where(rng.random(5000) < 0.98, truth, ~truth)
    p = np.where(yes, 0.845, 0.0023)  # Bayes' rule: 0.1·0.98 ÷ (0.1·0.98 + 0.9·0.02) = 0.845
    votes = np.where(rng.random(5000) < 0.97, truth, ~truth)
    label_p = np.where(votes, 0.78, 0.003)

    believed = calibration.believed(p, label_p, prior=0.1)
    found = calibration.effective_counts(believed, p, np.ones(5000))
    plain = metrics.confusion(votes, p)

    assert found.tp / (found.tp + found.fn) == pytest.approx(0.98, abs=0.02)
    assert found.fp / (found.fp + found.tn) == pytest.approx(0.02, abs=0.01)
    assert plain.tp / (plain.tp + plain.fn) < 0.85  # what votes alone would have said


def test_soft_counts_keep_their_size():
    found = calibration.effective_counts([0.8, 0.2], [0.9, 0.1], [1.0, 1.0])

    assert (found.tp, found.fn, found.fp, found.tn) == pytest.approx((0.8, 0.2, 0.2, 0.8))


def test_natural_prevalence_from_random_rows_despite_wrong_labels():
    rng = np.random.default_rng(3)
    truth = rng.random(3000) < 0.05
    logits = rng.normal(np.where(truth, 4.0, -4.0), np.sqrt(8.0))
    votes = np.where(rng.random(3000) < 0.96, truth, ~truth)
    label_p = np.where(votes, 0.89, 0.014)  # at a prior of one quarter
    start = Calibration(shown=0.5, natural=float(votes.mean()))

    found = calibration.natural_prevalence(start, logits, label_p, prior=0.25)

    assert votes.mean() > 0.08
    assert found == pytest.approx(truth.mean(), abs=0.006)


def test_labels_that_are_better_than_they_claim_do_not_sharpen_the_calibration():
    # One careful person's single votes are always right, but claim 0.887 and 0.065 at a prior of
    # one third, as Dawid and Skene have it of a worker of whom nothing is known.
    rng = np.random.default_rng(6)
    truth = rng.random(3000) < 0.33
    logits = rng.normal(np.where(truth, 4.0, -4.0), np.sqrt(8.0))  # true log odds at one half
    label_p = np.where(truth, 0.887, 0.065)
    fitted = calibration.calibrate(logits, label_p, np.ones(3000), shown=0.5, prior=0.33)

    assert fitted.surer == 4.0
    assert fitted.temperature == pytest.approx(1.0, abs=0.15)
    p = fitted.p_truck(logits)
    assert metrics.ece(truth, p) < 0.02
    # Taken at their word they would ask for more certainty than the network has.
    odds = calibration.likelihood_ratio(label_p, 0.33, 0.002)
    tries = np.linspace(0.3, 1.5, 61)
    costs = [
        -np.log((odds * q + 1 - q) / (1 + odds)).sum()
        for q in (metrics.sigmoid(logits / t + np.log(0.33 / 0.67)) for t in tries)
    ]
    assert tries[int(np.argmin(costs))] < 0.8


def test_a_small_power_of_the_weights_is_nearer_than_all_of_them():
    """A road of empty, vans and trucks; large ones are chosen by size, whatever they are.

    One row in seven is drawn at random and stands for a hundred times as much as a chosen one.
    """
    rng = np.random.default_rng(7)

    def drawn(n: int, shares: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice(3, n, p=shares)
        evidence = rng.normal(np.array([-9.0, -3.0, 3.0])[kind], 2.5)
        # The network's logit is the true log odds on the road, but for scale and place.
        parts = [np.exp(-(((evidence - m) / 2.5) ** 2) / 2) for m in (-9.0, -3.0, 3.0)]
        odds = 0.06 * parts[2] / (0.74 * parts[0] + 0.20 * parts[1])
        return kind == 2, 0.5 * np.log(odds) + 1.0

    road, seen = drawn(40_000, (0.74, 0.20, 0.06))
    loss = {0.0: 0.0, TEMPER: 0.0, 1.0: 0.0}
    for _ in range(20):
        random, chosen = drawn(60, (0.74, 0.20, 0.06)), drawn(340, (0.05, 0.63, 0.32))
        truth, logits = (np.concatenate(both) for both in zip(random, chosen, strict=True))
        weight = np.repeat([100.0, 1.0], [60, 340])
        label_p = np.where(truth, 0.995, 0.005)
        for power in loss:
            fitted = calibration.calibrate(
                logits, label_p, weight**power, shown=0.5, prior=float(label_p.mean())
            )
            p = np.clip(fitted.p_truck(seen), 1e-9, 1 - 1e-9)
            loss[power] -= np.log(np.where(road, p, 1 - p)).mean() / 20
    assert loss[TEMPER] < loss[1.0]


def test_the_threshold_for_counting_separates_what_one_half_does_not():
    # Teachers taught by few trucks see them in a tenth of the cases, others hardly ever.
    truth, weight = [1] * 30 + [0] * 570, np.ones(600)
    p = [0.45] * 12 + [0.12] * 15 + [0.01] * 3 + [0.06] * 6 + [0.01] * 564

    assert calibration.counting_threshold(truth, p, weight, 0.05) == 0.1


def test_a_threshold_hardly_better_is_not_taken():
    # At 0.3 one truck more is found among 40, and one false alarm more among 560.
    truth = [1] * 40 + [0] * 560
    p = [0.9] * 37 + [0.35] + [0.01] * 2 + [0.35] + [0.01] * 559

    assert calibration.counting_threshold(truth, p, np.ones(600), 0.07) == 0.5


def test_the_threshold_for_counting_minds_false_alarms_by_prevalence():
    # 20% of others reach 0.4. Where a third of frames show trucks it matters that six in ten
    # trucks do not reach one half; at one in a thousand, false alarms are nearly all that is above.
    truth = [1] * 200 + [0] * 1000
    p = [0.9] * 80 + [0.45] * 120 + [0.45] * 200 + [0.01] * 800

    assert calibration.counting_threshold(truth, p, np.ones(1200), 0.33) == 0.4
    assert calibration.counting_threshold(truth, p, np.ones(1200), 0.001) == 0.5


@pytest.mark.parametrize("seed", [5, 6, 21])
def test_votes_that_disagree_do_not_cast_doubt_on_those_that_agree(seed):
    """Frames in dispute are hard: 65% right for the 90% they claim; the others are never wrong."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 1.5, 600)
    truth = rng.random(600) < 1 / (1 + np.exp(-2 * logits))
    disputed = rng.random(600) < 0.15
    said = truth ^ (disputed & (rng.random(600) < 0.35))
    claim = np.where(disputed, 0.9, 0.999)
    label_p = np.where(said, claim, 1 - claim)
    fitted = calibration.calibrate(
        logits, label_p, np.ones(600), shown=0.5, prior=float(label_p.mean())
    )
    assert fitted.flaw == 0.002  # the least there is; by the likelihood alone 0.01 to 0.02


def test_what_few_labels_leave_open_is_what_other_labels_would_have_said():
    # 40 sets of 200 labels without error; how far their calibrations lie apart is what each says.
    rng = np.random.default_rng(1)
    found, said = [], []
    for _ in range(40):
        logits = rng.normal(0.0, 3.0, 200)
        truth = rng.random(200) < metrics.sigmoid(logits / 1.5 - 0.5)
        fitted = calibration.calibrate(logits, truth, np.ones(200), shown=0.5, prior=0.5)
        found.append([np.log(fitted.temperature), fitted.offset])
        said.append(fitted.covariance)
    apart, open_to = np.cov(np.array(found).T), np.mean(said, axis=0)
    # A standard deviation of 40 draws is uncertain by 11%.
    assert np.sqrt(np.diag(open_to)) == pytest.approx(np.sqrt(np.diag(apart)), rel=0.3)
    assert open_to[0, 1] == open_to[1, 0]


def test_a_card_restores_what_its_labels_left_open():
    card = {"temperature": 1.5, "prior": {"shown": 0.5, "natural": 0.1}}
    assert Calibration.of_card(card).covariance == ((0.0, 0.0), (0.0, 0.0))  # a card of before
    card["calibration_covariance"] = [[0.02, -0.01], [-0.01, 0.04]]
    assert Calibration.of_card(card).covariance == ((0.02, -0.01), (-0.01, 0.04))


def test_what_is_left_open_is_the_inverse_of_fishers_information():
    rng = np.random.default_rng(2)
    logits = rng.normal(2.0, 3.0, 3000)
    truth = rng.random(3000) < metrics.sigmoid(logits / 1.5 - 0.5)
    fitted = calibration.calibrate(logits, truth, np.ones(3000), shown=0.5, prior=0.5)
    p = fitted.p_truck(logits)
    moved = np.stack([-logits / fitted.temperature, np.ones(3000)])  # by log temperature, offset
    information = (moved * p * (1 - p)) @ moved.T
    # Labels are taken to be wrong a few times in a thousand, so they say a little less.
    assert np.array(fitted.covariance) == pytest.approx(np.linalg.inv(information), rel=0.15)
    assert abs(fitted.covariance[0][1]) > 0.3 * np.sqrt(np.prod(np.diag(fitted.covariance)))
