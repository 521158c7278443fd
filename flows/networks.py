"""Commands about networks: what they cost here, what they look at, which options suit.

``flows.cli`` puts them into the groups ``bench`` and ``models``.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from flows.commandline import Context, Result, command

bench = click.Group()
models = click.Group()


@command(bench, "train")
@click.option("--pictures", type=click.IntRange(16), default=128, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def bench_train(context: Context, pictures: int, epochs: int, rounds: int) -> tuple[Result, str]:
    """Training the reference network and loading pictures, as ratios to plain PyTorch."""
    from pipeline.learning import bench as benchmarks

    figures = benchmarks.bench_train(pictures, epochs, rounds)
    return figures, benchmarks.as_text(figures)


@command(bench, "infer")
@click.option("--pictures", type=click.IntRange(8), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def bench_infer(context: Context, pictures: int, rounds: int) -> tuple[Result, str]:
    """Scoring by resnet18 and mobilenet_v3_small, as ratios to bare engines and eager torch."""
    from pipeline.learning import bench as benchmarks

    figures = benchmarks.bench_infer(pictures, rounds)
    return figures, benchmarks.as_text(figures)


@command(models, "use")
@click.argument("model")
def models_use(context: Context, model: str) -> tuple[Result, str]:
    """Put a model in use: what counts and publishes takes it from now on."""
    from pipeline.daily import model_in_use
    from pipeline.learning import checkpoints

    checkpoints.load_card(context.ws, model_in_use(context.ws, model))  # refuses a damaged one
    checkpoints.set_current(context.ws, model)
    return {"model": model}, f"{model} is in use"


@command(models, "explain")
@click.argument("model", required=False)
@click.option("--frame", help="Id of a sampled frame, or a picture file: explain this one.")
@click.option("--campaign", "campaigns", multiple=True, help="Judge by its labels; repeatable.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of pictures to judge by.")
@click.option("--labels", type=click.Path(path_type=Path), help="CSV: file,label[,group].")
@click.option(
    "--rendered/--no-rendered",
    default=None,
    help="Measure attention on rendered trucks; by itself for the demonstration's cameras.",
)
def models_explain(
    context: Context,
    model: str | None,
    frame: str | None,
    campaigns: tuple[str, ...],
    images: Path | None,
    labels: Path | None,
    rendered: bool | None,
) -> tuple[Result, str]:
    """Write a page of what a model looks at, its surest errors and its worst slices."""
    from pipeline import daily
    from pipeline.errors import InputError
    from pipeline.pages.gathered import explain_model

    if bool(images) != bool(labels):
        raise InputError("give --images and --labels together.")
    if images and campaigns:
        raise InputError(
            f"--campaign {campaigns[0]} beside --images {images}: one of them would go unread.",
            "Give one of them.",
        )
    path, figures = explain_model(
        context.ws,
        daily.model_in_use(context.ws, model),
        frame=frame,
        campaigns=campaigns,
        images=images,
        labels=labels,
        rendered=rendered,
    )
    return {"page": str(path), **figures}, str(path)


@command(models, "search")
@click.option("--campaign", "campaigns", multiple=True, help="Campaign; repeatable.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of pictures.")
@click.option("--labels", type=click.Path(path_type=Path), help="CSV: file,label[,group].")
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="In all.")
@click.option("--arch", default="auto", show_default=True)
@click.option("--epochs", type=click.IntRange(1), help="Passes per trial; the recipe's by default.")
@click.option("--seed", type=int, default=0, show_default=True)
def models_search(
    context: Context,
    campaigns: tuple[str, ...],
    images: Path | None,
    labels: Path | None,
    trials: int,
    arch: str,
    epochs: int | None,
    seed: int,
) -> tuple[Result, str]:
    """Search for training options with Optuna; the same command again goes on or is done."""
    from pipeline.digests import digest_of
    from pipeline.errors import InputError
    from pipeline.learning.dataset import campaign_rows
    from pipeline.learning.options import TrainOptions
    from pipeline.learning.search import search
    from pipeline.learning.train import FOOTAGE_RECIPE, LOOSE_RECIPE, train_campaigns, train_images
    from pipeline.store import Workspace

    if bool(campaigns) == bool(images) or bool(images) != bool(labels):
        raise InputError("give either --campaign, or --images together with --labels.")

    for name in campaigns:  # before the search makes its folder
        campaign_rows(context.ws, name)

    def train(ws: Workspace, options: TrainOptions) -> str:
        if images and labels:
            return train_images(ws, images, labels, options)
        return train_campaigns(ws, list(campaigns), options)

    files = [context.ws.campaign_labels(name) / "labels.parquet" for name in campaigns]
    source = [word for name in campaigns for word in ("--campaign", name)]
    if images and labels:
        files = [labels]
        source = ["--images", str(images.absolute()), "--labels", str(labels.absolute())]
    options = TrainOptions(arch=arch, epochs=epochs, seed=seed)
    # Trials by other labels are no trials of these.
    recipe = FOOTAGE_RECIPE if campaigns else LOOSE_RECIPE
    told = [" ".join(source), recipe, *map(digest_of, files)]
    found = search(context.ws, json.dumps(told), train, options, trials)
    flags = " ".join(f"--{k.replace('_', '-')} {v:g}" for k, v in found["best"]["settings"].items())
    asked = f"--arch {arch}" + (f" --epochs {epochs}" if epochs else "") + f" --seed {seed}"
    given = shlex.join(["--root", str(context.ws.root.absolute()), *source])
    again = f"truck-counter train {given} {asked} {flags}"
    text = f"best of {len(found['trials'])}: loss {found['best']['loss']:.4f}\n{again}"
    return {**found, "command": again}, text


@command(models, "track")
@click.argument("trained", nargs=-1, metavar="[MODEL]...")
@click.option("--uri", help="MLflow's tracking store; TRUCK_COUNTER_MLFLOW or ROOT/mlflow.db.")
def models_track(context: Context, trained: tuple[str, ...], uri: str | None) -> tuple[Result, str]:
    """Record training runs in MLflow, all by default; what is there already stays as it is."""
    from pipeline import daily
    from pipeline.learning import tracking

    ids = [daily.model_in_use(context.ws, m) for m in trained] or context.ws.trained()
    new = tracking.record(context.ws, ids, uri) if ids else {}  # which would make a store
    lines = [f"{m}: {'recorded' if is_new else 'was there'}" for m, is_new in new.items()]
    result = {"recorded": [m for m, is_new in new.items() if is_new], "models": ids}
    return result, "\n".join(lines) or "there is no model yet: truck-counter train"
