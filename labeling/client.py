"""The only HTTP of the labelling side: a small client for Label Studio's API.

Either kind of token works: a legacy token (40 hex digits) is sent as it is; a personal access token
is exchanged for a short-lived one, and again when that runs out. Tokens appear in no message and in
no ``repr``. Reading is repeated when the network or the server fails; what writes is not, because
the server may have done it: the caller gets :class:`AmbiguousError` and has to look.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import httpx

from pipeline.errors import InputError, TruckCounterError

PAGE: Final = 500
READING_ATTEMPTS: Final = 10
TIMEOUT_S: Final = 60.0
LONGEST_WAIT_S: Final = 4.0
ANNOTATED: Final = json.dumps(
    {
        "filters": {
            "conjunction": "or",
            "items": [
                {"filter": f"filter:tasks:{name}", "operator": "greater", "type": "Number"}
                | {"value": 0}
                for name in ("total_annotations", "cancelled_annotations")
            ],
        }
    }
)
"""Label Studio overlooks ``only_annotated``, and would list all tasks with their pictures."""
VOTE: Final = "updated_at,completed_by,result,was_cancelled,lead_time"
"""What is read of an annotation; the list of fields holds for what is nested too."""
_DEAF: Final = (429, 500, 502, 503, 504)


class ServiceError(TruckCounterError):
    """Label Studio cannot be reached, or refuses what was asked."""


class AmbiguousError(ServiceError):
    """A write failed in a way that leaves open whether the server did it."""


class _Token(httpx.Auth):
    """Sends the token; exchanges a personal access token first, and again after a 401."""

    requires_response_body = True

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._access = ""
        self._personal = key.count(".") == 2

    def __repr__(self) -> str:
        return "_Token(…)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._personal:
            request.headers["Authorization"] = f"Token {self._key}"
            yield request
            return
        if not self._access:
            yield from self._exchange()
        request.headers["Authorization"] = f"Bearer {self._access}"
        response = yield request
        if response.status_code == 401:
            yield from self._exchange()
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request

    def _exchange(self) -> Generator[httpx.Request, httpx.Response, None]:
        body = {"refresh": self._key}
        response = yield httpx.Request("POST", f"{self._url}/api/token/refresh", json=body)
        if response.status_code in _DEAF:
            raise httpx.ReadError("the server failed while exchanging the token")
        self._access = str(response.json().get("access", "")) if response.is_success else ""
        if not self._access:
            raise ServiceError(
                f"{self._url} refuses the personal access token (HTTP {response.status_code}).",
                "Make a new one and set TRUCK_COUNTER_LABEL_STUDIO_API_KEY.",
            )


class LabelStudio:
    """A server and the right to use it. Use as a context manager, or call :meth:`close`.

    Args:
        url: address, e.g. ``http://127.0.0.1:8080``.
        key: either kind of token.
        timeout_s: for one call.
        wait: how to pause between attempts (seconds); replaced in tests.
    """

    def __init__(
        self,
        url: str,
        key: str,
        timeout_s: float = TIMEOUT_S,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check the address; nothing is sent yet."""
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"bad Label Studio address {url!r}.", "Start it with http(s)://.")
        try:
            self._http = httpx.Client(
                base_url=self.url, auth=_Token(self.url, key), timeout=timeout_s, trust_env=False
            )
        except httpx.InvalidURL as error:
            raise InputError(f"bad Label Studio address {url!r}: {error}.", "Mend it.") from None
        self._wait = wait

    def __repr__(self) -> str:
        """Show the address only."""
        return f"LabelStudio({self.url!r})"

    def __enter__(self) -> LabelStudio:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def whoami(self) -> str:
        """Return the e-mail address of the token's owner."""
        return str(self._read("/api/current-user/whoami")["email"])

    def users(self) -> dict[int, str]:
        """Return user number → e-mail address."""
        return {int(user["id"]): str(user["email"]) for user in self._read("/api/users")}

    def find_projects(self, title: str) -> list[int]:
        """Return the numbers of the projects with exactly this title, oldest first."""
        found = self._read("/api/projects", {"title": title, "page_size": 1000})["results"]
        return sorted(int(p["id"]) for p in found if p["title"] == title)

    def project(self, project: int) -> dict[str, Any]:
        """Return a project's settings and counts."""
        return dict(self._read(f"/api/projects/{project}"))

    def create_project(self, settings: dict[str, Any]) -> int:
        """Create a project and return its number. May raise :class:`AmbiguousError`."""
        return int(self._write("POST", "/api/projects", settings)["id"])

    def change_project(self, project: int, settings: dict[str, Any]) -> None:
        """Change a project's settings; doing it twice is doing it once, so it is repeated."""
        self._repeated(lambda: self._write("PATCH", f"/api/projects/{project}", settings))

    def import_tasks(self, project: int, tasks: list[dict[str, Any]]) -> int:
        """Add tasks in one call and return how many. May raise :class:`AmbiguousError`."""
        answer = self._write("POST", f"/api/projects/{project}/import", tasks)
        return int(answer["task_count"])

    def delete_task(self, task: int) -> None:
        """Delete a task; one that is gone already is fine."""
        self._repeated(lambda: self._write("DELETE", f"/api/tasks/{task}", None, gone_is_fine=True))

    def ask_votes(self, task: int, votes: int, *, done: bool) -> None:
        """Let a task wait for ``votes`` annotations; ``done`` where it has them. Repeated."""
        change = {"overlap": votes, "is_labeled": done}
        self._repeated(lambda: self._write("PATCH", f"/api/tasks/{task}", change))

    def tasks(self, project: int, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield every task's ``id, meta, overlap, total_annotations``: cheap, no pictures.

        They come oldest first; about so many as ``after`` are left out, never more.
        """
        shown = {"include": "id,meta,overlap,total_annotations"}
        yield from self._pages(project, shown, PAGE, after // PAGE)

    def annotated_tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """Yield every task that has annotations or was skipped, with them, without pictures."""
        shown = {"fields": "all", "include": "id,meta,annotations," + VOTE, "query": ANNOTATED}
        yield from self._pages(project, shown, PAGE)

    def _pages(
        self, project: int, query: dict[str, Any], size: int, skipped: int = 0
    ) -> Iterator[dict[str, Any]]:
        page, seen = 1 + skipped, size * skipped
        while True:
            asked = query | {"project": project, "page": page, "page_size": size}
            found = self._read("/api/tasks", asked, past_the_end={"tasks": [], "total": seen})
            yield from found["tasks"]
            seen += len(found["tasks"])
            if not found["tasks"] or seen >= int(found["total"]):
                return
            page += 1

    def _read(
        self,
        path: str,
        query: dict[str, Any] | None = None,
        past_the_end: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever JSON the server gives
        def once() -> Any:  # noqa: ANN401
            response = self._send("GET", path, query, None)
            if response.status_code == 404 and past_the_end is not None:
                return past_the_end
            return self._understood(response, path)

        return self._repeated(once)

    def _write(
        self,
        method: str,
        path: str,
        body: Any,  # noqa: ANN401
        gone_is_fine: bool = False,
    ) -> Any:  # noqa: ANN401
        response = self._send(method, path, None, body)
        if response.status_code == 404 and gone_is_fine:
            return None
        return self._understood(response, path)

    def _repeated(self, once: Callable[[], Any]) -> Any:  # noqa: ANN401
        for attempt in range(READING_ATTEMPTS):
            try:
                return once()
            except AmbiguousError:
                if attempt == READING_ATTEMPTS - 1:
                    raise
                self._wait(min(0.1 * 2.0**attempt, LONGEST_WAIT_S))
        raise AssertionError("unreachable")

    def _send(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None,
        body: Any,  # noqa: ANN401
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, params=query, json=body)
        except httpx.HTTPError as error:
            raise AmbiguousError(
                f"{self.url} did not answer {method} {path} ({type(error).__name__}).",
                "Is it running? Start it with: truck-counter label serve.",
            ) from None

    def _understood(self, response: httpx.Response, path: str) -> Any:  # noqa: ANN401
        code = response.status_code
        if code in _DEAF:
            raise AmbiguousError(f"{self.url} failed at {path} (HTTP {code}).", "Try again.")
        if code in (401, 403):
            raise ServiceError(
                f"{self.url} refuses the token (HTTP {code}).",
                "Check TRUCK_COUNTER_LABEL_STUDIO_API_KEY.",
            )
        if not response.is_success:
            said = " ".join(response.text.split())[:200]
            raise ServiceError(f"{self.url} refused {path} (HTTP {code}): {said}")
        try:
            return response.json() if response.content else None
        except ValueError:
            raise AmbiguousError(f"{self.url} gave no JSON at {path}.", "Is it cut off?") from None
