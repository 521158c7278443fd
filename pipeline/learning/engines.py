"""Ways of running a trained network, one interface: ``engine(uint8[n, c, h, w]) → float32[n]``.

Torch is the reference; ONNX Runtime and OpenVINO run the exported graph, faster. ``auto`` takes the
fastest that agrees with torch on given pictures: same decisions on at least 99.9%, probabilities
within 0.02. Pictures go in as bytes, logits come out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.store import Workspace

if TYPE_CHECKING:
    from pipeline.learning.models import TruckNet

Engine = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
NAMES = ("torch", "onnxruntime", "openvino", "openvino_bf16")
BATCH = 64
SAME_DECISIONS = 0.999
NEAR = 0.02


def open_engine(ws: Workspace, model_id: str, name: str = "auto", threads: int = 0) -> Engine:
    """Return an engine for a model; ``auto`` takes the one its card found fastest."""
    from pipeline.learning import cards

    card = cards.load_card(ws, model_id)
    if name == "auto":
        name = card.get("engine", "torch")
    if name == "torch":
        from pipeline.learning import checkpoints

        return torch_engine(checkpoints.load_model(ws, model_id)[0])
    path = str(ws.model(model_id) / cards.ONNX)
    if name == "onnxruntime":
        return onnxruntime_engine(path, threads)
    if name in ("openvino", "openvino_bf16"):
        return openvino_engine(path, threads, "bf16" if name.endswith("bf16") else "f32")
    raise InputError(f"unknown engine {name!r}.", f"Choose auto, {', '.join(NAMES)}.")


def torch_engine(net: TruckNet) -> Engine:
    """Run the network in torch, on whatever device it lies."""
    import torch

    from pipeline.learning.fitting import logits_of

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = logits_of(net, torch.from_numpy(np.ascontiguousarray(pixels)), BATCH)
        return np.asarray(logits.numpy(), dtype=np.float32)

    return run


def onnxruntime_engine(model: str | bytes, threads: int = 0) -> Engine:
    """Run an exported graph in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [session.run(None, {"pictures": part})[0] for part in _batches(pixels)]
        return _joined(parts)

    return run


def openvino_engine(model: str | bytes, threads: int = 0, precision: str = "f32") -> Engine:
    """Run an exported graph in OpenVINO on the CPU, in ``f32`` or ``bf16``.

    bfloat16 keeps three significant digits: faster where the processor has it, and now and then too
    coarse to agree with torch.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    graph = core.read_model(model) if isinstance(model, str) else core.read_model(model, b"")
    compiled = core.compile_model(graph, "CPU", settings)

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [next(iter(compiled({0: part}).values())) for part in _batches(pixels)]
        return _joined([np.array(part) for part in parts])

    return run


def agreeing(
    reference: NDArray[np.float32], other: NDArray[np.float32], temperature: float = 1.0
) -> bool:
    """Tell whether two engines' logits say the same."""
    a, b = _p(reference / temperature), _p(other / temperature)
    same = float(((a >= 0.5) == (b >= 0.5)).mean()) if len(a) else 1.0
    return same >= SAME_DECISIONS and float(np.abs(a - b).max(initial=0.0)) <= NEAR


def fastest(
    net: TruckNet, onnx: bytes, pixels: NDArray[np.uint8]
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the fastest engine that agrees with torch on ``pixels``, and what was measured."""
    makers: dict[str, Callable[[], Engine]] = {
        "torch": lambda: torch_engine(net),
        "onnxruntime": lambda: onnxruntime_engine(onnx),
        "openvino": lambda: openvino_engine(onnx),
        "openvino_bf16": lambda: openvino_engine(onnx, precision="bf16"),
    }
    expected = makers["torch"]()(pixels)
    found: dict[str, dict[str, Any]] = {}
    for name, make in makers.items():
        engine = make()
        agrees = agreeing(expected, engine(pixels))
        found[name] = {"agrees": agrees, "pictures_per_s": round(_rate(engine, pixels), 1)}
    best = max((n for n in found if found[n]["agrees"]), key=lambda n: found[n]["pictures_per_s"])
    return best, found


def _rate(engine: Engine, pixels: NDArray[np.uint8], seconds: float = 0.5) -> float:
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        engine(pixels)
        done += len(pixels)
    return done / (time.perf_counter() - started)


def _batches(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    n = math.ceil(len(pixels) / BATCH)
    return [np.ascontiguousarray(pixels[i * BATCH : (i + 1) * BATCH]) for i in range(n)]


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if not parts:
        return np.zeros(0, dtype=np.float32)
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)


def _p(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -60, 60).astype(np.float64))))
