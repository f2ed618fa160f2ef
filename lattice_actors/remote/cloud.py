"""Anthropic, through its own SDK: what is sent, what is never sent, and what it cost.

The SDK is imported when the actor starts, and in a thread: it takes a second and 50 MB. It makes
the request and its errors; the bytes of the answer are read here, because a broken server must
neither fill the memory nor look alive. Looking at what there is asks nobody: the settings say it.
Nothing is connected before the first request that goes there.
"""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType, TracebackType
from typing import Any, Self

import attrs
import httpx2
import trio

from lattice_actors.admission.ticket import Ticket
from lattice_actors.catalog.entry import ModelEntry
from lattice_actors.errors import UpstreamBusy, UpstreamFailed
from lattice_actors.generation import Chat

from .anthropic_answer import MessageReader, fault_of_status
from .anthropic_wire import SAMPLING, request_of
from .cloud_plan import CloudPlan
from .cloud_transport import REQUEST_ID, CloudTransport, let_go
from .connection import Reply
from .faults import Fault, garbage
from .ledger import Ledger
from .listing import Listing
from .peer import Asking, Reader
from .probing import Probed
from .spend import CapReached, Held, NoPrice, TokenCounts
from .spend_book import SpendBook, SpendUnknown

BYTES_PER_TOKEN = 2.0  # what is set aside must not be too little: most text has more
IMAGE_TOKENS = 2000  # at most about 1600, as Anthropic documents it


@attrs.define(eq=False)
class CloudPeer:
    """The cloud, for one incarnation of its actor. Is a `peer.Peer`."""

    _plan: CloudPlan
    _ledger: Ledger
    _spend: SpendBook
    _ssl: ssl.SSLContext
    _sdk: ModuleType = attrs.field(init=False)
    _client: Any = attrs.field(init=False)

    async def __aenter__(self) -> Self:
        plan = self._plan
        await self._spend.look(time.time())
        self._sdk = await trio.to_thread.run_sync(importlib.import_module, "anthropic")
        self._client = self._sdk.AsyncAnthropic(
            api_key=plan.server.api_key,
            base_url=plan.server.url,
            default_headers={"anthropic-version": plan.version},
            max_retries=0,  # tries are ours: with a budget, and only before the first byte
            timeout=httpx2.Timeout(None, connect=plan.server.connect_timeout_s, write=30.0),
            http_client=httpx2.AsyncClient(
                transport=CloudTransport(plan.server, self._ledger, self._ssl), trust_env=False
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def list_models(self) -> Probed:
        return Probed(Listing())

    def entries(
        self, found: Listing, loaded: Mapping[str, int | None] | None
    ) -> tuple[ModelEntry, ...]:
        return self._plan.entries()

    async def ask(self, ticket: Ticket, kind: str) -> Asking:
        """Return the request. Raises BadRequest; UpstreamBusy where the cap forbids it;
        UpstreamFailed where nobody knows whether it does.
        """
        model = self._plan.server.name_of(ticket.model)
        request = request_of(ticket.job, model, self._plan.thinking)
        try:
            held = await self._spend.hold(
                model, _most_tokens(ticket, request), ticket.job.max_tokens, time.time()
            )
        except CapReached as error:
            raise UpstreamBusy(
                str(error),
                code="daily_cap_reached",
                retry_after_s=error.retry_after_s,
                elsewhere=True,
            ) from None
        except NoPrice as error:
            raise UpstreamFailed(str(error), code="model_has_no_price", elsewhere=True) from None
        except SpendUnknown as error:
            raise UpstreamFailed(str(error), code="spend_unknown", elsewhere=True) from None
        return _CloudAsking(
            self._plan, self._sdk, self._client, self._spend, request, ticket.request_id, held
        )


@attrs.define(eq=False)
class _CloudAsking:
    _plan: CloudPlan
    _sdk: ModuleType
    _client: Any
    _spend: SpendBook
    _request: dict[str, Any]
    _request_id: str
    _held: Held
    _readers: list[MessageReader] = attrs.field(init=False, factory=list[MessageReader])

    @asynccontextmanager
    async def send(self) -> AsyncIterator[Reply]:
        """Send it. Raises what `connection.fault_of` knows."""
        asked = self._client.messages.with_streaming_response.create(
            **{name: said for name, said in self._request.items() if name not in SAMPLING},
            extra_body={name: said for name, said in self._request.items() if name in SAMPLING},
            extra_headers={REQUEST_ID: self._request_id},
        )
        async with AsyncExitStack() as stack:
            refused: httpx2.Response | None = None
            try:
                response = await stack.enter_async_context(asked)
            except self._sdk.APIConnectionError as error:
                cause = error.__cause__
                known = isinstance(cause, httpx2.HTTPError | OSError)
                raise (cause if known and cause is not None else error) from None
            except self._sdk.APIStatusError as error:
                refused = error.response
            if refused is not None:
                yield Reply(refused.status_code, refused.headers, refused.aiter_bytes())
                return
            chunks = response.http_response.aiter_raw()
            try:
                yield Reply(response.status_code, response.headers, chunks)
            finally:
                await let_go(chunks)

    def reader(self, *, streamed: bool) -> Reader:
        if not streamed:
            said = "sent no stream, though one was asked for"
            raise garbage(self._plan.server.name, said)
        reader = MessageReader(self._plan.server.name, secret=self._plan.server.api_key)
        self._readers.append(reader)
        return reader

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        server = self._plan.server
        return fault_of_status(server.name, status, headers, body, server.api_key)

    def over(self) -> None:
        """Count what it cost. Of an answer that was left, the tokens that came are estimated."""
        told = [reader.counted for reader in self._readers if reader.counted.told]
        counted = TokenCounts(
            plain=sum(one.plain for one in told),
            cached=sum(one.cached for one in told),
            written=sum(one.written for one in told),
            output=sum(reader.output_tokens for reader in self._readers if reader.counted.told),
        )
        self._spend.settle(self._held, time.time(), counted)


def _most_tokens(ticket: Ticket, request: Mapping[str, Any]) -> int:
    """Return more tokens than the prompt can have, tools and images with it."""
    chat = ticket.job.prompt
    assert isinstance(chat, Chat)
    size = ticket.prompt_bytes
    size += sum(len(str(request.get(name, ""))) for name in ("tools", "output_config"))
    blocks = (block for turn in request["messages"] for block in turn["content"])
    images = sum(1 for block in blocks if block["type"] == "image")
    return round(size / BYTES_PER_TOKEN) + images * IMAGE_TOKENS
