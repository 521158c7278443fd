import pytest

from pipeline import store
from pipeline.errors import InputError
from pipeline.learning import search
from pipeline.learning.options import TrainOptions
from pipeline.store import Workspace

pytest.importorskip("optuna", reason="searching needs Optuna: pip install -e '.[search]'")


class Trainer:
    """Stands in for training: the loss is lowest at a learning rate of 0.003."""

    def __init__(self, dies_after: int = 10**6) -> None:
        self.seen: list[TrainOptions] = []
        self.dies_after = dies_after

    def __call__(self, ws: Workspace, options: TrainOptions) -> str:
        if len(self.seen) == self.dies_after:
            raise KeyboardInterrupt
        self.seen.append(options)
        loss = abs(options.learning_rate - 0.003) + 0.1 * options.dropout
        model_id = f"m{options.learning_rate}"
        card = {"curve": {"final": [{"validation_loss": loss}]}}
        store.write_json(ws.model(model_id) / "card.json", card)
        return model_id


def _search(root, train, trials):
    return search.search(Workspace(root), "pictures", train, TrainOptions(seed=1), trials)


def test_a_search_taken_up_after_a_kill_goes_on_as_if_never_killed(tmp_path):
    whole = _search(tmp_path / "whole", Trainer(), 12)["trials"]
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path / "killed", Trainer(dies_after=10), 12)
    rest = Trainer()
    taken_up = _search(tmp_path / "killed", rest, 12)["trials"]

    assert len(rest.seen) == 2
    assert taken_up == whole


def test_asking_again_trains_nothing_and_asking_for_more_goes_on(tmp_path):
    first = _search(tmp_path, Trainer(), 3)
    again, more = Trainer(), Trainer()

    assert _search(tmp_path, again, 3) == first
    assert again.seen == []
    assert len(_search(tmp_path, more, 4)["trials"]) == 4
    assert len(more.seen) == 1


def test_the_best_is_the_lowest_loss_and_the_model_in_use_stays(tmp_path):
    ws = Workspace(tmp_path)
    store.write_bytes(ws.current_model, b"mine\n")
    found = _search(tmp_path, Trainer(), 6)

    assert found["best"]["loss"] == min(row["loss"] for row in found["trials"])
    assert ws.current_model.read_text() == "mine\n"
    for row in found["trials"]:
        for name, (low, high, _) in search.SPACE.items():
            assert low <= row["settings"][name] <= high


def test_the_seed_decides_what_is_tried():
    assert search.proposed([], 1) == search.proposed([], 1)
    assert search.proposed([], 1) != search.proposed([], 2)


def test_without_a_validation_part_the_brier_score_decides():
    card = {"curve": {"pupil": [{"loss": 0.1}]}, "metrics": {"brier": {"value": 0.07}}}
    assert search.loss_of(card) == 0.07


def test_without_optuna_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'truck-counter\[search\]'"):
        search.proposed([], 0)


def test_a_date_is_a_seed(tmp_path):
    options = TrainOptions(seed=20260306)
    assert search.search(Workspace(tmp_path), "pictures", Trainer(), options, 1)["trials"]
