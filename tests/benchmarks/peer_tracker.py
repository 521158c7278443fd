"""Our count beside a detector, a tracker and a line counter, on the real clips with truth.

    pip install "truck-counter[peer]"        # supervision, MIT; it leaves OpenCV alone
    python tests/benchmarks/peer_tracker.py --detector FILE.onnx [--root DIR] [--json]

The peer is what most people build: a detector on each frame, ByteTrack (supervision), and a counter
of the tracks whose centre enters the zone (``zone``) or crosses a line through its middle
(``line``). Both look at the same clips at the same instants, in one run; CPU seconds cover reading,
scoring and counting, not what it takes to import or to train.

Ours is trained as tests/test_real_clips.py does: on every other second of these very clips, the
truth as its labels, while the detector has never seen them. That is how ours is meant to be used (a
model for each camera), and it is why this compares two ways of working, not two networks.
``--root`` keeps that workspace, so that a second run need not train; it may also name one made
otherwise, with a model in use and a camera per clip, called as the clip.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from onnx_detector import COCO_TRUCK, LAYOUTS, Detector

HERE = Path(__file__).resolve()
HZ = 10.0
Row = dict[str, Any]


def cpu_s() -> float:
    """Return the CPU seconds spent so far, by this process and by children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def real_clips() -> ModuleType:
    """Return the test module that knows how the clips are ingested, labelled and learned from."""
    spec = importlib.util.spec_from_file_location(
        "real_clips", HERE.parents[1] / "test_real_clips.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_clips"] = module
    spec.loader.exec_module(module)
    return module


def count_ours(root: Path, clips: Path, truths: dict[str, Row]) -> dict[str, Row]:
    """Train where no model is in use, then score and count every clip afresh."""
    from pipeline import cameras, daily, schemas, store
    from pipeline.learning import engines, infer  # noqa: F401 - imports are not what is measured
    from pipeline.learning.train import train_campaigns

    real, ws = real_clips(), store.Workspace(root)
    if not ws.cameras_toml.is_file():
        real.make_workspace(root, clips, truths)
    if not ws.current_model.is_file():
        real.label_alternate_seconds(ws, truths)
        train_campaigns(ws, ["real"], real.OPTIONS)
    registry, model_id = cameras.load(ws.cameras_toml), daily.model_in_use(ws)
    found: dict[str, Row] = {}
    for name in truths:
        (day,) = daily.camera_days(ws, registry, [name])
        ws.scores(name, day.day, model_id).unlink(missing_ok=True)
        before = cpu_s()
        rows = daily.count_days(ws, registry, [day], model_id)
        path = ws.passages(name, day.day, model_id)
        passages = store.read_table(path, schemas.PASSAGES).to_pylist()
        trucks = sum(p["trucks"] for p in passages)
        found[name] = {
            "count": round(trucks, 2),
            "refused": rows[0]["truck_count"] is None,
            "cpu_s": round(cpu_s() - before, 3),
        }
    return found


def count_peer(
    detector: Detector, clip: Path, polygon: list[list[float]], hz: float, confidence: float
) -> Row:
    """Detect, track and count one clip: tracks into the zone, and across its middle."""
    import supervision as sv

    from pipeline import sampling
    from pipeline.footage import video

    before = cpu_s()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # leaves in 0.31, which extra `peer` shuts out
        tracker = sv.ByteTrack(track_activation_threshold=confidence, frame_rate=hz)
    instants = sampling.uniform(video.probe(clip).duration_s or 3600.0, hz)
    counters: tuple[Any, list[Any]] | None = None
    entered: set[int] = set()
    for frame in video.read_at(clip, instants):
        if counters is None:
            corners = np.array(polygon) * (frame.rgb.shape[1], frame.rgb.shape[0])
            counters = zone_and_lines(corners)
        boxes, scores = detector.trucks(frame.rgb)
        seen = sv.Detections(xyxy=boxes, confidence=scores, class_id=np.zeros(len(boxes), int))
        tracks = tracker.update_with_detections(seen)
        zone, lines = counters
        if len(tracks):
            entered |= set(tracks.tracker_id[zone.trigger(tracks)].tolist())
            for line in lines:
                line.trigger(tracks)
    crossed = (
        max((line.in_count + line.out_count for line in counters[1]), default=0) if counters else 0
    )
    return {"zone": len(entered), "line": crossed, "cpu_s": round(cpu_s() - before, 3)}


