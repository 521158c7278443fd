"""The Prefect tasks all flows are made of: each one library call on one camera and its days.

References travel, never tables or pixels: a task takes the workspace's folder, a camera's id and
days as text, and returns the path it wrote. A task that fails in a way that may pass (the network,
a disk that is away) is tried again with growing pauses; one that a person must mend is not.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows._prefect import concurrency, exponential_backoff, get_run_logger, lasting, task
from pipeline import daily, store
from pipeline.errors import (
    ConfigError,
    InputError,
    NotFoundError,
    StoreAwayError,
    TruckCounterError,
)
from pipeline.store import Workspace

if TYPE_CHECKING:
    from labeling.client import LabelStudio
    from pipeline.cameras import Registry

_LASTING = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError)
_PASSING = (OSError, TimeoutError)
_RETRY: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
}


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help: the network and the disk may recover, inputs do not."""
    import httpx

    if isinstance(error, StoreAwayError):
        return True
    if isinstance(error, (TruckCounterError, *_LASTING)):
        return False
    return isinstance(error, (*_PASSING, httpx.TransportError))


def _retry(task: Any, run: Any, state: Any) -> bool:  # noqa: ANN401 - Prefect's hook
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


def world(root: str) -> tuple[Workspace, Registry]:
    """Open the workspace at ``root`` (empty: the setting) and its registry."""
    from pipeline import cameras
    from pipeline.settings import read_settings

    ws = Workspace(Path(root) if root else read_settings().root)
    return ws, cameras.load(ws.cameras_toml)


def _decoding() -> AbstractContextManager[None]:
    """Take one of this machine's decoding slots."""
    return _limited(f"decode-{socket.gethostname()}")


def _limited(name: str) -> AbstractContextManager[None]:
    """Take a place within a limit that ``truck-counter up`` made; without it nobody waits."""
    return concurrency(name) if lasting() else nullcontext()


@contextmanager
def _logged(step: str, camera: str, days: str) -> Iterator[None]:
    """Log one line per step as ``key=value``; Prefect adds the run's id to each."""
    started, ended = time.monotonic(), "failed"
    try:
        yield
        ended = "done"
    finally:
        line = "step=%s camera=%s day=%s ended=%s seconds=%.2f"
        get_run_logger().info(line, step, camera, days, ended, time.monotonic() - started)


@task(
    task_run_name="ingest {camera} {first}..{last}",
    tags=["decode"],
    retry_condition_fn=_retry,
    **_RETRY,
)
def ingest_camera(root: str, camera: str, first: str | None, last: str | None) -> str:
    """Ingest one camera's footage of a range of local days; return its folder of clips."""
    from pipeline.ingest import ingest

    ws, registry = world(root)
    with _decoding(), _logged("ingest", camera, f"{first}..{last}"):
        report = ingest(ws, registry, [camera], _date(first), _date(last))
    for remark in report.remarks:
        get_run_logger().info("%s", remark)
    return str(ws.root / "clips" / camera)


@task(task_run_name="infer {camera} {day}", tags=["decode"], retry_condition_fn=_retry, **_RETRY)
def infer_day(root: str, camera: str, day: str, model_id: str) -> str:
    """Score one camera-day; return the file of scores (empty where there are no clips)."""
    ws, registry = world(root)
    one = daily.CameraDay(registry.camera(camera, _day(day)), _day(day))
    with _decoding(), _logged("infer", camera, day):
        paths = daily.infer_days(ws, registry, [one], model_id)
    return str(paths[0]) if paths else ""


@task(task_run_name="count {camera} {day}", retry_condition_fn=_retry, **_RETRY)
def count_day(root: str, camera: str, day: str, model_id: str) -> str:
    """Count one scored camera-day; return the file of its daily rows."""
    ws, registry = world(root)
    one = daily.CameraDay(registry.camera(camera, _day(day)), _day(day))
    with _logged("count", camera, day):
        daily.count_day(ws, one, model_id)
    return str(ws.counts(camera, _day(day), model_id))


