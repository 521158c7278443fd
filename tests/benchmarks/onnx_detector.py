"""Boxes of trucks from whatever small detector a tester has as an ONNX file.

The usual exports differ in how their one output is laid out, C classes and N candidate boxes:

``yolox-raw``  [1, N, 5+C]  centre and log size relative to the cell of a grid (8, 16, 32 pixels)
``yolox``      [1, N, 5+C]  the same, already in pixels: x, y, w, h, objectness, class scores
``yolov5``     [1, N, 5+C]  in pixels, several anchors to a cell
``yolov8``     [1, 4+C, N]  in pixels: x, y, w, h, class scores
``end-to-end`` [1, N, 6]    in pixels, nothing left to suppress: x0, y0, x1, y1, score, class

The input is float [1, 3, H, W]: letterboxed into the top left corner on grey 114; YOLOX exports
take blue, green, red in 0-255, the others red, green, blue in 0-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAYOUTS = ("yolox-raw", "yolox", "yolov5", "yolov8", "end-to-end")
STRIDES = (8, 16, 32)
GREY = 114
COCO_TRUCK = 7
OVERLAP = 0.45  # boxes of one class that overlap more are one vehicle

Array = NDArray[np.float32]


def cells(size: tuple[int, int]) -> NDArray[np.float32]:
    """Return float32[N, 3]: column, row and stride of every grid cell of an input (H, W)."""
    rows = []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        rows.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(rows).astype(np.float32)


def layout_of(output: Array, size: tuple[int, int]) -> str:
    """Tell how an output [1, N, K] or [1, K, N] is laid out.

    Raises:
        ValueError: it is none of the layouts known.
    """
    if output.ndim != 3 or output.shape[0] != 1 or min(output.shape[1:]) < 5:
        raise ValueError(f"an output of shape {output.shape} is none of {', '.join(LAYOUTS)}")
    _, first, last = output.shape
    count = cells(size).shape[0]
    if last == 6 and first not in (count, 3 * count):
        return "end-to-end"
    if first == count:  # one box to a cell; a raw offset is a fraction of it
        return "yolox-raw" if float(np.abs(output[0, :, :2]).max()) < 0.25 * max(size) else "yolox"
    return "yolov8" if first < last else "yolov5"


def decode(
    output: Array, size: tuple[int, int], truck_class: int, layout: str = "auto"
) -> tuple[Array, Array]:
    """Return float32[n, 4] boxes x0, y0, x1, y1 in input pixels and float32[n] truck scores.

    Only candidates whose best class is ``truck_class`` are kept; nothing is suppressed yet.
    """
    kind = layout_of(output, size) if layout == "auto" else layout
    rows = output[0].T if kind == "yolov8" else output[0]
    if kind == "end-to-end":
        keep = rows[:, 5].round() == truck_class
        return rows[keep, :4], rows[keep, 4]
    scores = rows[:, 4:] if kind == "yolov8" else rows[:, 5:] * rows[:, 4:5]
    if truck_class >= scores.shape[1]:
        raise ValueError(f"class {truck_class} of {scores.shape[1]}: give --truck-class")
    keep = scores.argmax(axis=1) == truck_class
    centre, sides = rows[keep, :2], rows[keep, 2:4]
    if kind == "yolox-raw":
        place = cells(size)[keep]
        centre = (centre + place[:, :2]) * place[:, 2:]
        sides = np.exp(sides) * place[:, 2:]
    return np.hstack([centre - sides / 2, centre + sides / 2]), scores[keep, truck_class]


def letterbox(rgb: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], float]:
    """Fit a picture into the top left of an input (H, W); return it and the scale."""
    import cv2

    scale = min(size[0] / rgb.shape[0], size[1] / rgb.shape[1])
    height, width = round(rgb.shape[0] * scale), round(rgb.shape[1] * scale)
    fitted = np.full((*size, 3), GREY, dtype=np.uint8)
    fitted[:height, :width] = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    return fitted, scale


@dataclass
class Detector:
    """An ONNX detector: pictures in, trucks out."""

    session: Any
    size: tuple[int, int]
    truck_class: int
    layout: str
    least: float

    @classmethod
    def open(
        cls,
        path: Path,
        truck_class: int = COCO_TRUCK,
        layout: str = "auto",
        default_size: int = 640,
        least: float = 0.1,
    ) -> Detector:
        """Open a model; where its input has no fixed size, ``default_size`` square is used."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as ours: CPU seconds, not wall time, are compared
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        shape = session.get_inputs()[0].shape
        height, width = (n if isinstance(n, int) and n > 0 else default_size for n in shape[2:4])
        found = cls(session, (height, width), truck_class, layout, least)
        if layout == "auto":
            found.layout = layout_of(found._blank(), found.size)
        return found

    def _blank(self) -> Array:
        """Return what the model says to a grey picture, fed as YOLOX is: to see its layout."""
        return self._run(np.full((*self.size, 3), GREY, dtype=np.float32))

    def _run(self, picture: NDArray[np.float32]) -> Array:
        given = self.session.get_inputs()[0]
        kind = np.float16 if given.type == "tensor(float16)" else np.float32
        pixels = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=kind)
        return np.asarray(self.session.run(None, {given.name: pixels})[0], dtype=np.float32)

    def trucks(self, rgb: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Return boxes in the picture's own pixels and their scores, overlapping ones as one."""
        import cv2

        fitted, scale = letterbox(rgb, self.size)
        if self.layout.startswith("yolox"):
            shown = fitted[:, :, ::-1].astype(np.float32)
        else:
            shown = fitted.astype(np.float32) / 255
        boxes, scores = decode(self._run(shown), self.size, self.truck_class, self.layout)
        keep = scores >= self.least
        boxes, scores = boxes[keep] / scale, scores[keep]
        if self.layout == "end-to-end" or not len(boxes):
            return boxes, scores
        corner = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).tolist()
        kept = np.array(cv2.dnn.NMSBoxes(corner, scores.tolist(), self.least, OVERLAP), dtype=int)
        return boxes[kept.ravel()], scores[kept.ravel()]
