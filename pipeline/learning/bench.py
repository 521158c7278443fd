"""How fast training and scoring are here, as ratios to what one would write without this project.

Ways are interleaved round by round in one process, each round in another order, and a ratio is the
median of the rounds' ratios: a machine that does other things too slows all ways alike. Training is
timed by the clock (a plain loader's workers are other processes), scoring in CPU seconds. Pictures
are made on the spot: ``448×448`` JPEGs of noise over blotches, half of them with a bright block.

* ``train_ratio``: the reference network, files in, weights out, the same pictures, epochs, batch,
  optimiser and flips. The other way: Pillow, torchvision transforms and a ``DataLoader`` with a
  worker per core, float32, eager; in a process of its own, which keeps no memory as ours does.
  Ours: :func:`dataset.from_files` and :func:`fitting.fit`.
* ``loader_ratio``: :func:`pictures.read_all` against reading and ``simplejpeg.decode_jpeg`` alone,
  on as many threads, both at full size.
* ``infer_ratio_engine``: bytes in, logits out, by the engine that training would choose, against
  the fastest of ONNX Runtime and OpenVINO called directly (of those that agree with torch).
* ``infer_ratio_eager``: the same against torch, float32, eager; the smaller of the networks'.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import cores

if TYPE_CHECKING:
    from pipeline.learning.models import NetSpec, TruckNet

Way = Callable[[], object]
Figures = dict[str, Any]

FILE_PX = 448
SIDE_PX = 335
NETWORK_PX = 224
ARCHES = ("resnet18", "mobilenet_v3_small")
TARGETS = {
    "train_ratio": 3.0,
    "loader_ratio": 0.85,
    "infer_ratio_engine": 0.9,
    "infer_ratio_eager": 4.0,
}


def bench_train(n: int = 128, epochs: int = 10, rounds: int = 3, seed: int = 0) -> Figures:
    """Measure training of the reference network and the picture loader.

    Returns:
        ``train_ratio`` and ``loader_ratio`` (above 1: ours is faster), ``pictures_per_s`` of each
        way, and what was done (``pictures``, ``epochs``, ``rounds``).
    """
    with tempfile.TemporaryDirectory() as folder, cores.pool(1) as apart:
        files = made_files(Path(folder), n, seed)
        training = interleaved(
            {
                "train": lambda: _ours(Path(folder), epochs, seed),
                "plain_train": lambda: apart.submit(_plain, files, epochs, seed).result(),
            },
            rounds,
        )
        loading = interleaved(
            {"load": lambda: _read(files), "bare_load": lambda: _bare_read(files)}, 2 * rounds + 1
        )
    speeds = {way: n * epochs / statistics.median(s) for way, s in training.items()}
    speeds |= {way: n / statistics.median(s) for way, s in loading.items()}
    return {
        "train_ratio": ratio(training, "plain_train", "train"),
        "loader_ratio": ratio(loading, "bare_load", "load"),
        "pictures_per_s": {way: round(speed, 1) for way, speed in speeds.items()},
        "pictures": n,
        "epochs": epochs,
        "rounds": rounds,
    }


def bench_infer(n: int = 64, rounds: int = 5, seed: int = 0) -> Figures:
    """Measure scoring by two well-known networks.

    Returns:
        ``infer_ratio_engine`` and ``infer_ratio_eager``, the smaller of the networks'; ``networks``
        with each one's ratios, engine and ``pictures_per_cpu_s`` of each way.
    """
    found = {arch: _network(arch, n, rounds, seed) for arch in ARCHES}
    smallest = {
        key: min(figures[key] for figures in found.values())
        for key in ("infer_ratio_engine", "infer_ratio_eager")
    }
    return {**smallest, "networks": found, "pictures": n, "rounds": rounds}


def pictures_per_s(net: TruckNet, spec: NetSpec, n: int = 8, rounds: int = 2) -> float:
    """Return how many pictures a second a network scores in torch here: the best of some rounds."""
    from pipeline.learning.engines import torch_engine

    engine, shape = torch_engine(net), (n, spec.channels, spec.height, spec.width)
    pixels = np.zeros(shape, dtype=np.uint8)
    spent = interleaved({"net": lambda: engine(pixels)}, rounds)
    return round(n / min(spent["net"]), 1)


def interleaved(
    ways: Mapping[str, Way], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Run every way once to warm up, then ``rounds`` times in turn; return seconds per way."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for number in range(rounds):
        names = list(ways) if number % 2 else list(ways)[::-1]
        for name in names:
            started = clock()
            ways[name]()
            spent[name].append(clock() - started)
    return spent


def ratio(spent: Mapping[str, list[float]], other: str, ours: str) -> float:
    """Return how many times faster ``ours`` is than ``other``: the median over the rounds.

    >>> ratio({"a": [2.0, 9.0, 4.0], "b": [1.0, 1.0, 2.0]}, "a", "b")
    2.0
    """
    pairs = zip(spent[other], spent[ours], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)


def as_text(figures: Figures) -> str:
    """Word the figures for a person."""
    lines = []
    for key, target in TARGETS.items():
        if key in figures:
            lines.append(f"{key:<19} {figures[key]:6.2f}   (aim: {target:g} or more)")
    for name, network in figures.get("networks", {"": figures}).items():
        unit = "pictures_per_cpu_s" if name else "pictures_per_s"
        speeds = ", ".join(f"{way} {v:,.0f}" for way, v in network[unit].items())
        chosen = f"{name} by {network['engine']}: " if name else ""
        lines.append(f"{chosen}{speeds} {unit.replace('_', ' ')}")
    return "\n".join(lines)


def made_pictures(n: int, side: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return ``uint8[n, side, side, 3]`` and which of them hold a bright block (every second)."""
    import cv2

    rng = np.random.default_rng(seed)
    out = np.empty((n, side, side, 3), dtype=np.uint8)
    for i in range(n):
        coarse = rng.integers(60, 150, (12, 12, 3)).astype(np.uint8)
        blotches = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        grain = rng.integers(0, 24, (side, side, 1), dtype=np.uint8)
        out[i] = cv2.add(blotches, np.repeat(grain, 3, axis=2))
        if i % 2:
            y, x = rng.integers(side // 8, side // 2, 2)
            out[i, y : y + side // 4, x : x + side // 3] |= 128
    return out, np.arange(n) % 2 == 1


def made_files(folder: Path, n: int, seed: int) -> list[Path]:
    """Write ``n`` JPEGs and their ``labels.csv``; return the pictures' paths."""
    import simplejpeg

    pixels, trucks = made_pictures(n, FILE_PX, seed)
    paths, lines = [], ["file,label"]
    for i, (picture, truck) in enumerate(zip(pixels, trucks, strict=True)):
        paths.append(folder / f"{i:05}.jpg")
        paths[-1].write_bytes(simplejpeg.encode_jpeg(picture, quality=88, colorspace="RGB"))
        lines.append(f"{paths[-1].name},{'truck' if truck else 'no_truck'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def _ours(folder: Path, epochs: int, seed: int) -> None:
    """Train as the ``train`` command does, but for augmentation beyond flips."""
    import torch

    from pipeline.learning import dataset, recipes
    from pipeline.learning.augment import Augment
    from pipeline.learning.fitting import Lesson, fit
    from pipeline.learning.options import TrainOptions

    labelled = dataset.from_files(folder, folder / "labels.csv", SIDE_PX)
    asked = TrainOptions(arch="reference", epochs=epochs, batch_size=64, ema=0.0)
    options = recipes.resolve(asked, "photograph", len(labelled))
    lesson = Lesson(
        torch.from_numpy(labelled.pixels),
        torch.from_numpy(labelled.p),
        torch.ones(len(labelled)),
    )
    fit(_reference(seed), lesson, options, Augment(flip=True), seed=seed)


def _plain(files: list[Path], epochs: int, seed: int) -> None:
    """Train as a tutorial does."""
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(seed)
    net = _reference(seed).body
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    batches: Any = DataLoader(
        PillowFiles(files),  # type: ignore[arg-type]
        batch_size=64,
        shuffle=True,
        num_workers=cores.usable(),
        persistent_workers=True,
        multiprocessing_context="fork",  # as Linux has it by default; spawned ones start slowly
    )
    net.train()
    for _ in range(epochs):
        for pictures, target in batches:
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(pictures).flatten(), target.float()
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


class PillowFiles:
    """A torch data set over picture files: every second one a truck, as :func:`made_files` does."""

    def __init__(self, files: list[Path]) -> None:
        from torchvision import transforms

        self.files = files
        self.change = transforms.Compose(
            [
                transforms.Resize((SIDE_PX, SIDE_PX)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.45] * 3, [0.25] * 3),
            ]
        )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        """Return one picture ``float32[3, h, w]`` and whether it shows a truck."""
        from PIL import Image

        with Image.open(self.files[i]) as picture:
            return self.change(picture.convert("RGB")), i % 2


def _reference(seed: int) -> TruckNet:
    import torch

    from pipeline.learning.models import NetSpec, build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("reference", NetSpec(3, SIDE_PX, SIDE_PX))


def _read(files: list[Path]) -> None:
    from pipeline.learning import pictures

    pictures.read_all(files, lambda rgb: rgb)


def _bare_read(files: list[Path]) -> None:
    import simplejpeg

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), files))


