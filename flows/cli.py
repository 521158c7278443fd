"""The command line ``truck-counter``: thin, and quick to answer ``--help``.

Every command takes ``--root DIR`` (the workspace) and ``--json`` (one JSON object on one line of
stdout, nothing else there); progress goes to stderr. What a person got wrong is one line on stderr
that names the value and the remedy, exit code 2. Heavy libraries are imported inside the commands.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flows import aiming, campaigns, commandline, networks, published, tools
from flows.commandline import (
    Context,
    Day,
    Duration,
    Instant,
    Result,
    check_days,
    command,
    over_days,
)
from pipeline.errors import InputError
from pipeline.learning.options import TrainOptions


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="truck-counter")
def cli() -> None:
    """Count trucks in traffic-camera footage, one honest number a day."""


@cli.group("cameras")
def cameras_group() -> None:
    """The camera registry, cameras.toml."""


@command(cameras_group, "check")
def cameras_check(context: Context) -> tuple[Result, str]:
    """Validate cameras.toml; name the key and the remedy when it is wrong."""
    from pipeline.errors import ConfigError, FootageError
    from pipeline.exchanges import tradable_from
    from pipeline.footage.files import is_live
    from pipeline.footage.live import addresses

    entries = context.registry.entries
    for camera in filter(is_live, entries):
        try:
            addresses.read(camera.source)
        except FootageError as error:
            raise ConfigError(f"camera {camera.id!r}: source: {error}") from None
    for exchange in sorted({c.exchange for c in entries if c.exchange}):
        tradable_from(exchange, dt.datetime.now(dt.UTC))  # some calendars cannot be computed
    rows = [{"id": c.id, "site": c.site, "zones": [z.name for z in c.zones]} for c in entries]
    lines = [f"{c.id}: {c.site}, {c.timezone}, {len(c.zones)} zone(s)" for c in entries]
    return {"ok": True, "cameras": rows}, "\n".join([*lines, "ok"])


@command(cli, "record")
@click.option("--camera", "cameras", multiple=True, help="Only this camera; repeatable.")
@click.option("--for", "for_s", type=Duration(), help="How long, such as 10m; else until Ctrl-C.")
def record(context: Context, cameras: tuple[str, ...], for_s: float | None) -> tuple[Result, str]:
    """Write live sources (RTSP, HLS, stills) as closed clips below footage/."""
    from pipeline.footage.live.record import record

    report = record(context.ws, context.registry, cameras, for_s)
    return report.as_dict(), report.as_text()


@command(cli, "ingest")
@click.option("--forget", is_flag=True, help="Take out clips whose files are gone, too.")
@over_days
def ingest(
    context: Context,
    forget: bool,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Decode and check footage; write clips/, quarantining bad clips with a reason."""
    from pipeline.ingest import ingest

    check_days(first, last)
    chosen = context.registry.chosen(cameras)
    report = ingest(context.ws, context.registry, chosen, first, last, forget=forget)
    return report.as_dict(), report.as_text()