def zone_and_lines(corners: np.ndarray) -> tuple[Any, list[Any]]:
    """Return the peer's counters for a quadrilateral in pixels: the zone, and its two middle lines.

    The truth does not say which way traffic goes: the line that more tracks cross is across it.
    """
    import supervision as sv

    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    ends = [[sv.Point(*middles[i]), sv.Point(*middles[i + 2])] for i in (0, 1)]
    centre = [sv.Position.CENTER]
    lines = [sv.LineZone(a, b, triggering_anchors=centre) for a, b in ends]
    return sv.PolygonZone(corners.astype(int), triggering_anchors=centre), lines


def summary(truths: dict[str, Row], ours: dict[str, Row], peer: dict[str, Row]) -> Row:
    """Return the rows and the sums of absolute errors and of CPU seconds."""
    rows = [
        {"clip": name, "truth": len(t["passages"]), "ours": ours[name], "peer": peer[name]}
        for name, t in truths.items()
    ]
    counts = {
        "ours": ("ours", "count"),
        "peer_zone": ("peer", "zone"),
        "peer_line": ("peer", "line"),
    }
    return {
        "clips": rows,
        "count_error": {
            label: round(sum(abs(row[who][key] - row["truth"]) for row in rows), 2)
            for label, (who, key) in counts.items()
        },
        "cpu_s": {w: round(sum(row[w]["cpu_s"] for row in rows), 2) for w in ("ours", "peer")},
        "trucks": sum(row["truth"] for row in rows),
    }


def as_text(found: Row) -> str:
    """Word the summary for a person."""
    head = ("clip", "truth", "ours", "zone", "line", "ours CPU s", "peer CPU s")
    lines = ["{:<22}{:>6}{:>7}{:>6}{:>6}{:>12}{:>12}".format(*head)]
    for row in found["clips"]:
        o, p = row["ours"], row["peer"]
        lines.append(
            f"{row['clip']:<22}{row['truth']:>6}{o['count']:>7.2f}{p['zone']:>6}{p['line']:>6}"
            f"{o['cpu_s']:>12.2f}{p['cpu_s']:>12.2f}"
        )
    error, cpu = found["count_error"], found["cpu_s"]
    lines.append(
        f"sum of errors over {found['trucks']} trucks: ours {error['ours']:g}, "
        f"detector + ByteTrack + zone {error['peer_zone']:g}, + line {error['peer_line']:g}"
    )
    lines.append(
        f"CPU seconds, {found['hz']:g} frames a second: {cpu['ours']:g} and {cpu['peer']:g}"
    )
    if refused := [row["clip"] for row in found["clips"] if row["ours"]["refused"]]:
        lines.append(f"ours publishes no count of {', '.join(refused)}: its passages are shown")
    return "\n".join(lines)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    beside = HERE.parents[2].parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--detector", type=Path, required=True, help="a detector as ONNX")
    parser.add_argument("--truck-class", type=int, default=COCO_TRUCK, help="COCO's by default")
    parser.add_argument("--layout", choices=("auto", *LAYOUTS), default="auto")
    parser.add_argument(
        "--size", type=int, default=640, help="input, where the model has none fixed"
    )
    parser.add_argument("--confidence", type=float, default=0.25, help="from which tracks begin")
    parser.add_argument("--root", type=Path, help="workspace to make, or to use again")
    shared = Path(os.environ.get("TRUCK_COUNTER_SHARED_DATA", beside))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with clips/")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(given)
    if not chosen.detector.is_file():
        parser.error(f"no such detector: {chosen.detector}")
    if not (chosen.shared / "clips").is_dir():
        parser.error(f"no clips with truth in {chosen.shared}: set TRUCK_COUNTER_SHARED_DATA")
    if importlib.util.find_spec("supervision") is None:
        parser.error('supervision is not installed: pip install "truck-counter[peer]"')
    return chosen


def main() -> None:
    """Count with both and print what came of it."""
    sys.path.insert(0, str(HERE.parents[2]))
    chosen = arguments()
    clips = chosen.shared / "clips"
    truths = real_clips().read_truths(clips)
    with tempfile.TemporaryDirectory() as folder:
        ours = count_ours(chosen.root or Path(folder), clips, truths)
    detector = Detector.open(chosen.detector, chosen.truck_class, chosen.layout, chosen.size)
    peer = {
        name: count_peer(detector, clips / t["clip"], t["zone"], HZ, chosen.confidence)
        for name, t in truths.items()
    }
    found = {**summary(truths, ours, peer), "hz": HZ, "layout": detector.layout}
    print(json.dumps(found) if chosen.json else as_text(found))


if __name__ == "__main__":
    main()