@task(task_run_name="publish", retry_condition_fn=_retry, **_RETRY)
def publish_counts(root: str) -> dict[str, Any]:
    """Publish what differs; return ``{"rows", "as_of", "vintage"}`` (nulls where nothing does)."""
    from pipeline.publish import publish

    done = publish(*world(root))
    as_of = done.as_of.isoformat() if done.as_of else None
    return {"rows": done.rows, "as_of": as_of, "vintage": str(done.path) if done.path else None}


@task(task_run_name="report", retry_condition_fn=_retry, **_RETRY)
def write_report(root: str) -> str:
    """Write the report that the artifacts link to; return its path."""
    from pipeline.pages.report import write_report

    return str(write_report(*world(root)))


@task(task_run_name="train", tags=["train"])
def train_campaigns(
    root: str,
    campaigns: list[str],
    arch: str,
    epochs: int | None,
    seed: int,
    set_current: bool,
) -> str:
    """Train on campaigns' labels; return the model's id, with ``set_current`` the one in use."""
    from pipeline.learning import tracking
    from pipeline.learning.options import TrainOptions
    from pipeline.learning.train import train_campaigns

    ws, _ = world(root)
    options = TrainOptions(arch=arch, epochs=epochs, seed=seed)
    model_id = train_campaigns(ws, campaigns, options, set_current=set_current)
    try:
        tracking.record_if_asked(ws, model_id)
    except ConfigError as error:  # no reason to lose a night's count
        get_run_logger().warning("%s", error)
    return model_id


@task(task_run_name="judge")
def brier(root: str, model_ids: list[str], held_out: list[str]) -> dict[str, float]:
    """Return models' Brier scores on held-out labels that taught none of them; less is better."""
    from pipeline.learning.evaluate import brier_scores

    ws, _ = world(root)
    return brier_scores(ws, model_ids, held_out)


@task(task_run_name="pull {campaign}", retry_condition_fn=_retry, **_RETRY)
def pull_votes(root: str, campaign: str) -> dict[str, int]:
    """Bring a campaign's votes from Label Studio; return what changed here."""
    from labeling.studio import pull

    ws, _ = world(root)
    with _limited("label-studio"), label_studio(ws) as server:
        return dataclasses.asdict(pull(ws, campaign, server))


@task(task_run_name="push {campaign}", retry_condition_fn=_retry, **_RETRY)
def push_tasks(
    root: str,
    campaign: str,
    votes: int | None = None,
    gold_share: float | None = None,
    extra: bool = False,
    experts: Sequence[str] = (),
) -> dict[str, int]:
    """Bring a campaign's tasks to Label Studio; return what was sent and is there."""
    from labeling import studio
    from labeling.extra import ExtraVotes
    from labeling.gold import GoldShare

    ws, _ = world(root)
    with _limited("label-studio"), label_studio(ws) as server:
        if experts:
            return dataclasses.asdict(studio.push_to_experts(ws, campaign, server, experts))
        pushed = studio.push(
            ws,
            campaign,
            server,
            votes,
            gold_share=GoldShare(gold_share),
            extra_votes=ExtraVotes() if extra else None,
        )
    return dataclasses.asdict(pushed)


@task(task_run_name="close {campaign}", retry_condition_fn=_retry, **_RETRY)
def close_campaign(root: str, campaign: str) -> dict[str, int]:
    """Pull a campaign's last votes and end it on the server; return what changed here."""
    from labeling.studio import close

    ws, _ = world(root)
    with _limited("label-studio"), label_studio(ws) as server:
        return dataclasses.asdict(close(ws, campaign, server))


@task(task_run_name="status {campaign}")
def campaign_status(root: str, campaign: str, price: float) -> dict[str, Any]:
    """Sum a campaign up."""
    from labeling.status import status

    ws, _ = world(root)
    return status(ws, campaign, price)


