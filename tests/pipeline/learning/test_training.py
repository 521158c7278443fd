"""Training from a campaign: what is judged by whom, and what calibrates. Forty made-up frames."""

import datetime as dt
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import schemas, store, view
from pipeline.cameras import load
from pipeline.errors import InputError
from pipeline.learning import (
    calibration,
    checkpoints,
    evaluate,
    fitting,
    infer,
    recipes,
    train,
)
from pipeline.learning.calibration import Calibration
from pipeline.learning.crossfit import CrossFitting
from pipeline.learning.options import TrainOptions
from pipeline.learning.training import HeldOut, Training
from pipeline.learning.unlabelled import Windows
from pipeline.store import Workspace

DAY = dt.date(2026, 3, 2)
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
REGISTRY = """
[[camera]]
id = "gate"
site = "s"
timezone = "UTC"
source = "footage/*.mp4"
sample_hz = 1.0
zones = [{ name = "out", polygon = [[0.2, 0.4], [0.8, 0.4], [0.8, 0.9], [0.2, 0.9]] }]
"""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, make_clip):
    """Forty labelled crops of two clips: a bright block on a dark road is a truck."""
    ws = Workspace(tmp_path_factory.mktemp("campaign"))
    store.write_bytes(ws.cameras_toml, REGISTRY.encode())
    clip = make_clip("a.mp4", n=250)
    rows = [
        {
            **dict.fromkeys(("frames_expected", "frames_read"), 250),
            **dict.fromkeys(("reason", "content_hash"), ""),
            "camera_id": "gate",
            "clip_id": f"c{i}",
            "uri": str(clip),
            "started_at": NOON + dt.timedelta(minutes=i),
            "duration_s": 10.0,
            "width_px": 192,
            "height_px": 108,
            "codec": "h264",
            "status": "ok",
            "timebase": "container",
            "covered": [{"start_s": 0.0, "end_s": 10.0}],
        }
        for i in range(2)
    ]
    store.write_table(ws.clips("gate", DAY), store.table_of(rows, schemas.CLIPS), schemas.CLIPS)
    width, height = view.Crop.of(load(ws.cameras_toml).camera("gate").zones[0], 192, 108).size
    frames, labels = [], []
    for i in range(40):
        road = np.full((height, width, 3), 60, np.uint8)
        shown = road.copy()
        if i % 2:
            shown[10:40, 10:40] = 220
        for name, picture in ((f"{i}.jpg", shown), (f"{i}.bg.jpg", road)):
            path = ws.campaign_frames("first") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, quality=95)
        offset = (i % 20) * 0.5
        frames.append(
            {
                "frame_id": f"f{i}",
                "camera_id": "gate",
                "zone": "out",
                "clip_id": f"c{i // 20}",
                "captured_at": NOON + dt.timedelta(minutes=i // 20, seconds=offset),
                "offset_s": offset,
                "path": f"{i}.jpg",
                "background_path": f"{i}.bg.jpg",
                "batch": "b",
                "why_chosen": "random" if i < 20 else "large",
                "weight": 1.0,
            }
        )
        labels.append(
            {
                "frame_id": f"f{i}",
                "label": "truck" if i % 2 else "no_truck",
                "p_truck": 0.95 if i % 2 else 0.05,
                "n_annotations": 3,
                "agreement": 1.0,
                "method": "dawid_skene",
            }
        )
    folder = ws.campaign_frames("first")
    table = store.table_of(frames, schemas.FRAMES)
    store.write_table(folder / "frames.parquet", table, schemas.FRAMES)
    path = ws.campaign_labels("first") / "labels.parquet"
    store.write_table(path, store.table_of(labels, schemas.LABELS), schemas.LABELS)
    return ws


def test_a_campaign_trains_scores_and_judges(campaign):
    options = TrainOptions(epochs=1, rounds=2, self_training=48, size=48)
    model_id = train.train_campaigns(campaign, ["first"], options)
    card = checkpoints.load_card(campaign, model_id)

    assert card["options"]["weights"] == "none"  # of crops this small none are shipped
    assert train.train_campaigns(campaign, ["first"], TrainOptions(**card["options"])) == model_id
    assert card["input"]["channels"] == 6
    assert card["training_days"] == {"gate": ["2026-03-02"]}
    assert sum(card["held_out"].values()) == pytest.approx(40, abs=0.1)
    assert card["split"]["unlabelled"] > 20
    assert 0.0 < card["prevalence"] < 1.0
    judged = evaluate.evaluate_campaigns(campaign, model_id, ["first"])
    assert (judged["n"], judged["taught"]) == (40, 40)
    del card["spec"]  # as of a graph that is no network of ours
    store.write_json(campaign.model(model_id) / checkpoints.CARD, card)
    assert evaluate.evaluate_campaigns(campaign, model_id, ["first"]) == judged
    camera = load(campaign.cameras_toml).camera("gate")
    path = infer.infer_day(campaign, camera, DAY, model_id)
    scores = store.read_table(path, schemas.SCORES).to_pandas()
    assert len(scores) == 20
    assert scores["p_truck"].between(0, 1).all()


def test_a_campaign_without_footage_still_trains(campaign, tmp_path):
    import shutil

    for part in ("frames", "labels"):
        shutil.copytree(campaign.root / part, tmp_path / part)
    options = TrainOptions(epochs=1, rounds=2, size=48, arch="reference", background=True)
    with pytest.raises(InputError, match="reference cannot take"):
        train.train_campaigns(Workspace(tmp_path), ["first"], options)
    options = TrainOptions(epochs=1, rounds=2, size=48)
    card = checkpoints.load_card(
        Workspace(tmp_path), train.train_campaigns(Workspace(tmp_path), ["first"], options)
    )

    assert card["split"]["unlabelled"] == 0
    with pytest.raises(InputError, match=r"self_training is 60, but no footage .* ingest"):
        train.train_campaigns(Workspace(tmp_path), ["first"], replace(options, self_training=60))


def _instants(labelled, rows, away_s, random) -> Windows:
    """Show pictures of labelled rows again, some seconds after the first of them."""
    return Windows(
        pixels=labelled.pixels[rows],
        window=np.arange(len(rows)),
        random=np.array(random),
        cameras=("gate",) * len(rows),
        zones=("out",) * len(rows),
        captured_s=labelled.captured_s[rows[0]] + np.array(away_s),
    )


def test_a_label_vouches_for_its_vehicle_and_for_no_other(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    truck = int(np.flatnonzero(labelled.truth)[-1])  # the last frame: none comes after it
    said = np.zeros(len(labelled))
    said[truck] = 2.0
    seen = _instants(labelled, [truck] * 5, [0.0, 0.3, 0.5, 0.7, 0.9], [False] * 5)
    # In full for 0.3 s, then 1.6 (1 - t / 0.8) of it: 2 · 0.6 and 2 · 0.2.
    assert seen.vouched(labelled, said) == pytest.approx([2.0, 2.0, 1.2, 0.4, 0.0])
    empty = _instants(labelled, [truck - 1], [0.5], [False])
    assert seen.share[0] > 0.03 > empty.share[0]
    assert empty.vouched(labelled, said) == pytest.approx([0.0])


def test_what_only_teachers_take_for_a_truck_teaches_nothing(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    options = recipes.resolve(TrainOptions(), "footage", len(labelled))
    crossing = CrossFitting(Training(campaign, labelled, options, "footage", "m"))
    truck = int(np.flatnonzero(labelled.truth)[-1])
    drawn = [True, True, True, False]
    windows = _instants(labelled, [truck] * 4, [900.0, 990.0, 1080.0, 0.0], drawn)
    fitted = Calibration(natural=0.05)
    free = crossing._self_taught(windows, np.array([-6.0, 6.0, 2.9, 6.0]), fitted)

    # At 5% the log odds are -2.94 lower: -8.9, 3.1, -0.04; the last stands beside its label.
    assert free.weight.tolist() == pytest.approx([0.7, 0.0, 0.0, 0.7])
    assert free.target[0] < 0.001
    assert free.target[3] > 0.99


def test_without_footage_at_hand_labels_are_all_there_is(campaign, tmp_path, monkeypatch):
    for name in ("frames", "labels"):
        shutil.copytree(campaign.root / name, tmp_path / name)
    taught = []
    monkeypatch.setattr(
        train, "_train", lambda _, __, options, *___, **____: taught.append(options)
    )
    for ws in (campaign, Workspace(tmp_path)):
        train.train_campaigns(ws, ["first"])

    said = [(o.optimiser, o.self_training, o.balance) for o in taught]
    assert said == [("muon", 600, "size"), ("adamw", 0, "half")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"weights": "none"}, ""),
        ({"size": 48}, "starts afresh: no weights"),
        ({"background": False}, "starts afresh: no weights"),
        ({"activation": "gelu"}, "starts afresh: no weights"),
        ({}, "starts from shipped weights"),
        ({"padding": "same", "widen": 2.0, "batch_norm": True}, "starts from shipped weights"),
        ({"finish": 2.0}, "starts from shipped weights"),
    ],
)
def test_what_is_shipped_is_started_from_where_it_fits(campaign, monkeypatch, capsys, asked, said):
    taught = []
    monkeypatch.setattr(train, "_teach", lambda _, __, options, *___: taught.append(options))
    train.train_campaigns(campaign, ["first"], TrainOptions(**asked), set_current=False)

    told = [line for line in capsys.readouterr().err.splitlines() if "starts" in line]
    assert len(told) == bool(said)
    assert all(said in line for line in told)
    start = "scene-4ea479ee13" if "shipped weights" in said else "none"
    assert [options.weights for options in taught] == [start]


