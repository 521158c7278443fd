"""The page about a campaign: everything a manager asks, in one file."""

from __future__ import annotations

import re

from labeling import campaign, crowd, page

TRUTH = {f"f{i:05d}": i % 3 == 0 for i in range(60)}


def test_page_before_any_vote(workspace_of):
    text = page.write_page(workspace_of(2), "spring").read_text()
    assert "no votes yet" in text


def test_page_shows_people_costs_and_hard_frames(workspace_of):
    ws = workspace_of(60)
    votes = crowd.annotate(TRUTH, 5, seed=1)
    votes["worker"] = votes["worker"].str.replace("sim-ada", "<ada>")
    campaign.add_table(ws, "spring", votes)
    result = campaign.aggregate(ws, "spring")
    labels = result.labels.set_index("frame_id")["label"].dropna()
    p_model = {f: 0.95 if label == "truck" else 0.03 for f, label in labels.items()}
    odd = next(f for f, label in labels.items() if label == "truck")
    p_model[odd] = 0.01
    path = page.write_page(ws, "spring", price=0.1, budget=50.0, p_model=p_model)
    text = path.read_text()
    assert path.name == "campaign-spring.html"
    assert "&lt;ada&gt;" in text
    assert "<ada>" not in text
    assert re.search(r"budget left</th><td class=\"n\">20\.0<", text)
    assert "<h2>Hard frames</h2>" in text
    assert [row["frame_id"] for row in page.doubtful_frames(ws, "spring", p_model)] == [odd]
    assert not re.search(r"(src|href)=\"(?!data:)", text)  # nothing is fetched from elsewhere


def test_page_of_a_campaign_that_has_fewer_frames_than_votes(workspace_of):
    ws = workspace_of(60)
    campaign.add_table(ws, "spring", crowd.annotate(TRUTH, 4, seed=3))
    campaign.aggregate(ws, "spring", "majority")
    ws = workspace_of(10)
    text = page.write_page(ws, "spring", p_model=dict.fromkeys(TRUTH, 0.5)).read_text()
    assert '<th>judged at least once</th><td class="n">10</td>' in text
    assert '<th>with votes, but not in the campaign now</th><td class="n">50</td>' in text
    assert "spent" not in text
    assert "cost" not in text.lower()


def test_galleries_show_the_votes_held_now(workspace_of):
    ws = workspace_of(3)
    rows = [
        {"frame_id": "f00001", "worker": w, "label": label}
        | {"annotated_at": None, "seconds_spent": None, "source": "import"}
        for w, label in (("ann", "truck"), ("bob", "no_truck"))
    ]
    campaign.add_annotations(ws, "spring", rows[:1])
    campaign.aggregate(ws, "spring", "majority")
    assert page.hard_frames(ws, "spring") == []
    campaign.add_annotations(ws, "spring", rows[1:])  # a tie, and no label is made of it yet
    assert [row["frame_id"] for row in page.hard_frames(ws, "spring")] == ["f00001"]
    assert [row["frame_id"] for row in page.waiting_frames(ws, "spring")] == ["f00001"]


def test_unresolved_frames_come_first(workspace_of):
    ws = workspace_of(60)
    campaign.add_table(ws, "spring", crowd.annotate(TRUTH, 4, seed=3))
    campaign.aggregate(ws, "spring", "majority")
    hard = page.hard_frames(ws, "spring", most=60)
    unresolved = [row["label"] is None for row in hard]
    assert unresolved == sorted(unresolved, reverse=True)
    assert sum(hard[0]["votes"].values()) == 4
    assert hard[0]["picture"].startswith("data:image/jpeg;base64,")
