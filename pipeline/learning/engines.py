"""Ways of running a trained network, one interface: ``engine(uint8[n, c, h, w]) → float32[n]``.

Torch is the reference; ONNX Runtime and OpenVINO run the exported graph, faster. ``auto`` takes the
fastest that agrees with torch on given pictures: same decisions on at least 99.9%, probabilities
within 0.02, both as calibrated. Pictures go in as bytes, logits come out. ``openvino_int8`` runs a
graph of its own (:mod:`quantise`), made only for networks slow enough to be worth it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import cores, store
from pipeline.errors import InputError, ModelError
from pipeline.learning.calibration import THRESHOLD, Calibration
from pipeline.learning.quantise import quantised
from pipeline.store import Workspace

if TYPE_CHECKING:
    from pipeline.learning.models import TruckNet

NAMES = ("torch", "onnxruntime", "openvino", "openvino_bf16", "openvino_int8")
INT8 = "openvino_int8"
COARSE = ("openvino_bf16", INT8)
BATCH = 64
BATCHES = (8, 64)
SAME_DECISIONS = 0.999
NEAR = 0.02
PLAIN = Calibration()  # none
CLEARLY = 1.2  # how much faster a coarser engine must be than a finer one to be taken
SAMPLE = 256  # pictures to quantise by and, at the least, to judge by
JUDGED_S, MOST = 10.0, 1024  # seconds that torch may take to judge by more of them; most at all
ROUNDS, ROUND_S = 3, 0.25  # of measuring; seconds that torch would take for one
WORTH_QUANTISING = 500.0  # pictures a second in torch; what is faster waits for the decoder anyway


class Engine(Protocol):
    """Bytes ``uint8[n, c, h, w]`` in, logits ``float32[n]`` out, ``batch`` pictures at a time."""

    def __call__(self, pixels: NDArray[np.uint8], batch: int = BATCH) -> NDArray[np.float32]:
        """Score ``pixels``."""


def open_engine(ws: Workspace, model_id: str, name: str = "auto", threads: int = 0) -> Engine:
    """Return an engine for a model; ``auto`` takes the one its card found fastest."""
    from pipeline.learning import cards

    card = cards.load_card(ws, model_id)
    if name == "auto":
        name = card.get("engine", "torch")
    batch = int(card.get("engines", {}).get(name, {}).get("batch", BATCH))
    if name == "torch":
        from pipeline.learning import checkpoints

        return torch_engine(checkpoints.load_model(ws, model_id)[0], batch)
    graph = cards.ONNX_INT8 if name == INT8 else cards.ONNX
    path = ws.model(model_id) / graph
    if not path.is_file():
        raise ModelError(f"{path} is missing.", f"Train with --engine {name}, or choose another.")
    return graph_engine(name, str(path), batch, threads)


def graph_engine(name: str, model: str | bytes, batch: int = BATCH, threads: int = 0) -> Engine:
    """Return the engine ``name`` for an exported graph: a path, or the graph itself.

    Raises:
        InputError: there is no engine of that name.
    """
    if name == "onnxruntime":
        return onnxruntime_engine(model, threads, batch)
    if name in ("openvino", "openvino_bf16", INT8):
        precision = "bf16" if name in COARSE else "f32"
        return openvino_engine(model, threads, precision, batch)
    raise InputError(f"unknown engine {name!r}.", f"Choose auto, {', '.join(NAMES)}.")


def torch_engine(net: TruckNet, batch: int = BATCH) -> Engine:
    """Run the network in torch, on whatever device it lies."""
    import torch

    from pipeline.learning.fitting import logits_of

    def run(pixels: NDArray[np.uint8], batch: int = batch) -> NDArray[np.float32]:
        logits = logits_of(net, torch.from_numpy(np.ascontiguousarray(pixels)), batch)
        return np.asarray(logits.numpy(), dtype=np.float32)

    return run


def onnxruntime_engine(model: str | bytes, threads: int = 0, batch: int = BATCH) -> Engine:
    """Run an exported graph in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores.usable()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    state = onnxruntime.capi.onnxruntime_pybind11_state
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except (state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.Fail) as error:
        raise _unreadable(model, error) from None

    def run(pixels: NDArray[np.uint8], batch: int = batch) -> NDArray[np.float32]:
        return _joined([session.run(None, {"pictures": p})[0] for p in _batches(pixels, batch)])

    return run


def openvino_engine(
    model: str | bytes, threads: int = 0, precision: str = "f32", batch: int = BATCH
) -> Engine:
    """Run an exported graph in OpenVINO on the CPU, in ``f32`` or ``bf16``.

    bfloat16 keeps three significant digits: faster where the processor has it, and now and then too
    coarse to agree with torch. Batches are queued: one at a time would leave cores idle, as each
    core works on a batch of its own.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads or cores.usable(),
        "ENABLE_CPU_PINNING": False,  # a thread must not wait for a core that others keep busy
    }
    try:
        graph = core.read_model(model) if isinstance(model, str) else core.read_model(model, b"")
    except RuntimeError as error:
        raise _unreadable(model, error) from None
    queue = openvino.AsyncInferQueue(core.compile_model(graph, "CPU", settings))
    parts: dict[int, NDArray[np.float32]] = {}
    queue.set_callback(lambda done, i: parts.update({i: done.get_output_tensor().data.copy()}))

    def run(pixels: NDArray[np.uint8], batch: int = batch) -> NDArray[np.float32]:
        parts.clear()
        for i, part in enumerate(_batches(pixels, batch)):
            queue.start_async({0: part}, i)
        queue.wait_all()
        return _joined([parts[i] for i in sorted(parts)])

    return run


def _unreadable(model: str | bytes, error: Exception) -> ModelError:
    from pipeline.learning.cards import ANEW

    name = model if isinstance(model, str) else "the exported graph"
    return ModelError(f"{name} is not a whole graph ({type(error).__name__}).", ANEW)


def agreeing(
    reference: NDArray[np.float32],
    other: NDArray[np.float32],
    calibration: Calibration = PLAIN,
    threshold: float = THRESHOLD,
) -> bool:
    """Tell whether two engines' logits make the same probabilities and decisions."""
    a, b = calibration.p_truck(reference), calibration.p_truck(other)
    same = float(((a >= threshold) == (b >= threshold)).mean()) if len(a) else 1.0
    return same >= SAME_DECISIONS and float(np.abs(a - b).max(initial=0.0)) <= NEAR