def test_a_model_from_shipped_weights_is_made_again_elsewhere_by_its_card(campaign, tmp_path):
    """The network goes on from them: what steps of almost no length leave is what was shipped."""
    options = TrainOptions(epochs=1, rounds=0, learning_rate=1e-9, ema=0.0)
    model_id = train.train_campaigns(campaign, ["first"], options)
    net, card = checkpoints.load_model(campaign, model_id)
    assert card["options"]["weights"].startswith("scene-")
    shipped = checkpoints.empty_net(card)
    checkpoints.start_from(campaign, shipped, card["options"]["weights"])
    for after, before in zip(net.parameters(), shipped.parameters(), strict=True):
        assert torch.allclose(after, before, atol=1e-5)

    ws = Workspace(tmp_path / "elsewhere")
    shutil.copytree(campaign.root, ws.root, ignore=shutil.ignore_patterns("models"))
    assert train.train_campaigns(ws, ["first"], TrainOptions(**card["options"])) == model_id


def test_no_instant_close_to_a_held_out_label_teaches_its_judge(campaign):
    """Labels every half second in blocks of one: those about an edge have neighbours across it."""
    labelled = train.dataset.from_campaigns(campaign, ["first"])
    options = train.recipes.resolve(TrainOptions(rounds=2), "footage", len(labelled))
    training = Training(campaign, labelled, options, "footage", "m")
    at = labelled.captured_s[:20]
    pixels = np.zeros((20, *labelled.pixels.shape[1:]), np.uint8)
    windows = Windows(pixels, np.arange(20), np.ones(20, bool), ("gate",) * 20, ("out",) * 20, at)
    crossing = CrossFitting(training)
    folds = crossing._folds_of(windows)

    for k in range(2):
        held = labelled.captured_s[folds.labels == k]
        close = np.array([np.abs(held - t).min() < 0.8 for t in at])
        assert close.any()
        assert folds.heard[k].tolist() == close.tolist()

    labels = training.lesson(np.arange(len(labelled)))
    free = fitting.Lesson(torch.from_numpy(pixels), torch.zeros(20), torch.ones(20))
    for k, course in enumerate(crossing._courses("teacher", labels, free, folds)):
        own = folds.labels == k
        taught = len(course.lesson) - int((~own & ~training.neighbours(own)).sum())
        assert taught == int(((folds.windows != k) & ~folds.heard[k]).sum())


