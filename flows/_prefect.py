"""The one door to Prefect: tells it what it must know before its first import, then imports it.

Only defaults are set (:mod:`flows._temporary`), so whatever the operator says stands. Prefect's log
goes to stderr, so stdout stays free for ``--json``.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from flows import _processes, _temporary
from pipeline.errors import TruckCounterError

Answer = TypeVar("Answer")

_temporary.set_defaults()

from prefect import (  # noqa: E402
    artifacts,
    flow,
    get_run_logger,
    runtime,
    task,
    task_runners,
)
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.client.schemas.filters import (  # noqa: E402
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
)
from prefect.client.schemas.objects import FlowRun, State, StateType  # noqa: E402
from prefect.client.schemas.sorting import FlowRunSort  # noqa: E402
from prefect.concurrency.sync import concurrency  # noqa: E402
from prefect.deployments import run_deployment  # noqa: E402
from prefect.events import emit_event  # noqa: E402
from prefect.futures import PrefectFuture  # noqa: E402
from prefect.states import Completed, Scheduled  # noqa: E402
from prefect.tasks import exponential_backoff  # noqa: E402

__all__ = [
    "Completed",
    "PrefectFuture",
    "State",
    "StateType",
    "answering",
    "artifacts",
    "concurrency",
    "emit_event",
    "exponential_backoff",
    "flow",
    "get_client",
    "get_run_logger",
    "lasting",
    "newest_due",
    "patiently",
    "run_again",
    "run_deployment",
    "run_here",
    "runtime",
    "server",
    "task",
    "task_runners",
]


def run_here(run: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - any flow
    """Run a flow in this process and return its final state.

    Raises:
        TruckCounterError: no Prefect server answers, be it the temporary one or the one named.
    """
    _processes.leave_nothing_behind()
    with answering(), _temporary.at_hand():
        return run(*arguments, return_state=True)


@contextmanager
def answering() -> Iterator[None]:
    """Turn a server that does not answer, or knows no such deployment, into one line.

    Raises:
        TruckCounterError: naming the address and what to do.
    """
    import httpx
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        yield
    except PrefectHTTPStatusError as error:
        if not _is_busy(error):
            raise
        raise TruckCounterError(
            f"the Prefect server at {server()} answers {error.response.status_code}: too busy.",
            "Run the same command again later; what is handed over already is not done twice.",
        ) from error
    except httpx.TransportError as error:
        raise _unreachable(type(error).__name__) from error
    except RuntimeError as error:
        if "Failed to reach API" in str(error):
            raise _unreachable("connection failed") from error
        raise
    except ObjectNotFound as error:
        raise TruckCounterError(
            f"the Prefect server at {server()} knows no such deployment.",
            "Make the deployments known: truck-counter up, or prefect deploy --all.",
        ) from error


def patiently(call: Callable[[], Answer], waits: Sequence[float] = (1, 2, 4, 8, 16)) -> Answer:
    """Make a call that may be repeated, again while the server is too busy to answer it.

    Prefect's client has tried a few times by then; a server on SQLite may need longer.
    """
    import httpx

    for wait_s in waits:
        try:
            return call()
        except (httpx.TimeoutException, httpx.HTTPStatusError) as error:
            if not _is_busy(error):
                raise
        time.sleep(wait_s)
    return call()


def _is_busy(error: Exception) -> bool:
    """Tell whether a server had no time to answer, from one that says no."""
    answer = getattr(error, "response", None)
    return answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR


def _unreachable(why: str) -> TruckCounterError:
    return TruckCounterError(
        f"the Prefect server at {server() or 'the temporary address'} does not answer ({why}).",
        "Start it with truck-counter up, or unset PREFECT_API_URL for a temporary one.",
    )


def server() -> str:
    """Return the address of the server that environment or profile name; empty: a temporary one."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or ""


def lasting() -> bool:
    """Tell whether the server is one that ``truck-counter up``, or somebody, keeps running."""
    return bool(server()) and _temporary.OURS not in os.environ


def newest_due() -> dt.datetime:
    """Return the latest instant until now that this run's deployment was scheduled for.

    While a run goes on its deployment's later ones are cancelled, so it does their work, too. A run
    that is nobody's but its caller's has its own instant alone.
    """
    own: dt.datetime = runtime.flow_run.scheduled_start_time
    deployment = runtime.deployment.id
    if deployment is None:
        return own
    expected = FlowRunFilterExpectedStartTime.model_validate(
        {"after_": own, "before_": dt.datetime.now(dt.UTC)}
    )
    asked = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment)]),
        expected_start_time=expected,
    )
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=asked, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )
    return max([own, *(run.expected_start_time or own for run in found)])


def run_again(run: FlowRun) -> str:
    """Schedule a run that has ended anew; return the name of the state it is in then.

    It is looked at again first: asked twice, a run that a worker has taken meanwhile goes on.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run.id)
        if run.state is None or not run.state.is_final():
            return (run.state and run.state.name) or ""
        client.set_flow_run_state(run.id, Scheduled(), force=True)
    return "Scheduled"
