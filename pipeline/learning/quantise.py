"""An exported graph in 8-bit whole numbers: four times the arithmetic per cycle, coarser answers.

Post-training quantisation by ONNX Runtime: weights per output channel, activations by the range
that a few dozen pictures span. Equal graph and pictures give equal bytes. Whether the answers are
still good enough is for :func:`engines.fastest` to say.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_PICTURES = 64
LAYERS = ["Conv", "Gemm", "MatMul", "Add", "MaxPool", "GlobalAveragePool", "ReduceMean"]


def quantised(onnx: bytes, pixels: NDArray[np.uint8]) -> bytes:
    """Return the graph with 8-bit layers, ranges taken from at most 64 of ``pixels``."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    step = max(1, len(pixels) // MOST_PICTURES)
    shown = [pixels[i : i + 8] for i in range(0, MOST_PICTURES * step, 8 * step)]
    logging.getLogger("root").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("plain.onnx", "folded.onnx", "int8.onnx")]
        plain, folded, done = map(str, paths)
        paths[0].write_bytes(onnx)
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        quantization.quantize_static(
            folded,
            done,
            _Shown([part for part in shown if len(part)]),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=LAYERS,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return paths[2].read_bytes()


class _Shown:
    """Batches in the way that ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: list[NDArray[np.uint8]]) -> None:
        self.batches: Iterator[NDArray[np.uint8]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch, None after the last."""
        part = next(self.batches, None)
        return None if part is None else {"pictures": part}