def _network(arch: str, n: int, rounds: int, seed: int) -> Figures:
    from pipeline.learning import checkpoints, engines

    net, pixels = _taught(arch, n, seed)
    shape = {"channels": 3, "height": NETWORK_PX, "width": NETWORK_PX}
    onnx = checkpoints.to_onnx(net, shape)
    chosen, measured = engines.fastest(net, onnx, pixels)
    batch = int(measured[chosen]["batch"])
    ours = engines.engine_of(chosen, net, onnx, pixels, batch)
    ways: dict[str, Way] = {"ours": lambda: ours(pixels), "eager": lambda: _eager(net, pixels)}
    bare = bare_engines(onnx, pixels, {k for k, v in measured.items() if v["agrees"]})
    spent = interleaved(ways | bare, rounds, time.process_time)
    return {
        "infer_ratio_engine": min(ratio(spent, name, "ours") for name in bare),
        "infer_ratio_eager": ratio(spent, "eager", "ours"),
        "engine": chosen,
        "batch": batch,
        "chosen_among": measured,
        "pictures_per_cpu_s": {way: round(n / statistics.median(s), 1) for way, s in spent.items()},
    }


def _taught(arch: str, n: int, seed: int) -> tuple[TruckNet, NDArray[np.uint8]]:
    """Return a network that tells the blocks, and pictures: its head is fitted, the rest drawn.

    An untaught network says "as likely as not" to everything, and then no engine can agree on its
    decisions. Least squares on the values before the last layer takes seconds.
    """
    import torch

    from pipeline.learning.models import NetSpec, build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(arch, NetSpec(3, NETWORK_PX, NETWORK_PX)).eval()
    shown, trucks = made_pictures(n, NETWORK_PX, seed)
    pixels = np.ascontiguousarray(shown.transpose(0, 3, 1, 2))
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(torch.from_numpy(pixels))
        hook.remove()
        x = seen[0].double()
        centred = x - x.mean(dim=0)
        target = torch.from_numpy(np.where(trucks, 4.0, -4.0))
        ridge = 0.1 * float((centred**2).sum(dim=1).mean()) * torch.eye(len(x)).double()
        weight = centred.T @ torch.linalg.solve(centred @ centred.T + ridge, target)
        head.weight.copy_(weight[None].float())
        head.bias.copy_(-(x.mean(dim=0) @ weight)[None].float())
    return net, pixels


