"""One page about one network: what it looks at, where it fails, what its first layers are made of.

The page is a file of its own, ``reports/models/<model id>.html``. Errors and slices are told of
labelled pictures (a campaign's, or a label file's); labels that taught the network are said to
have. Heat is drawn over the picture in yellow to red, each map scaled to its own highest value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import store
from pipeline.learning import slices
from pipeline.pages import charts, parts

if TYPE_CHECKING:
    from markupsafe import Markup

    from pipeline.learning.dataset import Labelled
    from pipeline.learning.models import TruckNet
    from pipeline.store import Workspace

Row = dict[str, Any]
Pixels = NDArray[np.uint8]

TILE_PX = 168
ERRORS = 12
LOOKED_AT = 6
MAPS_PER_LAYER = 12


@dataclass(frozen=True)
class Judged:
    """Labelled pictures, the network's probabilities of a truck, and how many taught it."""

    labelled: Labelled
    p: NDArray[np.float64]
    taught: int = 0
    timezones: Mapping[str, str] | None = None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which were judged wrongly."""
        return np.asarray((self.p >= 0.5) != (self.labelled.truth == 1), dtype=bool)


@dataclass(frozen=True)
class Looked:
    """Pictures to explain, what is said below each, and the network's probability of a truck."""

    pixels: Pixels
    words: Sequence[str]
    p: NDArray[np.float64]


def write_network(
    ws: Workspace,
    net: TruckNet,
    card: Row,
    looked: Looked,
    judged: Judged | None = None,
    attention: Mapping[str, Row] | None = None,
) -> Path:
    """Write the page of a network; return its path."""
    path = ws.reports / "models" / f"{store.checked_name(card['model_id'], 'model')}.html"
    html = parts.render(
        "network.html.j2",
        card=card,
        looked=_looked(net, looked),
        attention=[{"kind": kind, **row} for kind, row in (attention or {}).items()],
        judged=judged,
        errors=_errors(judged) if judged else [],
        slices=worst_slices(judged) if judged else [],
        overall=float(judged.wrong.mean()) if judged else None,
        kernels=_kernels(net),
        curves=[
            {"name": name, "chart": curve_chart(name, rows), "last": rows[-1]}
            for name, rows in card.get("curve", {}).items()
            if len(rows) > 1
        ],
        layers=_layers(net, looked),
        share=lambda value: "–" if value is None else parts.percent(value),
    )
    store.write_bytes(path, html.encode())
    return path


def curve_chart(name: str, rows: Sequence[Mapping[str, float]]) -> Markup:
    """Draw a course of training: loss on what was taught, and on the validation part if any."""
    width, height, left, foot = 420, 150, 44, 22
    kinds = [kind for kind in ("loss", "validation_loss") if kind in rows[0]]
    top = max(row[kind] for row in rows for kind in kinds) or 1.0

    def at(epoch: int, loss: float) -> str:
        x = left + epoch / (len(rows) - 1) * (width - left - 10)
        return f"{x:.1f},{height - foot - loss / top * (height - foot - 12):.1f}"

    parts_ = [
        charts.tag(
            "line", class_="axis", x1=left, x2=width - 10, y1=height - foot, y2=height - foot
        ),
        charts.tag("text", f"{top:.2g}", class_="end", x=left - 6, y=16),
        charts.tag("text", "0", class_="end", x=left - 6, y=height - foot + 4),
        charts.tag("text", f"{len(rows)} epochs", class_="end", x=width - 10, y=height - 6),
    ]
    for kind in kinds:
        points = " ".join(at(i, row[kind]) for i, row in enumerate(rows))
        style = "fill:none" if kind == "loss" else "fill:none;stroke:var(--truth)"
        parts_.append(charts.tag("polyline", class_="line", points=points, style=style))
    said = "; ".join(f"{kind.replace('_', ' ')} ends at {rows[-1][kind]:.3g}" for kind in kinds)
    return charts.svg(parts_, width, height, f"Loss by epoch, {name}", f"{said}.")