def has_label_studio(ws: Workspace) -> bool:
    """Tell whether the environment or ``up`` names a Label Studio."""
    from labeling.server import read_credentials
    from pipeline.settings import read_settings

    told = read_settings()
    if told.label_studio_url and told.label_studio_api_key:
        return True
    return read_credentials(ws.root / "services" / "label-studio") is not None


def label_studio(ws: Workspace) -> LabelStudio:
    """Open the server that the environment names, or else the one of this workspace.

    Raises:
        InputError: none is named, or only half of what is needed.
        ConfigError: a setting is none.
    """
    from labeling.client import LabelStudio
    from labeling.server import read_credentials
    from pipeline.settings import read_settings

    told = read_settings()
    url, key, patience = (
        told.label_studio_url,
        told.label_studio_api_key,
        told.label_studio_timeout_s,
    )
    if url and key:
        return LabelStudio(url, key.get_secret_value(), patience)
    if url or key:
        lacking = "_API_KEY" if url else "_URL"
        raise InputError(
            f"TRUCK_COUNTER_LABEL_STUDIO{lacking} is not set, the other half is.",
            "Set both for a server you have, or neither for the one of this workspace.",
        )
    found = read_credentials(ws.root / "services" / "label-studio")
    if found is None:
        raise InputError(
            "no Label Studio is named.",
            "Start one with: truck-counter label serve; or set TRUCK_COUNTER_LABEL_STUDIO_URL and "
            "_API_KEY.",
        )
    return LabelStudio(found.url, found.token, patience)


AUDIT_FRAMES, AUDIT_WINDOWS = 120, 12


@task(task_run_name="audit {camera} {first}..{last}", retry_condition_fn=_retry, **_RETRY)
def open_audit(root: str, campaign: str, camera: str, first: str, last: str) -> dict[str, int]:
    """Draw frames and audit windows of days that drift, and hand them to people; once.

    Where a Label Studio is at hand the frames are sent there; where not, they wait for
    ``truck-counter label push``.
    """
    from labeling import audit
    from labeling.sample import sample
    from labeling.studio import push

    ws, _ = world(root)
    days, made = (_day(first), _day(last)), {"frames": 0, "windows": 0, "sent": 0}
    with _decoding(), _logged("audit", camera, f"{first}..{last}"):
        if not (ws.campaign_frames(campaign) / "frames.parquet").is_file():
            made["frames"] = sample(ws, campaign, AUDIT_FRAMES, [camera], *days)
        if not (ws.root / "audits" / campaign / "windows.parquet").is_file():
            made["windows"] = audit.draw(
                ws, campaign, AUDIT_WINDOWS, cameras=[camera], first_day=days[0], last_day=days[1]
            )
    if has_label_studio(ws):
        with _limited("label-studio"), label_studio(ws) as server:
            made["sent"] = push(ws, campaign, server, votes=3).sent
    return made


@task(task_run_name="aggregate {campaign}", retry_condition_fn=_retry, **_RETRY)
def aggregate_labels(root: str, campaign: str, method: str | None) -> dict[str, Any]:
    """Turn a campaign's votes into labels; return their summary."""
    from labeling.campaign import aggregate, summary

    ws, _ = world(root)
    return summary(aggregate(ws, campaign, method))


def _day(text: str) -> dt.date:
    from pipeline.localtime import parse_day

    return parse_day(text)


def _date(text: str | None) -> dt.date | None:
    return _day(text) if text else None


def count_rows(ws: Workspace, camera: str, day: dt.date, model_id: str) -> list[dict[str, Any]]:
    """Return a camera-day's unpublished daily rows as JSON-able records; none where not counted."""
    from pipeline import schemas

    try:
        rows = store.read_table(ws.counts(camera, day, model_id), schemas.COUNTS).to_pylist()
    except NotFoundError:
        return []
    return [{**row, "date": row["date"].date().isoformat()} for row in rows]
