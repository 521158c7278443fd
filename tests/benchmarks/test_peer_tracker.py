"""The peer's detector on hand-made ONNX graphs: every export layout gives the box put into it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SIZE = (64, 96)  # rows, columns of the input: 96 + 24 + 6 grid cells
N = 126
BOX = (20.0, 12.0, 60.0, 36.0)  # a truck in input pixels: centre (40, 24), 40 by 24
CENTRE = (40.0, 24.0, 40.0, 24.0)
CLASSES = 8  # COCO's up to truck, which is 7


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import peer_tracker

    return peer_tracker


@pytest.fixture
def detectors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import onnx_detector

    return onnx_detector


def raw() -> np.ndarray:
    """YOLOX before decoding: cell 77 is row 6, column 5 of the 8-pixel grid, 12 cells wide."""
    rows = np.zeros((N, 5 + CLASSES), np.float32)
    cell = 3 * 12 + 5  # left edge 40, top 24: the box's centre is its corner
    rows[cell, :4] = 0.0, 0.0, np.log(40 / 8), np.log(24 / 8)
    rows[cell, 4], rows[cell, 5 + 7] = 0.9, 0.8
    return rows[None]


def in_pixels(count: int, objectness: bool) -> np.ndarray:
    """A truck twice (the weaker to be suppressed), a car, and candidates spread as cells are."""
    first = 5 if objectness else 4
    rows = np.zeros((count, first + CLASSES), np.float32)
    rows[:, 0], rows[:, 1] = np.linspace(0, SIZE[1], count), np.linspace(0, SIZE[0], count)
    rows[:, 2:4] = 8.0
    for at, box, label, score in (
        (3, CENTRE, 7, 0.8),
        (4, (41.0, 24.0, 40.0, 24.0), 7, 0.5),
        (5, (80.0, 50.0, 10.0, 10.0), 2, 0.9),
    ):
        rows[at, :4], rows[at, first + label] = box, score
        if objectness:
            rows[at, 4] = 0.9
    return rows[None]


def end_to_end() -> np.ndarray:
    rows = np.zeros((30, 6), np.float32)
    rows[0] = *BOX, 0.72, 7
    rows[1] = 0, 0, 20, 20, 0.9, 2
    return rows[None]


OUTPUTS = {
    "yolox-raw": (raw(), 0.72),
    "yolox": (in_pixels(N, objectness=True), 0.72),
    "yolov5": (in_pixels(3 * N, objectness=True), 0.72),
    "yolov8": (in_pixels(N, objectness=False).transpose(0, 2, 1), 0.8),
    "end-to-end": (end_to_end(), 0.72),
}


def write_graph(path: Path, output: np.ndarray, fixed: bool = True) -> Path:
    """Write a model that says ``output`` times the brightness of its input's top left pixel."""
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.FLOAT
    side = list(SIZE) if fixed else ["h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["images", "zero", "one", "axes"], ["corner"]),
            helper.make_node("ReduceMean", ["corner"], ["mean"], keepdims=0),
            helper.make_node("Sign", ["mean"], ["lit"]),  # 1 whatever the scale of pixels
            helper.make_node("Mul", ["said", "lit"], ["boxes"]),
        ],
        "detector",
        [helper.make_tensor_value_info("images", kind, [1, 3, *side])],
        [helper.make_tensor_value_info("boxes", kind, list(output.shape))],
        [
            numpy_helper.from_array(np.ascontiguousarray(output), "said"),
            numpy_helper.from_array(np.array([0, 0]), "zero"),
            numpy_helper.from_array(np.array([1, 1]), "one"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("layout", OUTPUTS)
def test_each_layout_is_told_apart_and_gives_the_truck(
    detectors: ModuleType, tmp_path: Path, layout: str
) -> None:
    output, score = OUTPUTS[layout]
    found = detectors.Detector.open(write_graph(tmp_path / "d.onnx", output))
    assert (found.layout, found.size) == (layout, SIZE)
    # Twice as large a picture, not as wide: scale 1/2, grey on the right, boxes in its own pixels.
    boxes, scores = found.trucks(np.full((128, 160, 3), 200, np.uint8))
    assert boxes == pytest.approx(np.array([BOX]) * 2, abs=1e-3)
    assert scores == pytest.approx([score], abs=1e-5)


def test_a_dark_picture_has_no_truck(detectors: ModuleType, tmp_path: Path) -> None:
    found = detectors.Detector.open(write_graph(tmp_path / "d.onnx", OUTPUTS["yolov8"][0]))
    boxes, scores = found.trucks(np.zeros((64, 96, 3), np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_another_class_can_be_the_truck(detectors: ModuleType, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", OUTPUTS["yolov8"][0])
    boxes, _ = detectors.Detector.open(path, truck_class=2).trucks(
        np.full((64, 96, 3), 9, np.uint8)
    )
    assert boxes == pytest.approx(np.array([[75.0, 45.0, 85.0, 55.0]]))
    with pytest.raises(ValueError, match="class 80 of 8"):
        detectors.Detector.open(path, truck_class=80).trucks(np.full((64, 96, 3), 9, np.uint8))


def test_an_input_without_a_size_takes_the_given_one(detectors: ModuleType, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", end_to_end(), fixed=False)
    assert detectors.Detector.open(path, default_size=320).size == (320, 320)


def test_an_unknown_output_is_refused(detectors: ModuleType, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "d.onnx", np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match=r"shape \(1, 3\) is none of yolox-raw"):
        detectors.Detector.open(path)


def test_pictures_are_fitted_into_the_top_left(detectors: ModuleType) -> None:
    fitted, scale = detectors.letterbox(np.full((128, 160, 3), 7, np.uint8), SIZE)
    assert scale == 0.5
    assert (fitted[:, :80] == 7).all()
    assert (fitted[:, 80:] == 114).all()


@pytest.mark.skipif(
    importlib.util.find_spec("supervision") is None, reason="extra `peer` is not installed"
)
def test_a_track_is_counted_once_in_the_zone_and_across_it(
    peer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box 20 wide crosses a zone of columns 40-80 from left to right, 4 pixels a frame."""
    from pipeline.footage import video

    class Moving:
        at = 0.0

        def trucks(self, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            self.at += 4.0
            box = [self.at, 30.0, self.at + 20.0, 50.0]
            return np.array([box], np.float32), np.array([0.9], np.float32)

    blank = np.zeros((80, 120, 3), np.uint8)
    frames = [video.Frame(i / 10, blank) for i in range(25)]
    monkeypatch.setattr(video, "read_at", lambda *_: iter(frames))
    monkeypatch.setattr(video, "probe", lambda _: type("P", (), {"duration_s": 2.5}))
    zone = [[1 / 3, 0.25], [2 / 3, 0.25], [2 / 3, 0.75], [1 / 3, 0.75]]
    row = peer.count_peer(Moving(), Path("clip"), zone, 10.0, 0.25)
    assert (row["zone"], row["line"]) == (1, 1)
    aside = [[x, y / 4] for x, y in zone]  # above the road
    row = peer.count_peer(Moving(), Path("clip"), aside, 10.0, 0.25)
    assert (row["zone"], row["line"]) == (0, 0)


def test_errors_are_summed_by_clip(peer: ModuleType) -> None:
    truths = {"a": {"passages": [{}]}, "b": {"passages": []}}
    ours = {
        "a": {"count": 0.9, "refused": False, "cpu_s": 1.0},
        "b": {"count": 0.25, "refused": True, "cpu_s": 0.5},
    }
    theirs = {
        "a": {"zone": 2, "line": 1, "cpu_s": 3.0},
        "b": {"zone": 1, "line": 0, "cpu_s": 2.0},
    }
    found = peer.summary(truths, ours, theirs)
    assert found["count_error"] == {"ours": 0.35, "peer_zone": 2, "peer_line": 0}
    assert found["cpu_s"] == {"ours": 1.5, "peer": 5.0}
    assert found["trucks"] == 1
    text = peer.as_text({**found, "hz": 10.0})
    assert "over 1 trucks: ours 0.35" in text
    assert "publishes no count of b: its passages" in text
