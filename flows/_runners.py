"""Where a flow's tasks run, by setting: threads, processes, Dask or Ray. No scheduler of our own.

``TRUCK_COUNTER_TASK_RUNNER`` is ``threads`` (default), ``processes``, ``dask`` or ``ray``;
``TRUCK_COUNTER_TASK_WORKERS`` says how many tasks run at a time (default: the machine's cores);
``TRUCK_COUNTER_TASK_ADDRESS`` names a Dask scheduler or a Ray cluster that is already there.
Dask and Ray need the extra of that name.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from flows._prefect import task_runners
from pipeline import cores
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner


def task_runner() -> TaskRunner[Any]:
    """Return the task runner that the environment asks for.

    Raises:
        ConfigError: an unknown kind or number, or an extra that is not installed.
    """
    kind = os.environ.get("TRUCK_COUNTER_TASK_RUNNER", "threads")
    if kind not in _MAKERS:
        known = ", ".join(_MAKERS)
        raise ConfigError(f"TRUCK_COUNTER_TASK_RUNNER is {kind!r}.", f"Use one of {known}.")
    address = os.environ.get("TRUCK_COUNTER_TASK_ADDRESS") or None
    runner: TaskRunner[Any] = _MAKERS[kind](_workers(), address)
    return runner


def _threads(workers: int, address: str | None) -> Any:  # noqa: ANN401 - Prefect's class
    return task_runners.ThreadPoolTaskRunner(max_workers=workers)


def _processes(workers: int, address: str | None) -> Any:  # noqa: ANN401
    return task_runners.ProcessPoolTaskRunner(max_workers=workers)


def _dask(workers: int, address: str | None) -> Any:  # noqa: ANN401
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    runner = _extra("prefect_dask", "DaskTaskRunner", "dask")
    return runner(address=address) if address else runner(cluster_kwargs=local)


def _ray(workers: int, address: str | None) -> Any:  # noqa: ANN401
    local = {"num_cpus": workers, "include_dashboard": False}
    runner = _extra("prefect_ray", "RayTaskRunner", "ray")
    return runner(address=address) if address else runner(init_kwargs=local)


_MAKERS = {"threads": _threads, "processes": _processes, "dask": _dask, "ray": _ray}


def _workers() -> int:
    text = os.environ.get("TRUCK_COUNTER_TASK_WORKERS") or str(cores.usable())
    if not (text.isdecimal() and int(text) > 0):
        raise ConfigError(f"TRUCK_COUNTER_TASK_WORKERS is {text!r}.", "Give a number above 0.")
    return int(text)


def _extra(package: str, name: str, kind: str) -> Any:  # noqa: ANN401 - an optional package's class
    try:
        return getattr(importlib.import_module(package), name)
    except ModuleNotFoundError:
        raise ConfigError(
            f"TRUCK_COUNTER_TASK_RUNNER is {kind!r} but {package} is not installed.",
            f"Install truck-counter[{kind}].",
        ) from None