def fastest(
    net: TruckNet,
    onnx: bytes,
    pixels: NDArray[np.uint8],
    calibration: Calibration = PLAIN,
    threshold: float = THRESHOLD,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the fastest engine that agrees with torch on ``pixels``, and what was measured.

    All of them are judged by where that is quick; put :func:`mixed` ones first.
    Per engine: ``agrees``, ``batch`` (of :data:`BATCHES`) and ``pictures_per_s`` with
    it if all cores were ours: measured in CPU seconds (on a GPU by the clock), in the best of some
    rounds in which all take turns, so that other programs matter little.
    An 8-bit graph is not made for a network that is fast without. Where a coarser engine gains
    little, a finer one is taken: its answers do not change with the machine.
    """
    torch_way = torch_engine(net)
    started = time.perf_counter()
    expected = torch_way(pixels[:SAMPLE])
    speed = len(expected) / (time.perf_counter() - started)
    names = [name for name in NAMES if name != INT8 or speed < WORTH_QUANTISING]
    made = {name: engine_of(name, net, onnx, pixels[:SAMPLE]) for name in names}
    judged = pixels[: max(SAMPLE, int(speed * JUDGED_S))]
    expected = np.concatenate([expected, torch_way(judged[SAMPLE:])])
    agrees = {
        name: agreeing(expected, engine(judged), calibration, threshold)
        for name, engine in made.items()
    }
    timed = pixels[: max(16, int(speed * ROUND_S))]
    on_cpu = next(net.parameters()).device.type == "cpu"
    clock, share = (time.process_time, cores.usable()) if on_cpu else (time.perf_counter, 1)
    ways = {(name, batch): made[name] for name in names for batch in BATCHES}
    best = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for (name, batch), engine in ways.items():
            begun = clock()
            engine(timed, batch)
            rate = share * len(timed) / max(clock() - begun, 1e-6)
            best[name, batch] = max(best[name, batch], rate)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        small, large = BATCHES
        # Small batches keep every core busy to the end; large ones must be worth it.
        batch = large if best[name, large] > 1.1 * best[name, small] else small
        rate = best[name, batch]
        found[name] = {
            "agrees": agrees[name],
            "batch": batch,
            "pictures_per_s": round(rate, 1),
        }
    return chosen(found), found


def mixed(rows: NDArray[np.int64], most: int = MOST) -> NDArray[np.int64]:
    """Return up to ``most`` of ``rows`` in an order of their own: label files are often sorted."""
    return np.random.default_rng(0).permutation(rows)[:most]


def engine_of(
    name: str, net: TruckNet, onnx: bytes, pixels: NDArray[np.uint8], batch: int = BATCH
) -> Engine:
    """Return an engine of a network still in memory; ``pixels`` are for quantising, if need be."""
    if name == "torch":
        return torch_engine(net, batch)
    return graph_engine(name, quantised(onnx, pixels) if name == INT8 else onnx, batch)


def save_quantised(
    ws: Workspace, model_id: str, name: str, onnx: bytes, pixels: NDArray[np.uint8]
) -> None:
    """Write the 8-bit graph beside a model that is to be run by it; nothing for other engines."""
    from pipeline.learning import checkpoints

    if name == INT8:
        store.write_bytes(ws.model(model_id) / checkpoints.ONNX_INT8, quantised(onnx, pixels))


def chosen(found: Mapping[str, dict[str, Any]]) -> str:
    """Return the fastest that agrees, finer ones ahead by :data:`CLEARLY` per step.

    >>> fine = {"agrees": True, "pictures_per_s": 100.0}
    >>> chosen({"torch": fine, "openvino_bf16": {"agrees": True, "pictures_per_s": 119.0}})
    'torch'
    >>> chosen({"torch": fine, "openvino_bf16": {"agrees": True, "pictures_per_s": 121.0}})
    'openvino_bf16'
    """

    def worth(name: str) -> float:
        steps = COARSE.index(name) + 1 if name in COARSE else 0
        return float(found[name]["pictures_per_s"]) / CLEARLY**steps

    return max((name for name in found if found[name]["agrees"]), key=worth)


def _batches(pixels: NDArray[np.uint8], batch: int) -> list[NDArray[np.uint8]]:
    n = math.ceil(len(pixels) / batch)
    return [np.ascontiguousarray(pixels[i * batch : (i + 1) * batch]) for i in range(n)]


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if not parts:
        return np.zeros(0, dtype=np.float32)
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float32)
