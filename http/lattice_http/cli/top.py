"""`lattice-trio top`: the live state in a terminal, from the same socket as the page."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import attrs
import trio
from cyclopts import Parameter
from rich.live import Live
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    open_websocket_url,
)

from lattice_actors.metrics.patches import Document, apply
from lattice_http.errors import telling

from .terminal import FAILED, INTERRUPTED, WRONG_USE, say
from .top_view import screen

AGAIN_S = 2.0  # between two tries to reach a server that has gone
CONNECT_S = 10.0
GOODBYE_S = 1.0  # for the server's; who presses Ctrl+C waits for it
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
DRAWN_PER_S = 4  # the state comes ten times a second, an eye needs fewer


class NoState(Exception):
    """The server cannot be followed; the text says why."""


@attrs.define(eq=False)
class Followed:
    """The state as it was sent so far."""

    document: Document = attrs.field(factory=dict[str, Any])
    problem: str | None = None  # why there is nothing new

    def hear(self, text: str | bytes) -> bool:
        """Take a message; True: the state is another one now."""
        message = json_module.loads(text)
        match message["type"]:
            case "snapshot":
                self.document = message["state"]
            case "delta" if message["base"] == self.document.get("seq"):
                self.document = apply(self.document, message["patch"])
            case _:
                return False
        self.problem = None
        return True


def top(
    *,
    base_url: Annotated[str, Parameter(help="The server, with or without /v1.")] = (
        "http://127.0.0.1:5001"
    ),
    api_key: Annotated[str | None, Parameter(help="Its key.", env_var="LATTICE_API_KEY")] = None,
    once: Annotated[bool, Parameter(help="Show one state and end.", negative="")] = False,
    json: Annotated[
        bool, Parameter(help="Write each state as one line of JSON.", negative="")
    ] = False,
) -> int:
    """Watch a server: models, queue, swarms, requests, refusals."""
    if not base_url.startswith(("http://", "https://")):
        say(f"--base-url begins with http:// or https://, unlike {base_url!r}")
        return WRONG_USE
    root = base_url.rstrip("/").removesuffix("/v1")
    url = "ws" + root.removeprefix("http") + "/dashboard/ws"
    code = 0
    try:
        if once or json:
            trio.run(_write, url, api_key, once, json)
        else:
            trio.run(_watch, url, api_key)
    except* NoState as group:
        say(str(telling(group)))
        code = FAILED
    except* KeyboardInterrupt:
        code = INTERRUPTED
    return code


async def _write(url: str, api_key: str | None, once: bool, json: bool) -> None:
    """Print states: one, or all that come."""
    followed = Followed()
    with trio.CancelScope() as enough:

        def shown() -> None:
            if json:
                sys.stdout.write(json_module.dumps(followed.document) + "\n")
            else:
                from rich.console import Console

                Console().print(screen(followed.document, None))
            sys.stdout.flush()
            if once:
                enough.cancel(reason="one was asked for")

        await _follow(url, api_key, followed, shown)


async def _watch(url: str, api_key: str | None) -> None:
    """Draw the state for as long as the terminal is there."""
    followed = Followed(problem=f"connecting to {url}")
    with Live(screen=True, auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_follow_on, url, api_key, followed)
            while True:
                live.update(screen(followed.document, followed.problem), refresh=True)
                await trio.sleep(1 / DRAWN_PER_S)


async def _follow_on(url: str, api_key: str | None, followed: Followed) -> None:
    """Follow the server, and again when it comes back."""
    while True:
        try:
            await _follow(url, api_key, followed, lambda: None)
        except NoState as error:
            followed.problem = str(error)
        await trio.sleep(AGAIN_S)


async def _follow(
    url: str, api_key: str | None, followed: Followed, changed: Callable[[], None]
) -> None:
    """Follow until the end of the connection. Raises NoState, always."""
    connect = partial(
        open_websocket_url,
        url,
        extra_headers=[(b"Authorization", b"Bearer " + api_key.encode())] if api_key else [],
        connect_timeout=CONNECT_S,
        disconnect_timeout=GOODBYE_S,
        max_message_size=MAX_MESSAGE_BYTES,
    )
    try:
        async with connect() as socket:
            while True:
                if followed.hear(await socket.get_message()):
                    changed()
    except ConnectionRejected as error:
        why = " (a wrong key, or none: --api-key)" if error.status_code == 401 else ""
        raise NoState(f"{url} answers {error.status_code}{why}") from None
    except ConnectionClosed as error:
        reason = error.reason
        why = f"{reason.code} {reason.reason or ''}".strip() if reason is not None else "no reason"
        raise NoState(f"{url} closed the connection: {why}") from None
    except (HandshakeError, OSError) as error:
        why = str(error) or str(error.__cause__ or type(error).__name__)
        raise NoState(f"cannot reach {url}: {why}; is it running? --base-url names it") from None
