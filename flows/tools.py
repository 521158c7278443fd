"""Commands that look inside: networks layer by layer, and measured speed and honesty.

``flows.cli`` takes the groups ``models`` and ``bench`` over.
"""

from __future__ import annotations

import math
from pathlib import Path

import click

from flows.commandline import Context, Result, command

commands = click.Group()


@commands.group("models", invoke_without_command=True)
@click.option("--root", type=click.Path(path_type=Path), help="Workspace folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on one line.")
@click.option("--measure", is_flag=True, help="Also measure pictures a second here.")
@click.pass_context
def models_group(context: click.Context, root: Path | None, as_json: bool, measure: bool) -> None:
    """List the networks; `models show ARCH` goes through one layer by layer."""
    if context.invoked_subcommand is None:
        context.invoke(models_list, root=root, as_json=as_json, measure=measure)
        return
    given = {"--root": root, "--json": as_json, "--measure": measure}
    if lost := [option for option, value in given.items() if value]:
        after = f"after {context.invoked_subcommand!r}"
        raise click.UsageError(f"{' '.join(lost)} would count for nothing here: put it {after}.")


@command(models_group, "list")
@click.option("--measure", is_flag=True, help="Also measure pictures a second here.")
def models_list(context: Context, measure: bool) -> tuple[Result, str]:
    """List the networks with parameters, multiply-adds and receptive field."""
    from pipeline.learning.bench import pictures_per_s
    from pipeline.learning.models import ARCHES, NetSpec, build, default_size
    from pipeline.learning.models.describe import totals
    from pipeline.progress import track

    rows = []
    for arch in track(ARCHES, "measure") if measure else ARCHES:
        side = default_size(arch) or 128
        spec = NetSpec(channels=3, height=side, width=side)
        net = build(arch, spec)
        speed = {"pictures_per_s": pictures_per_s(net, spec)} if measure else {}
        rows.append({"arch": arch, "input_px": side, **totals(net.body, spec), **speed})
    head = f"{'arch':<20} {'input':>5} {'parameters':>12} {'multiply-adds':>15} {'field':>5}"
    lines = [head + (f" {'pictures/s':>11}" if measure else "")]
    for row in rows:
        lines.append(
            f"{row['arch']:<20} {row['input_px']:>5} {row['parameters']:>12,} "
            f"{row['multiply_adds']:>15,} {row['receptive_field_px'] or 'all':>5}"
            + (f" {row['pictures_per_s']:>11,.1f}" if measure else "")
        )
    return {"models": rows}, "\n".join(lines)


@command(models_group, "show")
@click.argument("arch")
@click.option("--size", type=click.IntRange(8, 1024), help="Side of the input in pixels.")
def models_show(context: Context, arch: str, size: int | None) -> tuple[Result, str]:
    """Show a network layer by layer: output size, receptive field, parameters."""
    from pipeline.learning.models import NetSpec, build, default_size
    from pipeline.learning.models.describe import describe

    side = size or default_size(arch) or 128
    spec = NetSpec(channels=3, height=side, width=side)
    rows = [layer.as_json() for layer in describe(build(arch, spec).body, spec)]
    lines = [f"{'layer':<34} {'kind':<18} {'setting':<28} {'output':<14} {'field':>5} parameters"]
    for row in rows:
        lines.append(
            f"{row['name']:<34} {row['kind']:<18} {row['setting']:<28} {row['output']:<14} "
            f"{row['receptive_field_px'] or 'all':>5} {row['parameters']:,}"
        )
    return {"arch": arch, "input_px": side, "layers": rows}, "\n".join(lines)


@commands.group("bench")
def bench_group() -> None:
    """Measure: decoding, all the way to scores, and whether the intervals hold."""


def _check_hz(hz: float) -> None:
    from pipeline.errors import InputError

    if not math.isfinite(hz):  # click lets nan and inf through
        raise InputError(f"--hz {hz} is no rate.", "Give samples a second, such as 1.")


@command(bench_group, "decode")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--hz", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
def bench_decode(context: Context, file: Path, hz: float) -> tuple[Result, str]:
    """CPU seconds of our decoding, full decoding, OpenCV and FFmpeg, interleaved in one run."""
    from pipeline.errors import NotFoundError
    from pipeline.footage import bench as benchmarks

    _check_hz(hz)
    if not file.is_file():
        raise NotFoundError(f"no such file: {file}.", "Name a video file.")
    figures = benchmarks.bench_decode(file, hz)
    return figures, benchmarks.as_text(figures)


@command(bench_group, "end-to-end")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--hz", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
def bench_end_to_end(context: Context, file: Path | None, hz: float) -> tuple[Result, str]:
    """Footage to scores on one core: camera-hours per core-hour, and the share of each stage."""
    from pipeline.errors import NotFoundError
    from pipeline.learning import endtoend

    _check_hz(hz)
    if file is not None and not file.is_file():
        raise NotFoundError(f"no such file: {file}.", "Name a video file, or none: one is made.")
    figures = endtoend.bench_end_to_end(file, hz)
    return figures, endtoend.as_text(figures)


@command(bench_group, "labels")
@click.option("--labels", "labels", multiple=True, type=click.IntRange(20), help="Per camera.")
@click.option("--finish", default=1.3, show_default=True, help="How long to train; train has 4.")
@click.option("--days", type=click.IntRange(2), default=7, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
def bench_labels(
    context: Context, labels: tuple[int, ...], finish: float, days: int, seed: int
) -> tuple[Result, str]:
    """Labels against frame accuracy and count error on the demonstration's footage."""
    from flows import learning_curve

    points, path = learning_curve.run(context.ws, labels or (75, 150, 300), finish, days, seed)
    text = f"{learning_curve.as_text(points)}\nfigure  {path}"
    return {"points": points, "figure": str(path)}, text


@command(bench_group, "counting")
@click.option("--days", type=click.IntRange(2), default=400, show_default=True)
@click.option("--cells", help="ci for a few quick ones, or the number of one; all by default.")
@click.option("--seed", type=int, default=0, show_default=True)
def bench_counting(context: Context, days: int, cells: str | None, seed: int) -> tuple[Result, str]:
    """Simulated days over a grid of settings: bias, and how often the 95% interval holds."""
    from pipeline import store
    from pipeline.counting import simulation

    numbers = simulation.chosen(cells)
    # Stopped, it goes on with the cell it was at; other code, days or seeds begin anew.
    folder = context.ws.root / "bench_counting" / f"{simulation.code_id()}-{seed}-{days}"
    rows = []
    for number in numbers:
        path = folder / f"{number}.json"
        if not path.is_file():
            store.write_json(path, simulation.run_cell(number, days, seed))
        rows.append(store.read_object(path))
    return {"cells": rows}, simulation.as_text(rows)
