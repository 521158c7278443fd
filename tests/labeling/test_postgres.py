"""Label Studio on PostgreSQL by URL: a cluster of our own, a campaign there and back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from labeling import campaign, server, studio, tasks
from labeling.client import LabelStudio
from pipeline import loopback
from pipeline.errors import InputError

DEBIAN = Path("/usr/lib/postgresql")


def programs() -> Path | None:
    """Return the folder of ``initdb`` and ``pg_ctl``: Debian keeps them off the path."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database on loopback."""
    where = programs()
    if where is None:
        pytest.skip("no PostgreSQL here: install Debian's postgresql")
    # PostgreSQL refuses to run as root; Debian's package comes with a user for it.
    other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="truck-counter-pg-"))
    (folder / "password").write_text("se:cr/et")
    if other:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    port = loopback.free_port()

    def run(*words: str) -> None:
        command = [*other, str(where / words[0]), *words[1:]]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)

    data = str(folder / "data")
    login = ["-U", "crew", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    run("initdb", "-D", data, *login, "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://crew:se%3Acr%2Fet@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_campaign_on_postgresql(database, studio_environment, workspace_of, tmp_path):
    ws, folder = workspace_of(300), tmp_path / "studio"
    with server.serve(folder, database_url=database) as reached:
        with LabelStudio(reached.url, reached.token) as client:
            pushed = studio.push(ws, "spring", client, votes=1)
            assert (pushed.sent, pushed.confirmed, pushed.removed) == (300, 300, 0)
            there = {tasks.frame_of(t): t["id"] for t in client.tasks(pushed.project)}
            headers = {"Authorization": f"Token {reached.token}"}
            with httpx.Client(base_url=reached.url, headers=headers, timeout=60) as http:
                for name in sorted(there)[:20]:
                    body = {"result": tasks.result_of("truck"), "lead_time": 1.0}
                    path = f"/api/tasks/{there[name]}/annotations"
                    http.post(path, json=body).raise_for_status()
            assert studio.pull(ws, "spring", client).annotations == 20
            assert studio.push(ws, "spring", client).sent == 0
        held = campaign.read_annotations(ws, "spring")
        assert sorted(held["frame_id"]) == sorted(there)[:20]
        assert set(held["worker"]) == {server.EMAIL}
    assert "se:cr/et" not in (folder / "server.log").read_text(errors="replace")
    assert not list((folder / "data").glob("*.sqlite3"))  # it really was PostgreSQL
    with (
        server.serve(folder, database_url=database) as again,
        LabelStudio(again.url, again.token) as client,
    ):
        assert len(list(client.tasks(pushed.project))) == 300  # what it held is still there


@pytest.mark.parametrize(
    "address",
    [
        "mysql://crew:secret@127.0.0.1/x",
        "postgresql://crew:secret@127.0.0.1:many/x",
        "postgresql://crew:secret@127.0.0.1",
        "postgresql:///x",
        "secret",
    ],
)
def test_a_bad_address_is_refused_and_not_repeated(tmp_path, address):
    with (
        pytest.raises(InputError, match="bad database address") as caught,
        server.serve(tmp_path / "none", database_url=address),
    ):
        raise AssertionError("started")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_refused(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"port {port} cannot be used"),
            server.serve(tmp_path / "none", port=port),
        ):
            raise AssertionError("started")
