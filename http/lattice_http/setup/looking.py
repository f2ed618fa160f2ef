"""Looking at addresses all at once, for a short time: a server may hang, lie or not be there."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence

import httpx2
import trio

from lattice_actors.remote.connection import CONNECT_ERRORS, TROUBLE, Connection
from lattice_actors.remote.ledger import Ledger
from lattice_actors.remote.listing import MAX_LIST_BYTES, MODELS_PATH
from lattice_actors.remote.plan import UpstreamPlan
from lattice_actors.remote.probing import read_bounded
from lattice_actors.remote.resolving import install

from .servers import TELLING, Address, Answer, Nothing, Server, recognise

CONNECT_S = 1.0
ANSWER_S = 3.0  # for each answer: lists of models are quick, and a person is waiting

USUAL = (
    Address("http://127.0.0.1:1234", "LM Studio"),
    Address("http://127.0.0.1:11434", "Ollama"),
    Address("http://127.0.0.1:8080", "llama.cpp or mlx_lm.server"),
    Address("http://127.0.0.1:8081", "mlx_lm.server"),
    Address("http://127.0.0.1:8000", "vLLM"),
)


async def look(
    addresses: Sequence[Address], environ: Mapping[str, str], answer_s: float = ANSWER_S
) -> tuple[Server | Nothing, ...]:
    """Return what is at each of *addresses*, in their order; keys are taken from *environ*.

    Never takes longer than CONNECT_S and twice *answer_s*, and raises for no server.
    """
    install()
    found: dict[int, Server | Nothing] = {}

    async def look_at(number: int, address: Address) -> None:
        found[number] = await _look(address, environ, answer_s)

    async with trio.open_nursery() as nursery:
        for number, address in enumerate(addresses):
            nursery.start_soon(look_at, number, address)
    return tuple(found[number] for number in range(len(addresses)))


async def _look(address: Address, environ: Mapping[str, str], answer_s: float) -> Server | Nothing:
    key = environ.get(address.key_env, "").strip() if address.key_env else ""
    if address.key_env and not (key and key.isascii() and key.isprintable()):
        return Nothing(address, f"its key is not in the variable {address.key_env}")
    plan = UpstreamPlan("server", address.url, api_key=key or None, connect_timeout_s=CONNECT_S)
    answers: dict[str, Answer] = {}
    async with Connection(plan, Ledger(), tls_for(address.url)) as connection:
        try:
            answers[MODELS_PATH] = await _get(connection, MODELS_PATH, answer_s)
        except trio.TooSlowError:
            return Nothing(address, f"did not answer within {answer_s:g} s")
        except CONNECT_ERRORS as error:
            return Nothing(address, _unreached(error))
        except (*TROUBLE, httpx2.InvalidURL) as error:
            return Nothing(address, f"speaks no HTTP ({_short(error)})")

        async def ask(path: str) -> None:
            try:
                answers[path] = await _get(connection, path, answer_s)
            except (trio.TooSlowError, *TROUBLE):
                return  # what it does not say, it is not

        if answers[MODELS_PATH].status not in (401, 403):
            async with trio.open_nursery() as nursery:
                for path in TELLING:
                    nursery.start_soon(ask, path)
    return recognise(address, answers)


async def _get(connection: Connection, path: str, answer_s: float) -> Answer:
    with trio.fail_after(answer_s):
        async with connection.send(path, None, "", "models") as reply:
            body = await read_bounded(reply, MAX_LIST_BYTES)
            return Answer(reply.status, body, reply.headers.get("server", ""))


def tls_for(url: str) -> ssl.SSLContext:
    """Return what a connection to *url* needs; without https no certificates are read (50 ms)."""
    secure = url.startswith("https")
    return ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _unreached(error: Exception) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return f"took no connection within {CONNECT_S:g} s"
    said = _short(error)
    # Trio's words for "refused" by all of the addresses of a name, mostly the only one.
    return "nobody listens there" if said.startswith("all attempts") else f"not reached: {said}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