def test_other_footage_of_the_same_labels_is_another_model(campaign, tmp_path, monkeypatch):
    ws = Workspace(tmp_path / "ws")
    shutil.copytree(campaign.root, ws.root)
    monkeypatch.setattr(train, "_teach", lambda *_: None)
    monkeypatch.setattr(checkpoints, "set_current", lambda *_: None)
    path = ws.clips("gate", DAY)
    rows = store.read_table(path, schemas.CLIPS).to_pylist()
    ids = []
    for digest in ("", "other"):
        told = [{**row, "content_hash": digest} for row in rows]
        store.write_table(path, store.table_of(told, schemas.CLIPS), schemas.CLIPS)
        ids.append(train.train_campaigns(ws, ["first"]))
    assert ids[0] != ids[1]
    assert train.train_campaigns(ws, ["first"]) == ids[1]


def test_what_unlabelled_instants_show_changes_no_probability(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    options = recipes.resolve(TrainOptions(), "footage", len(labelled))
    training = Training(campaign, labelled, options, "footage", "m")
    logits = np.where(labelled.truth == 1, 2.0, -2.0) + np.linspace(-3, 3, 40)
    held_out = HeldOut(np.arange(40), logits, "by hand")
    empty, full = (training.calibrated(held_out, np.full(400, z)) for z in (-9.0, 9.0))

    assert empty.natural < 0.3
    assert full.natural > 0.7
    z = np.linspace(-5, 5, 11)
    assert empty.p_truck(z) == pytest.approx(full.p_truck(z))


def test_what_taught_the_weights_that_are_gone_on_from_has_taught_the_model(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    options = recipes.resolve(TrainOptions(weights="base"), "footage", len(labelled))
    training = Training(campaign, labelled, options, "footage", "m")
    assert training.days_taught() == ({"gate": ["2026-03-02"]}, "")  # weights from elsewhere
    card = campaign.model("base") / checkpoints.CARD
    older = {"gate": ["2026-03-01"], "yard": ["2026-02-01"]}
    store.write_json(card, {"model_id": "base", "training_days": older})
    days = {"gate": ["2026-03-01", "2026-03-02"], "yard": ["2026-02-01"]}
    assert training.days_taught() == (days, "")
    store.write_json(card, {"model_id": "base", "training_days": days})
    assert training.days_taught()[0] == days
    assert training.days_taught()[1].endswith(
        "base, which it goes on from, learned from 1 of these camera-days"
    )
    at = str(campaign.model("base") / checkpoints.WEIGHTS)  # the same, by its file
    training.options = replace(options, weights=at)
    assert training.days_taught()[0] == days
    store.write_json(card, {"model_id": "base"})  # loose pictures: nobody knows which
    training.days = {}
    assert "learned from pictures that may be among these" in training.days_taught()[1]


def test_frames_that_were_chosen_show_more_trucks_than_the_road_at_one_logit(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    options = recipes.resolve(TrainOptions(), "footage", len(labelled))
    logits = np.where(labelled.truth == 1, 2.0, -2.0) + np.linspace(-3, 3, 40)
    held_out = HeldOut(np.arange(40), logits, "by hand")
    told, believed = [], []
    for random in (np.full(40, True), np.full(40, False), np.arange(40) % 2 == 0):
        one = replace(labelled, random=random)
        training = Training(campaign, one, options, "footage", "m")
        fitted = training.calibrated(held_out)
        p = float(fitted.p_truck([0.0])[0])
        told.append(np.log(p / (1 - p)))
        # Of frames whose votes say nothing, so that only what the network and the draw say is left.
        unsaid = replace(one, p=np.full(40, 0.5, np.float32))
        asked = Training(campaign, unsaid, options, "footage", "m")
        believed.append(asked.believed(held_out, fitted))
    # The same frames speak for a quarter less of log odds on the road, but of themselves the same.
    assert told[0] - told[1] == pytest.approx(0.25, abs=0.02)
    assert believed[0] == pytest.approx(believed[1], abs=0.01)
    assert told[1] + 0.05 < told[2] < told[0] - 0.05  # half of them
    sure = believed[2] - (believed[0] + believed[1]) / 2
    assert sure[~random].mean() > 0 > sure[random].mean()  # each for itself


def test_one_row_that_stands_for_much_does_not_settle_the_calibration(campaign):
    labelled = train.dataset.from_campaigns(campaign, ["first"], 48)
    options = recipes.resolve(TrainOptions(), "footage", len(labelled))
    logits = np.where(labelled.truth == 1, 2.0, -2.0) + np.linspace(-3, 3, 40)
    odd = int(np.flatnonzero(labelled.truth)[0])  # a truck at -1
    heavy = replace(labelled, weight=np.where(np.arange(40) == odd, 1000.0, 1.0))
    p = []
    for one in (labelled, heavy):
        training = Training(campaign, one, options, "footage", "m")
        fitted = training.calibrated(HeldOut(np.arange(40), logits, "by hand"))
        p.append(float(fitted.p_truck([-1.0])[0]))
    # By its whole weight it would be nearly all there is, and any logit near it a truck.
    whole = calibration.calibrate(
        logits, labelled.p, heavy.weight, shown=0.5, prior=float(labelled.p.mean())
    )
    assert p[0] < p[1] < 0.8 < float(whole.p_truck([-1.0])[0])
