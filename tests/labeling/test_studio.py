"""Against a real server: every task once, every vote attributed."""

from __future__ import annotations

import collections
import json
import stat

import httpx
import pytest

from labeling import campaign, server, studio, tasks
from labeling.client import LabelStudio, ServiceError
from labeling.extra import ExtraVotes
from labeling.gold import GoldShare
from labeling.ledger import EXPERTS, Ledger
from pipeline import store
from pipeline.errors import ConfigError, InputError, NotFoundError


def numbers(client: LabelStudio, project: int) -> dict[str, int]:
    """Frame → task number; fails where a frame is there twice."""
    listed = list(client.tasks(project))
    found = {tasks.frame_of(t): int(t["id"]) for t in listed}
    assert len(found) == len(listed)
    return found


def vote(url: str, token: str, votes: dict[int, str]) -> None:
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Token {token}"}, timeout=60
    ) as http:
        for task, label in votes.items():
            body = {"result": tasks.result_of(label), "lead_time": 2.0}
            http.post(f"/api/tasks/{task}/annotations", json=body).raise_for_status()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_tasks_four_people(workspace_of, credentials, people):
    check_campaign(workspace_of(1000), 1000, credentials, people)


def test_forty_tasks_four_people(workspace_of, credentials, people):
    check_campaign(workspace_of(40), 40, credentials, people)


def check_campaign(ws, n, credentials, people):
    """Push n tasks, let everybody vote on every fourth and all on the first eight, pull."""
    truth = {f"f{i:05d}": i % 3 == 0 for i in range(n)}
    with LabelStudio(credentials.url, credentials.token) as client:
        pushed = studio.push(ws, "spring", client, votes=4)
        assert (pushed.sent, pushed.confirmed, pushed.removed) == (n, n, 0)
        there = numbers(client, pushed.project)
        assert set(there) == set(truth)
        again = studio.push(ws, "spring", client, votes=4)
        assert (again.sent, again.confirmed, again.project) == (0, n, pushed.project)
        expected = {}
        for k, (email, token) in enumerate(people.items()):
            mine = [f for i, f in enumerate(truth) if i < 8 or i % 4 == k]
            said = {f: "truck" if truth[f] else "no_truck" for f in mine}
            if k == 3:
                said["f00000"] = "cant_tell"
            vote(credentials.url, token, {there[f]: label for f, label in said.items()})
            expected |= {(f, email): label for f, label in said.items()}
        assert len(expected) == n + 24
        pulled = studio.pull(ws, "spring", client)
        assert (pulled.tasks, pulled.annotations, pulled.added) == (n, n + 24, n + 24)
        again = studio.pull(ws, "spring", client)
        assert (again.annotations, again.added, again.changed) == (n + 24, 0, 0)
    held = campaign.read_annotations(ws, "spring")
    columns = held[["frame_id", "worker", "label"]].itertuples(index=False)
    assert {(f, w): label for f, w, label in columns} == expected
    assert set(held["source"]) == {"label_studio"}
    assert (held["seconds_spent"] == 2.0).all()
    labels = campaign.aggregate(ws, "spring", "majority").labels
    said = dict(zip(labels["frame_id"], labels["label"], strict=True))
    assert said == {f: "truck" if t else "no_truck" for f, t in truth.items()}


