"""A campaign's frames, votes and labels as files for other people's tools; see ``formats``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from labeling import campaign as campaigns
from labeling import formats
from pipeline import store
from pipeline.errors import InputError, NotFoundError
from pipeline.store import Workspace

if TYPE_CHECKING:
    import pandas as pd


def export(ws: Workspace, campaign: str, form: str, folder: Path, address: str = "") -> list[Path]:
    """Write a campaign in another form and return the files, in ``folder``.

    Args:
        ws: the workspace.
        campaign: its name.
        form: ``csv`` (the votes), ``ground-truth`` or ``coco`` (the labels), or ``crowd`` (what a
            market needs to ask people: its input file and its page).
        folder: made where there is none.
        address: put before every picture's name, e.g. ``https://pictures.example/spring``; a
            slash between the two is added unless it ends in one, or in the ``=`` of a query.

    Raises:
        NotFoundError: there is no such campaign, or it has no votes or labels.
        InputError: a market is to show pictures without an address, or the form has no use for it.
    """
    if address and form not in ADDRESSED:
        raise InputError(
            f"--address {address} is of no use to {form}.",
            f"Leave it out, or choose {' or '.join(ADDRESSED)}.",
        )
    if address and not address.endswith(("/", "=")):
        address += "/"
    texts = FORMS[form](ws, campaign, address)
    for name, text in texts.items():
        store.write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]


def _csv(ws: Workspace, campaign: str, _address: str) -> dict[str, str]:
    campaigns.read_frames(ws, campaign)
    votes = campaigns.read_annotations(ws, campaign)
    if votes.empty:
        raise NotFoundError(f"campaign {campaign!r} has no annotations.", "Pull or import some.")
    return {"votes.csv": formats.votes_csv(votes)}


def _ground_truth(ws: Workspace, campaign: str, address: str) -> dict[str, str]:
    frames, labels = campaigns.read_frames(ws, campaign), _labels(ws, campaign)
    given = campaigns.read_annotations(ws, campaign)["annotated_at"].dropna()
    made_at: dt.datetime | None = given.max().to_pydatetime() if len(given) else None
    text = formats.ground_truth_manifest(labels, frames, campaign, made_at, address)
    return {"output.manifest": text}


def _coco(ws: Workspace, campaign: str, _address: str) -> dict[str, str]:
    import simplejpeg

    frames, labels = campaigns.read_frames(ws, campaign), _labels(ws, campaign)
    sizes_px: dict[str, tuple[int, int]] = {}
    for name in sorted(set(frames["path"])):
        path = ws.campaign_frames(campaign) / name
        if not path.is_file():
            raise NotFoundError(f"no such picture: {path}.", "Sample the campaign again.")
        height, width, *_ = simplejpeg.decode_jpeg_header(path.read_bytes())
        sizes_px[name] = width, height
    return {"coco.json": store.json_text(formats.coco(labels, frames, sizes_px))}


def _crowd(ws: Workspace, campaign: str, address: str) -> dict[str, str]:
    if not address:
        raise InputError(
            "a market cannot show pictures that have no address.",
            "Put them on a server and name it: --address https://….",
        )
    frames = campaigns.read_frames(ws, campaign)
    return {
        "crowd-input.csv": formats.crowd_input(frames, address),
        "crowd-template.html": formats.crowd_template(),
    }


FORMS: Final[dict[str, Callable[[Workspace, str, str], dict[str, str]]]] = {
    "csv": _csv,
    "ground-truth": _ground_truth,
    "coco": _coco,
    "crowd": _crowd,
}

ADDRESSED: Final = ("ground-truth", "crowd")
"""The forms that name pictures by address."""


def _labels(ws: Workspace, campaign: str) -> pd.DataFrame:
    found = campaigns.read_labels(ws, campaign)
    if found.empty:
        raise NotFoundError(
            f"campaign {campaign!r} has no labels.",
            "Make them with: truck-counter label aggregate.",
        )
    return found
