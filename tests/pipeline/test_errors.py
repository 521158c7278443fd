"""Errors are one line that names the value and the remedy."""

from __future__ import annotations

import pytest

from pipeline import errors


def test_value_and_remedy_become_one_line():
    error = errors.InputError("bad\n date 'x'.", "Write\t it so.")
    assert str(error) == "bad date 'x'. Write it so."
    assert str(errors.StoreError("full.")) == "full."


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.ConfigError, errors.TruckCounterError),
        (errors.InputError, errors.TruckCounterError),
        (errors.NotFoundError, errors.InputError),
        (errors.FootageError, errors.TruckCounterError),
        (errors.ModelError, errors.TruckCounterError),
        (errors.StoreError, errors.TruckCounterError),
        (errors.StoreAwayError, errors.StoreError),
    ],
)
def test_the_tree(kind, base):
    assert kind.__base__ is base
    assert kind.__name__ in (errors.__doc__ or "")


def test_every_error_is_in_the_tree_of_the_docstring():
    named = [n for n in vars(errors) if n.endswith("Error") and n != "TruckCounterError"]
    tree = "ConfigError InputError NotFoundError FootageError ModelError StoreError StoreAwayError"
    assert sorted(named) == sorted(tree.split())