def examples(judged: Judged, most: int = LOOKED_AT) -> Looked:
    """Return pictures worth explaining: the surest errors, then the surest of each kind."""
    sure = np.abs(judged.p - 0.5)
    truth = judged.labelled.truth == 1
    picked: list[int] = []
    for at in (judged.wrong, ~judged.wrong & truth, ~judged.wrong & ~truth):
        rows = np.flatnonzero(at)
        picked += rows[np.argsort(-sure[rows], kind="stable")][: -(-most // 3)].tolist()
    labelled = judged.labelled
    words = [f"{labelled.names[i]}, labelled {_label(labelled.truth[i])}" for i in picked]
    return Looked(labelled.pixels[picked], words, judged.p[picked])


def _looked(net: TruckNet, looked: Looked) -> list[Row]:
    from pipeline.learning import explain

    if not len(looked.pixels):
        return []
    heats = {
        "Grad-CAM": explain.grad_cam(net, looked.pixels),
        "HiResCAM": explain.hires_cam(net, looked.pixels),
        "Occlusion": explain.occlusion(net, looked.pixels),
    }
    rows = []
    for i, pixels in enumerate(looked.pixels):
        rgb = _rgb(pixels)
        shown = {name: tile(over(rgb, heat[i])) for name, heat in heats.items()}
        rows.append(
            {"picture": tile(rgb), "heat": shown, "p": looked.p[i], "said": looked.words[i]}
        )
    return rows


def _errors(judged: Judged) -> list[Row]:
    labelled = judged.labelled
    rows = np.flatnonzero(judged.wrong)
    sure = np.abs(judged.p[rows] - 0.5)
    return [
        {
            "picture": tile(_rgb(labelled.pixels[i])),
            "name": labelled.names[i],
            "label": _label(labelled.truth[i]),
            "p": judged.p[i],
        }
        for i in rows[np.argsort(-sure, kind="stable")][:ERRORS].tolist()
    ]


def worst_slices(judged: Judged) -> list[slices.Slice]:
    """Return the slices with surely more errors than the rest."""
    rows = np.arange(len(judged.p))
    return slices.worst(slices.named(judged.labelled, rows, judged.timezones), judged.wrong)


def _kernels(net: TruckNet) -> list[str]:
    """Return the first kernels as pictures: RGB, and crop − background where there is one."""
    from pipeline.learning import explain

    kernels = explain.first_kernels(net)
    found = []
    for part in np.split(kernels, range(3, kernels.shape[1], 3), axis=1) if len(kernels) else []:
        most = float(np.abs(part).max()) or 1.0
        shown = np.clip(part / most * 127 + 128, 0, 255).astype(np.uint8)
        found.append(tile(mosaic(list(shown.transpose(0, 2, 3, 1))), 480))
    return found


def _layers(net: TruckNet, looked: Looked) -> list[Row]:
    from pipeline.learning import explain

    if not len(looked.pixels):
        return []
    return [
        {
            "name": name,
            "size": "×".join(map(str, maps.shape)),
            "picture": tile(mosaic([_grey(m) for m in _liveliest(maps)]), 900),
        }
        for name, maps in explain.feature_maps(net, looked.pixels[:1]).items()
    ]


def _liveliest(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    order = np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:MAPS_PER_LAYER]
    return maps[np.sort(order)]


def _grey(values: NDArray[np.float32]) -> Pixels:
    low, high = float(values.min()), float(values.max())
    level = (values - low) / (high - low or 1.0) * 255
    return np.repeat(level.astype(np.uint8)[..., None], 3, axis=2)


def mosaic(pictures: Sequence[Pixels], columns: int = 12, gap: int = 1) -> Pixels:
    """Lay pictures of one size out in rows, white lines between.

    >>> mosaic([np.zeros((2, 3, 3), np.uint8)] * 3, columns=2).shape
    (5, 7, 3)
    """
    height, width = pictures[0].shape[:2]
    across = min(columns, len(pictures))
    rows = -(-len(pictures) // across)
    shape = (rows * (height + gap) - gap, across * (width + gap) - gap, 3)
    out = np.full(shape, 255, dtype=np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // across * (height + gap), i % across * (width + gap)
        out[y : y + height, x : x + width] = picture
    return out


def over(rgb: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """Draw heat ``[h, w]`` over a picture: nothing stays the picture, the highest is red."""
    import cv2

    level = (heat / (float(heat.max()) or 1.0))[..., None]
    colours = cv2.applyColorMap((255 - level * 200).astype(np.uint8), cv2.COLORMAP_AUTUMN)
    blend = rgb * (1 - 0.65 * level) + colours[..., ::-1] * (0.65 * level)
    return np.asarray(blend, dtype=np.uint8)


def tile(rgb: Pixels, longest: int = TILE_PX) -> str:
    """Return a picture as a data address, its longer side ``longest`` pixels or a little less."""
    import cv2
    import simplejpeg

    factor = longest / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST if factor > 4 else cv2.INTER_CUBIC
    shown = np.ascontiguousarray(cv2.resize(np.ascontiguousarray(rgb), size, interpolation=how))
    return parts.picture(bytes(simplejpeg.encode_jpeg(shown, quality=85, colorspace="RGB")))


def _rgb(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:3].transpose(1, 2, 0))


def _label(truth: int) -> str:
    return "truck" if truth else "no truck"
