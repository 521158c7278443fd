"""A page on this machine to click a camera's zones on its reference picture; it ends when saved.

It listens on the loopback address alone. Every address starts with a token made for this one page,
and the Host (and Origin) must be ours: another program's page, or a name made to point here, gets
403 and learns nothing. The page loads nothing from anywhere else, and its policy forbids it to.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import entries, reference
from pipeline.errors import InputError, TruckCounterError
from pipeline.pages.parts import render
from pipeline.view import Crop

if TYPE_CHECKING:
    from pipeline.domain import Camera, Zone
    from pipeline.store import Workspace

LOOPBACK = "127.0.0.1"
_LARGEST_BODY = 100_000


class Drawing:
    """The page of one camera: ``with Drawing(ws, camera) as page: page.until_saved()``."""

    def __init__(self, ws: Workspace, camera: Camera, port: int = 0) -> None:
        """Take the reference picture and start listening.

        Raises:
            NotFoundError, FootageError: there is no picture to draw on.
            InputError: the port is taken.
        """
        from pipeline.learning.pictures import read_picture

        path = reference.kept(ws, camera)
        self.ws, self.camera = ws, camera
        self.jpeg, self.rgb = path.read_bytes(), read_picture(path)
        self.token, self.nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(12)
        self.zones: tuple[Zone, ...] = ()
        self._saved = threading.Event()
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), _handler(self))
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error}.", "Give another.") from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def address(self) -> str:
        """Where the page is, token and all."""
        return f"http://{LOOPBACK}:{self.port}/{self.token}/"

    def __enter__(self) -> Drawing:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()

    def until_saved(self, timeout_s: float | None = None) -> tuple[Zone, ...]:
        """Wait for someone to save; return the zones as they now stand in the registry.

        Raises:
            InputError: nobody did in time.
        """
        if not self._saved.wait(timeout_s):
            raise InputError(f"nobody saved zones in {timeout_s:g} s.", "Draw them again.")
        return self.zones

    def page(self) -> bytes:
        """Return the page itself."""
        from markupsafe import Markup

        height, width = self.rgb.shape[:2]
        drawn = [entries.as_toml(zone) for zone in self.camera.zones]
        zones = json.dumps([] if drawn == [entries.PLACEHOLDER] else drawn)
        safe = zones.replace("<", "\\u003c").replace("&", "\\u0026")
        return render(
            "draw.html.j2",
            camera=self.camera.id,
            width=width,
            height=height,
            zones=Markup(safe),  # JSON in which no tag can begin
            nonce=self.nonce,
        ).encode()

    def crop(self, told: object) -> dict[str, Any]:
        """Return what the model sees of a zone: corners in picture pixels, size, and a picture."""
        zone = entries.zones_of(told, self.camera.id)[0]
        height, width = self.rgb.shape[:2]
        crop = Crop.of(zone, width, height)
        x0, y0, x1, y1 = crop.box
        seen = crop.extract(np.ascontiguousarray(self.rgb[y0:y1, x0:x1]))
        address = "data:image/jpeg;base64," + base64.b64encode(reference.as_jpeg(seen)).decode()
        return {"corners": crop.corners, "size": crop.size, "picture": address}

    def save(self, told: object) -> dict[str, Any]:
        """Write the zones into the camera's entry."""
        zones = entries.zones_of(told, self.camera.id)
        path, since = self.ws.cameras_toml, self.camera.valid_from
        registry = entries.redraw(path, self.camera.id, since, zones)
        self.zones = registry.camera(self.camera.id, since).zones
        self.camera = replace(self.camera, zones=self.zones)
        return {"saved": [zone.name for zone in self.zones]}

    def done(self) -> None:
        """Let :meth:`until_saved` return."""
        self._saved.set()


def _handler(drawing: Drawing) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            match self._asked_for():
                case "":
                    self._answer(HTTPStatus.OK, "text/html; charset=utf-8", drawing.page())
                case "reference.jpg":
                    self._answer(HTTPStatus.OK, "image/jpeg", drawing.jpeg)
                case None:
                    self._refuse(HTTPStatus.FORBIDDEN)
                case _:
                    self._refuse(HTTPStatus.NOT_FOUND)

        def do_POST(self) -> None:
            wanted = self._asked_for()
            works = {"crop": drawing.crop, "save": drawing.save}
            if wanted is None:
                self._refuse(HTTPStatus.FORBIDDEN)
            elif wanted not in works:
                self._refuse(HTTPStatus.NOT_FOUND)
            else:
                self._do(works[wanted], ends=wanted == "save")

        def _do(self, work: Any, ends: bool) -> None:  # noqa: ANN401 - crop or save
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _LARGEST_BODY:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            try:
                said = work(json.loads(self.rfile.read(int(length))))
            except (TruckCounterError, ValueError) as error:
                said, ends = {"error": str(error)}, False
            self._answer(HTTPStatus.OK, "application/json", json.dumps(said).encode())
            if ends:
                drawing.done()

        def _asked_for(self) -> str | None:
            """Return the path after the token; None where a stranger asks."""
            ours = {f"{name}:{drawing.port}" for name in (LOOPBACK, "localhost")}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") not in ours:
                return None
            if origin is not None and origin.removeprefix("http://") not in ours:
                return None
            token, _, rest = self.path.removeprefix("/").partition("/")
            if not secrets.compare_digest(token.encode(), drawing.token.encode()):
                return None
            return rest

        def _refuse(self, status: HTTPStatus) -> None:
            self.close_connection = True
            self._answer(status, "text/plain; charset=utf-8", status.phrase.encode())

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            nonce = f"'nonce-{drawing.nonce}'"
            policy = (
                f"default-src 'none'; script-src {nonce}; style-src {nonce}; "
                "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
            )
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Referrer-Policy", "same-origin")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the address holds the token."""

    return Handler