def test_a_changed_mind_and_a_skip(workspace_of, credentials, people, studio_client):
    ws = workspace_of(3)
    project = studio.push(ws, "spring", studio_client).project
    there = numbers(studio_client, project)
    email, token = next(iter(people.items()))
    headers = {"Authorization": f"Token {token}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http:
        body = {"result": tasks.result_of("truck")}
        first = http.post(f"/api/tasks/{there['f00000']}/annotations", json=body).json()
        skip = {"result": [], "was_cancelled": True}
        http.post(f"/api/tasks/{there['f00001']}/annotations", json=skip).raise_for_status()
        pulled = studio.pull(ws, "spring", studio_client)
        assert (pulled.annotations, pulled.skipped) == (1, 1)
        listed = list(studio_client.annotated_tasks(project))  # neither the third nor pictures
        assert sorted(tasks.frame_of(t) for t in listed) == ["f00000", "f00001"]
        assert all("data" not in t for t in listed)
        body = {"result": tasks.result_of("no_truck")}
        http.patch(f"/api/annotations/{first['id']}", json=body).raise_for_status()
    pulled = studio.pull(ws, "spring", studio_client)
    assert (pulled.added, pulled.changed) == (0, 1)
    held = campaign.read_annotations(ws, "spring")
    assert held[["frame_id", "worker", "label"]].values.tolist() == [["f00000", email, "no_truck"]]


def test_copies_are_removed_and_votes_kept(workspace_of, credentials, people, studio_client):
    ws = workspace_of(5)
    project = studio.push(ws, "spring", studio_client).project
    there = numbers(studio_client, project)
    copies = [
        tasks.task_of({"frame_id": f, "camera_id": "", "zone": "", "batch": ""}, "spring", "x")
        for f in ("f00001", "f00002")
    ]
    studio_client.import_tasks(project, copies)  # as a server that committed late would
    newest = max(int(t["id"]) for t in studio_client.tasks(project))
    vote(credentials.url, next(iter(people.values())), {newest: "truck"})
    pushed = studio.push(ws, "spring", studio_client)
    assert (pushed.sent, pushed.confirmed, pushed.removed) == (0, 5, 2)
    left = numbers(studio_client, project)
    assert left["f00001"] == there["f00001"]  # nobody had voted: the oldest stays
    assert left["f00002"] == newest  # the copy that was voted on stays


def test_more_frames_later_and_close(workspace_of, studio_client):
    ws = workspace_of(4)
    first = studio.push(ws, "spring", studio_client)
    table = ws.campaign_frames("spring") / "frames.parquet"
    rows = store.read_table(table).to_pylist()
    store.write_table(
        table,
        store.table_of([*rows, rows[0] | {"frame_id": "new"}], schemas_frames()),
        schemas_frames(),
    )
    second = studio.push(ws, "spring", studio_client)
    assert (second.sent, second.confirmed, second.project) == (1, 5, first.project)
    studio.close(ws, "spring", studio_client)
    assert str(studio_client.project(first.project)["title"]).startswith("(closed)")
    with pytest.raises(InputError, match="'spring' is closed"):
        studio.push(ws, "spring", studio_client)


def schemas_frames():
    from pipeline import schemas

    return schemas.FRAMES


def test_gold_looks_like_any_task_and_changes_no_label(
    workspace_of, sure_votes, credentials, people, studio_client
):
    ws = workspace_of(40)
    truth = sure_votes(ws, 40)
    share = GoldShare(0.2, seed=1)
    pushed = studio.push(ws, "spring", studio_client, votes=1, gold_share=share)
    assert (pushed.sent, pushed.confirmed, pushed.gold) == (50, 50, 10)
    again = studio.push(ws, "spring", studio_client, gold_share=share)
    assert (again.sent, again.confirmed, again.gold) == (0, 50, 10)
    there = numbers(studio_client, pushed.project)
    gold = Ledger.read(ws, "spring").gold
    assert len(set(gold) & set(there)) == 10
    headers = {"Authorization": f"Token {credentials.token}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http:
        shown = {
            name: http.get(f"/api/tasks/{there[name]}").json()
            for name in ("f00000", next(iter(gold)))
        }
    assert len({tuple(sorted(task["data"])) for task in shown.values()}) == 1
    assert not any("gold" in json.dumps([t["data"], t["meta"]]) for t in shown.values())
    email, token = next(iter(people.items()))
    vote(credentials.url, token, dict.fromkeys(there.values(), "no_truck"))
    pulled = studio.pull(ws, "spring", studio_client)
    assert (pulled.annotations, pulled.gold, pulled.added) == (50, 10, 50)
    assert studio.pull(ws, "spring", studio_client).added == 0
    held = campaign.read_annotations(ws, "spring")
    assert (held["source"] == "label_studio").sum() == 40
    result = campaign.aggregate(ws, "spring")
    said = dict(zip(result.labels["frame_id"], result.labels["label"], strict=True))
    assert said == {f: "truck" if t else "no_truck" for f, t in truth.items()}
    skill = campaign.summary(result)["gold"]
    assert [(g["worker"], g["n_gold"], g["n_right"]) for g in skill] == [(email, 10, 5)]
    assert {f["worker"]: f["flag"] for f in campaign.summary(result)["flagged"]} == {
        email: "constant"
    }


def test_one_more_vote_where_the_posterior_is_unsure(
    workspace_of, credentials, people, studio_client
):
    ws = workspace_of(6)
    project = studio.push(ws, "spring", studio_client, votes=2).project
    there = numbers(studio_client, project)
    (_, ann), (_, bob), (_, cem), _ = people.items()
    for token, odd in ((ann, "truck"), (bob, "no_truck")):
        said = {f: "truck" if i % 2 else "no_truck" for i, f in enumerate(sorted(there))}
        said |= {"f00004": odd, "f00005": "cant_tell"}
        vote(credentials.url, token, {there[f]: label for f, label in said.items()})
    studio.pull(ws, "spring", studio_client)
    unsure = ExtraVotes(0.25, 0.75, 3)
    assert studio.push(ws, "spring", studio_client).asked == 0
    assert studio.push(ws, "spring", studio_client, extra_votes=unsure).asked == 1
    assert studio.push(ws, "spring", studio_client, extra_votes=unsure).asked == 0
    wanted = {tasks.frame_of(t): t["overlap"] for t in studio_client.tasks(project)}
    assert wanted == {f: 3 if f == "f00004" else 2 for f in there}
    headers = {"Authorization": f"Token {cem}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http:
        offered = http.get(f"/api/projects/{project}/next").json()
        assert offered["id"] == there["f00004"]  # the only one that waits for a vote
        vote(credentials.url, cem, {there["f00004"]: "truck"})
        assert http.get(f"/api/projects/{project}/next").status_code == 404
    studio.pull(ws, "spring", studio_client)
    assert studio.push(ws, "spring", studio_client, extra_votes=unsure).asked == 0
    labels = campaign.aggregate(ws, "spring").labels.set_index("frame_id")
    assert labels.loc["f00004", ["label", "n_annotations"]].tolist() == ["truck", 3]


def test_experts_settle_what_is_tied(workspace_of, credentials, people, studio_client):
    ws = workspace_of(4)
    project = studio.push(ws, "spring", studio_client, votes=2).project
    there = numbers(studio_client, project)
    (_, ann), (_, bob), (eve, cem), (_, dua) = people.items()
    for token, odd in ((ann, "truck"), (bob, "no_truck")):
        said = dict(zip(sorted(there), (odd, odd, "truck", "no_truck"), strict=True))
        vote(credentials.url, token, {there[f]: label for f, label in said.items()})
    studio.pull(ws, "spring", studio_client)
    with pytest.raises(InputError, match=r"'nobody@crew\.example' is no user"):
        studio.push_to_experts(ws, "spring", studio_client, ["nobody@crew.example"])
    pushed = studio.push_to_experts(ws, "spring", studio_client, [eve])
    assert (pushed.sent, pushed.confirmed) == (2, 2)
    assert pushed.project != project
    assert studio.push_to_experts(ws, "spring", studio_client, [eve]).sent == 0
    asked = numbers(studio_client, pushed.project)
    assert sorted(asked) == ["f00000", "f00001"]
    vote(credentials.url, dua, {asked["f00000"]: "truck"})  # not an expert
    vote(credentials.url, cem, {asked["f00000"]: "no_truck", asked["f00001"]: "truck"})
    pulled = studio.pull(ws, "spring", studio_client)
    assert (pulled.adjudicated, pulled.foreign, pulled.added) == (2, 1, 2)
    labels = campaign.aggregate(ws, "spring").labels.set_index("frame_id")
    assert labels["label"].tolist() == ["no_truck", "truck", "truck", "no_truck"]
    assert labels["method"].tolist() == [*["adjudicated"] * 2, *["dawid_skene"] * 2]
    assert campaign.waiting(ws, "spring") == {}
    studio.close(ws, "spring", studio_client)
    for number in (project, pushed.project):
        assert str(studio_client.project(number)["title"]).startswith("(closed)")
    assert Ledger.read(ws, "spring", EXPERTS).closed


def test_the_commands(workspace_of, credentials, monkeypatch):
    from click.testing import CliRunner

    from flows.cli import cli

    monkeypatch.setenv("TRUCK_COUNTER_LABEL_STUDIO_URL", credentials.url)
    monkeypatch.setenv("TRUCK_COUNTER_LABEL_STUDIO_API_KEY", credentials.token)
    ws = workspace_of(3)

    def run(*words: str) -> dict:
        done = CliRunner().invoke(
            cli, ["label", *words, "--root", str(ws.root), "--json"], catch_exceptions=False
        )
        assert done.exit_code == 0
        assert credentials.token not in done.output
        return json.loads(done.stdout)

    assert run("push", "spring", "--votes", "2")["sent"] == 3
    assert run("push", "spring", "--extra")["sent"] == 0
    assert Ledger.read(ws, "spring").votes == 2  # as before
    assert run("pull", "spring")["annotations"] == 0
    assert run("status", "spring")["pushed"]["confirmed"] == 3
    steps_of_flows(ws, monkeypatch)
    assert run("close", "spring")["annotations"] == 0


def steps_of_flows(ws, monkeypatch) -> None:
    """The same steps as Prefect tasks, without a Prefect server."""
    from flows import _steps

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    ws.cameras_toml.write_text(
        '[[camera]]\nid = "gate"\nsite = "yard"\ntimezone = "UTC"\nsource = "x/*.mp4"\n'
        'zones = [{ name = "out", polygon = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]] }]\n'
    )
    root = str(ws.root)
    pushed = _steps.push_tasks.fn(root, "spring", extra=True)
    assert (pushed["sent"], pushed["confirmed"]) == (0, 3)
    found = _steps.campaign_status.fn(root, "spring", 0.1)
    assert (found["frames"], found["pushed"]["votes_wanted"]) == (3, 2)


def test_both_kinds_of_token(credentials):
    headers = {"Authorization": f"Token {credentials.token}"}
    with httpx.Client(base_url=credentials.url, headers=headers, timeout=60) as http:
        personal = http.post("/api/token/").json()["token"]
    for token in (credentials.token, personal):
        with LabelStudio(credentials.url, token) as client:
            assert client.whoami() == credentials.email
    with (
        LabelStudio(credentials.url, "0" * 40) as client,
        pytest.raises(ServiceError, match="refuses the token") as caught,
    ):
        client.whoami()
    assert "0" * 40 not in str(caught.value)


def test_secrets_stay_secret(credentials, studio_folder):
    folder = studio_folder
    kept = folder / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert server.read_credentials(folder) == credentials
    log = (folder / "server.log").read_text(errors="replace")
    assert credentials.token not in log
    assert credentials.password not in log
    assert credentials.token not in repr(credentials)
    assert credentials.token not in repr(LabelStudio(credentials.url, credentials.token).__dict__)
    with httpx.Client(base_url=credentials.url) as http:  # nobody gets in without an invitation
        assert http.get("/api/projects").status_code == 401


def test_what_is_missing_is_named(workspace_of, studio_client):
    ws = workspace_of(1)
    winter = GoldShare(campaign="winter")
    with pytest.raises(InputError, match="'winter' has no guess"):
        studio.push(ws, "spring", studio_client, show_guess={"f00000": 0.5}, gold_share=winter)
    with pytest.raises(NotFoundError, match="'autumn'"):
        studio.push(ws, "autumn", studio_client)
    with pytest.raises(NotFoundError, match="never pushed"):
        studio.pull(ws, "spring", studio_client)
    with pytest.raises(ServiceError, match="did not answer"), dead() as client:
        studio.push(ws, "spring", client)


def dead() -> LabelStudio:
    return LabelStudio("http://127.0.0.1:9", "0" * 40, wait=lambda _: None)


def test_half_a_setting_is_told(tmp_path, monkeypatch):
    from flows import _steps

    monkeypatch.setenv("TRUCK_COUNTER_LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("TRUCK_COUNTER_LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(InputError, match="LABEL_STUDIO_API_KEY is not set"):
        _steps.label_studio(store.Workspace(tmp_path))
    monkeypatch.setenv("TRUCK_COUNTER_LABEL_STUDIO_TIMEOUT_S", "soon")
    with pytest.raises(ConfigError, match="bad TRUCK_COUNTER_LABEL_STUDIO_TIMEOUT_S"):
        _steps.label_studio(store.Workspace(tmp_path))


def test_shares_of_the_page():
    page = tasks.interface()
    for key in "123":
        assert f'hotkey="{key}"' in page
    assert "$guess" not in page
    assert "$guess" in tasks.interface(show_guess=True)
    assert collections.Counter(page)["<"] > 5
