"""What a network is made of, layer by layer: output size, receptive field, parameters, work.

The network is traced, not guessed: sizes come from running it, receptive fields from walking its
graph (a convolution or pool with kernel k and stride s, on a map whose neighbouring values lie j
input pixels apart, widens the field by (k − 1)·j and multiplies j by s; at a junction the widest
branch counts; a linear layer sees all of a flat input, and of a map one place at a time). Work is
counted as the literature does: multiplications with weights, and attention's with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from pipeline.learning.models.parts import NetSpec

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_GLOBAL = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear, nn.MultiheadAttention)
_GLOBAL_CALLS = ("mean", "amax", "flatten")


@dataclass(frozen=True)
class Layer:
    """One row of the table; ``receptive_field_px`` None means the whole picture."""

    name: str
    kind: str
    setting: str
    output: tuple[int, ...]
    receptive_field_px: int | None
    parameters: int
    multiply_adds: int

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "setting": self.setting,
            "output": "×".join(map(str, self.output)),
            "receptive_field_px": self.receptive_field_px,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
        }


@dataclass(frozen=True)
class _Sight:
    """What one value of a map sees: a field of ``field`` pixels, neighbours ``step`` apart."""

    field: int | None = 1
    step: int = 1


def describe(body: nn.Module, spec: NetSpec) -> list[Layer]:
    """Return the layers of a network body in order of execution.

    ``body`` takes the prepared picture, ``float32[n, c, h, w]``.
    """
    graph = fx.symbolic_trace(body.eval())
    ShapeProp(graph).propagate(torch.zeros(1, spec.channels, spec.height, spec.width))
    sights: dict[fx.Node, _Sight] = {}
    layers: list[Layer] = []
    for node in graph.graph.nodes:
        before = _widest([sights[n] for n in node.all_input_nodes if n in sights])
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        sights[node] = _sight(node, module, before)
        if module is not None and _worth_telling(module):
            layers.append(_layer(node, module, sights[node]))
        if node.op == "get_attr":
            layers += _held(node, body)
    return layers


def totals(body: nn.Module, spec: NetSpec) -> dict[str, int | None]:
    """Return parameters, multiply-adds and the receptive field before the head (None: all)."""
    layers = describe(body, spec)
    fields = [row.receptive_field_px for row in layers if row.receptive_field_px is not None]
    if any(_maps_the_whole(row) for row in layers):
        fields = []
    return {
        "parameters": sum(p.numel() for p in body.parameters()),
        "multiply_adds": sum(row.multiply_adds for row in layers),
        "receptive_field_px": max(fields, default=None),
    }


def _maps_the_whole(row: Layer) -> bool:
    """Tell whether a layer makes a map of which each place sees the whole picture.

    Attention does, and a convolution or pool does after a squeeze-and-excitation block.
    """
    if row.kind == "MultiheadAttention":
        return True
    map_kinds = {kind.__name__ for kind in (nn.Conv2d, *_POOLS)}
    one_place = row.output[1:] == (1, 1)
    return row.kind in map_kinds and row.receptive_field_px is None and not one_place


def _sight(node: fx.Node, module: nn.Module | None, before: _Sight) -> _Sight:
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride = _first(module.kernel_size), _first(module.stride)
        dilation = _first(getattr(module, "dilation", 1))
        if before.field is None:
            return before
        wider = before.field + (kernel - 1) * dilation * before.step
        return _Sight(wider, before.step * stride)
    if isinstance(module, nn.Linear) and len(_shape(node.all_input_nodes[0])) > 2:
        return before
    called = str(getattr(node.target, "__name__", node.target))
    if isinstance(module, _GLOBAL) or (node.op != "call_module" and called in _GLOBAL_CALLS):
        return _Sight(None, before.step)
    return before


def _layer(node: fx.Node, module: nn.Module, sight: _Sight) -> Layer:
    shape = _shape(node)[1:]
    own = sum(p.numel() for p in module.parameters())
    return Layer(
        name=str(node.target),
        kind=type(module).__name__,
        setting=_setting(module),
        output=shape,
        receptive_field_px=sight.field,
        parameters=own,
        multiply_adds=_multiply_adds(module, shape),
    )


def _held(node: fx.Node, body: nn.Module) -> list[Layer]:
    """Return a row for weights that a network holds by themselves, beside its layers."""
    name = str(node.target)
    held = dict(body.named_parameters()).get(name)
    if held is None:
        return []
    return [Layer(name, "Parameter", "", tuple(held.shape), None, held.numel(), 0)]


def _shape(node: fx.Node) -> tuple[int, ...]:
    told = node.meta["tensor_meta"]
    told = told[0] if isinstance(told, tuple) and not hasattr(told, "shape") else told
    return tuple(told.shape)


def _multiply_adds(module: nn.Module, output: tuple[int, ...]) -> int:
    if isinstance(module, nn.Conv2d):
        return int(torch.Size(output).numel() * module.weight[0].numel())
    if isinstance(module, nn.Linear):
        return int(torch.Size(output).numel() * module.in_features)
    if isinstance(module, nn.MultiheadAttention):
        places, width = output  # four projections; each place against each, then their mean
        return 4 * places * width**2 + 2 * places**2 * width
    return 0


def _setting(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        groups = f", groups {module.groups}" if module.groups > 1 else ""
        kernel, stride = _first(module.kernel_size), _first(module.stride)
        return f"{module.out_channels} of {kernel}×{kernel}, stride {stride}{groups}"
    if isinstance(module, _POOLS):
        kernel = _first(module.kernel_size)
        return f"{kernel}×{kernel}, stride {_first(module.stride)}"
    if isinstance(module, nn.Linear):
        return f"{module.in_features} → {module.out_features}"
    return ""


def _worth_telling(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or isinstance(module, (*_POOLS, *_GLOBAL))


def _widest(sights: list[_Sight]) -> _Sight:
    if not sights:
        return _Sight()
    if any(s.field is None for s in sights):
        return _Sight(None, max(s.step for s in sights))
    return _Sight(max(s.field or 1 for s in sights), max(s.step for s in sights))


def _first(value: Any) -> int:  # noqa: ANN401 - an int or a pair of them
    return int(value[0] if isinstance(value, tuple) else value)