@command(cli, "sample")
@click.argument("campaign")
@click.option("--n", "n", type=click.IntRange(1), required=True, help="Frames in all, this call.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--model",
    default="current",
    show_default=True,
    help="Model that finds likely and doubtful trucks: an id, current, or none.",
)
@click.option(
    "--random-share",
    type=click.FloatRange(0, 1),
    help="Part drawn purely at random, for unbiased estimates; 0.3 unless told.",
)
@over_days
def sample(
    context: Context,
    campaign: str,
    n: int,
    seed: int,
    model: str,
    random_share: float | None,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Choose frames worth a human's time; write frames/CAMPAIGN/."""
    from labeling.sample import sample

    check_days(first, last)
    chosen = context.registry.chosen(cameras)
    added = sample(context.ws, campaign, n, chosen, first, last, seed, model, random_share)
    where = context.ws.campaign_frames(campaign) / "frames.parquet"
    result = {"campaign": campaign, "added": added, "frames": str(where)}
    return result, f"{campaign}: {added} frame(s) added; see {where}"


@cli.group("label")
def label_group() -> None:
    """Annotations and labels."""


def _form(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--format``: what ``labeling.importing`` reads and ``labeling.exporting`` writes."""
    choices = click.Choice(["csv", "ground-truth", "crowd", "coco"])
    return click.option(
        "--format", "form", type=choices, default="csv", show_default=True, help=text
    )


@command(label_group, "import")
@click.argument("campaign")
@click.argument("file", type=click.Path(path_type=Path))
@_form("Our CSV, a Ground Truth manifest, results of a crowd-image-classifier, or COCO.")
@click.option("--adjudicated", is_flag=True, help="They are experts' votes, which settle.")
def label_import(
    context: Context, campaign: str, file: Path, form: str, adjudicated: bool
) -> tuple[Result, str]:
    """Take votes from a file: frame_id,worker,label rows (truck, no_truck, cant_tell) or others."""
    from labeling.importing import import_annotations

    done = import_annotations(context.ws, campaign, file, adjudicated, form)
    result = {"campaign": campaign, **dataclasses.asdict(done)}
    return result, f"{campaign}: {done.added} added, {done.changed} changed, {done.unchanged} known"


@command(label_group, "export")
@click.argument("campaign")
@_form("Votes as CSV; labels as a Ground Truth manifest or COCO; input and page for a crowd.")
@click.option("--address", default="", help="Put before every picture's name: https://…/.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.")
def label_export(
    context: Context, campaign: str, form: str, address: str, out: Path | None
) -> tuple[Result, str]:
    """Write a campaign's votes, labels or frames in a form that other tools read."""
    from labeling.exporting import export

    folder = out or context.ws.campaign_labels(campaign) / "export"
    files = [str(path) for path in export(context.ws, campaign, form, folder, address)]
    result = {"campaign": campaign, "format": form, "files": files}
    return result, f"{campaign}: {', '.join(files)}"


@command(label_group, "aggregate")
@click.argument("campaign")
@click.option(
    "--method",
    type=click.Choice(["dawid_skene", "majority", "glad", "mace"]),
    help="As last time by default; at first dawid_skene.",
)
def label_aggregate(context: Context, campaign: str, method: str | None) -> tuple[Result, str]:
    """Annotations to labels, with agreement and worker skill."""
    from labeling.campaign import aggregate, summary

    result = {"campaign": campaign, **summary(aggregate(context.ws, campaign, method))}
    flagged = ", ".join(f["worker"] for f in result["flagged"]) or "nobody"
    text = (
        f"{campaign}: {result['frames']} frame(s), {result['truck']} truck, "
        f"{result['no_truck']} no truck, {result['unresolved']} unresolved; "
        f"Krippendorff's alpha {result['alpha']}; flagged: {flagged}"
    )
    return result, text


def with_train_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add a flag for every field of :class:`pipeline.learning.options.TrainOptions`."""
    for knob in reversed(dataclasses.fields(TrainOptions)):
        flag = f"--{knob.name.replace('_', '-')}"
        kind = str(knob.type).removesuffix(" | None")
        choices = knob.metadata["choices"]
        settings: dict[str, Any] = {"help": knob.metadata["help"], "default": knob.default}
        if kind == "bool":
            flag = f"{flag}/--no-{flag[2:]}"
        else:
            settings["type"] = {"int": int, "float": float, "str": str}[kind]
            settings["show_default"] = knob.default is not None
        if choices:
            settings["type"] = click.Choice(choices)
        function = click.option(flag, knob.name, **settings)(function)
    return function


def over_labels(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--campaign`` (repeatable), ``--images`` and ``--labels``."""
    for option in (
        click.option("--labels", type=click.Path(path_type=Path), help="CSV: file,label[,group]."),
        click.option("--images", type=click.Path(path_type=Path), help="Folder of pictures."),
        click.option("--campaign", "campaigns", multiple=True, help="Campaign; repeatable."),
    ):
        function = option(function)
    return function


def _check_labels(campaigns: tuple[str, ...], images: Path | None, labels: Path | None) -> None:
    if bool(campaigns) == bool(images) or bool(images) != bool(labels):
        raise InputError(
            "give either --campaign, or --images together with --labels.",
            "A campaign comes from truck-counter sample; pictures need a CSV of file,label.",
        )


@command(cli, "train")
@over_labels
@with_train_options
def train(
    context: Context,
    campaigns: tuple[str, ...],
    images: Path | None,
    labels: Path | None,
    **knobs: Any,  # noqa: ANN401 - the fields of TrainOptions
) -> tuple[Result, str]:
    """Train a model on a campaign's labels or on loose pictures; set models/current."""
    from pipeline import store
    from pipeline.learning import ranks, tracking
    from pipeline.learning.train import train_campaigns, train_images

    _check_labels(campaigns, images, labels)
    options = TrainOptions(**knobs)
    with ranks.led():
        if images and labels:
            model_id = train_images(context.ws, images, labels, options)
        else:
            model_id = train_campaigns(context.ws, list(campaigns), options)
    tracking.record_if_asked(context.ws, model_id)
    folder = context.ws.model(model_id)
    card = store.read_object(folder / "card.json")
    return {"model_id": model_id, "model": str(folder), "card": card}, f"{model_id}: {folder}"


@command(cli, "evaluate")
@click.argument("model", required=False)
@over_labels
def evaluate(
    context: Context,
    model: str | None,
    campaigns: tuple[str, ...],
    images: Path | None,
    labels: Path | None,
) -> tuple[Result, str]:
    """Measure a model on labelled frames or pictures; 95% intervals."""
    from pipeline import daily
    from pipeline.learning.evaluate import evaluate_campaigns, evaluate_images

    _check_labels(campaigns, images, labels)
    model_id = daily.model_in_use(context.ws, model)
    if images and labels:
        found = evaluate_images(context.ws, model_id, images, labels)
    else:
        found = evaluate_campaigns(context.ws, model_id, list(campaigns))
    lines = [
        f"{name:<12} {m['value']:.4f}  ({m['lo']:.4f} to {m['hi']:.4f})"
        for name, m in found.items()
        if isinstance(m, dict) and m.get("value") is not None
    ]
    lines.append(f"n            {found['n']}")
    if found["taught"]:
        card = context.ws.model(model_id) / "card.md"
        lines.append(
            f"{model_id} has learned from {found['taught']} of these, so this flatters: what it "
            f"made of labels it had not seen is in {card}."
        )
    return {"model_id": model_id, **found}, "\n".join(lines)


@command(cli, "infer")
@click.option("--model", help="Model id; the current one by default.")
@over_days
def infer(
    context: Context,
    model: str | None,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Score footage with a model; write scores/."""
    from pipeline import daily

    check_days(first, last)
    days = daily.camera_days(context.ws, context.registry, cameras, first, last)
    model_id = daily.model_in_use(context.ws, model)
    paths = daily.infer_days(context.ws, context.registry, days, model_id)
    result = {"model_id": model_id, "camera_days": len(days), "scores": [str(p) for p in paths]}
    return result, f"{len(days)} camera-day(s) scored by {model_id}"


@command(cli, "count")
@click.option("--model", help="Model id; the current one by default.")
@over_days
def count(
    context: Context,
    model: str | None,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
) -> tuple[Result, str]:
    """Scores to passages to daily counts (infers what is missing)."""
    from pipeline import daily

    check_days(first, last)
    days = daily.camera_days(context.ws, context.registry, cameras, first, last)
    model_id = daily.model_in_use(context.ws, model)
    rows = daily.count_days(context.ws, context.registry, days, model_id)
    return {"model_id": model_id, "counts": rows}, daily.as_text(rows)


@command(cli, "publish")
@click.option("--as-of", "as_of", type=Instant(), help="Instant of publication; now by default.")
def publish(context: Context, as_of: dt.datetime | None) -> tuple[Result, str]:
    """Append a vintage of what is new; refresh features/daily_truck_counts.parquet."""
    from pipeline.publish import publish

    done = publish(context.ws, context.registry, as_of=as_of)
    result = {"rows": done.rows, "as_of": done.as_of, "vintage": done.path and str(done.path)}
    if done.path is None:
        return result, "nothing new: no row differs from the latest"
    return result, f"{done.rows} row(s) published as of {done.as_of}: {context.ws.daily_counts}"


@command(cli, "report")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it.")
def report(context: Context, out: Path | None) -> tuple[Result, str]:
    """Write one self-contained HTML report."""
    from pipeline.pages.receipts import write_latest
    from pipeline.pages.report import write_report

    write_latest(context.ws, context.registry, report=out)
    path = write_report(context.ws, context.registry, out)
    return {"report": str(path)}, str(path)


@command(cli, "explain")
@click.argument("camera")
@click.argument("day", type=Day())
def explain(context: Context, camera: str, day: dt.date) -> tuple[Result, str]:
    """Write a page that shows every counted passage of a camera's day."""
    from pipeline.pages.receipts import write_explain

    path = write_explain(context.ws, context.registry, camera, day)
    return {"page": str(path)}, str(path)


@cli.group("run")
def run_group() -> None:
    """Prefect flows."""


@command(run_group, "daily")
@click.option("--day", type=Day(), help="Closed local day; the newest closed one by default.")
def run_daily(context: Context, day: dt.date | None) -> tuple[Result, str]:
    """Ingest, infer, count and publish one closed local day, as a Prefect flow."""
    from flows import operate

    result = operate.day(context.ws, context.registry, day)
    return result, f"{result['day']}: {result['state']}, {result['published']} row(s) published"


@command(cli, "demo")
@click.option("--days", type=click.IntRange(4, 60), default=7, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
def demo(context: Context, days: int, seed: int) -> tuple[Result, str]:
    """Render footage with a known truth and take it the whole way to a daily count."""
    from flows.demo import run

    result = run(context.ws, days=days, seed=seed)
    return result, result.pop("text")


@command(cli, "backfill")
@over_days
@click.option("--model", help="Model id; of one not in use nothing is published.")
@click.option("--schedule", is_flag=True, help="Hand the work to the Prefect server's workers.")
def backfill(
    context: Context,
    cameras: tuple[str, ...],
    first: dt.date | None,
    last: dt.date | None,
    model: str | None,
    schedule: bool,
) -> tuple[Result, str]:
    """Count and publish the closed days that have footage but no count; twice changes nothing."""
    from flows import operate

    check_days(first, last)
    result = operate.backfill(
        context.ws,
        context.registry,
        first,
        last,
        cameras=cameras,
        model=model,
        schedule=schedule,
        now=dt.datetime.now(dt.UTC),
    )
    return result, operate.backfill_text(result)


@command(cli, "up")
@click.option("--port", type=click.IntRange(1024, 65535), default=4200, show_default=True)
@click.option("--label-studio", is_flag=True, help="Start Label Studio too.")
def up(context: Context, port: int, label_studio: bool) -> tuple[Result, str]:
    """Start a Prefect server, a worker and the deployments on this machine."""
    from flows import services

    result = services.up(context.ws, context.registry, port, label_studio=label_studio)
    return result, f"running at {result['prefect']}; logs in {result['logs']}"


@command(cli, "status")
def status(context: Context) -> tuple[Result, str]:
    """Show what runs, what is due or late, and the last counts."""
    from flows import services

    result = services.status(context.ws, context.registry)
    return result, services.status_text(result)


@command(cli, "down")
def down(context: Context) -> tuple[Result, str]:
    """End what `up` started, also what ignores a polite request."""
    from flows import services

    result = services.down(context.ws)
    lines = [f"{name}: {how}" for name, how in result["ended"].items()]
    return result, "\n".join(lines) or "nothing was running"


cameras_group.commands.update(aiming.commands.commands)
label_group.commands.update(campaigns.commands.commands)
cli.commands.update(published.commands.commands)
cli.commands.update(tools.commands.commands)
tools.bench_group.commands.update(networks.bench.commands)
tools.models_group.commands.update(networks.models.commands)


def main() -> None:
    """Run the command line."""
    commandline.run(cli)


if __name__ == "__main__":
    main()