def _eager(net: TruckNet, pixels: NDArray[np.uint8], batch: int = 32) -> None:
    import torch

    with torch.no_grad():
        for i in range(0, len(pixels), batch):
            net(torch.from_numpy(pixels[i : i + batch]))


def bare_engines(onnx: bytes, pixels: NDArray[np.uint8], agreeing: set[str]) -> dict[str, Way]:
    """Return the engines as their manuals show them, the ones whose answers may be used."""
    import onnxruntime
    import openvino

    ways: dict[str, Way] = {}
    if "onnxruntime" in agreeing:
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        ways["bare_onnxruntime"] = lambda: session.run(None, {"pictures": pixels})
    core = openvino.Core()
    for name, precision in (("openvino", "f32"), ("openvino_bf16", "bf16")):
        if name in agreeing:
            settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
            graph = core.read_model(onnx, b"")
            ways[f"bare_{name}"] = _queued(core.compile_model(graph, "CPU", settings), pixels)
    return ways


def _queued(compiled: Any, pixels: NDArray[np.uint8], batch: int = 8) -> Way:  # noqa: ANN401
    import openvino

    queue = openvino.AsyncInferQueue(compiled)

    def run() -> None:
        for i in range(0, len(pixels), batch):
            queue.start_async({0: pixels[i : i + batch]})
        queue.wait_all()

    return run
