"""Asking a server what it has; nobody being there is an answer, too."""

from __future__ import annotations

import httpx2

from .listing import Served

TIMEOUT_S = 5.0  # it answers from memory; a first scan of many folders may take seconds


class NotServed(Exception):
    """No list of a server's models; the text says why."""


def ask(url: str, api_key: str | None) -> Served:
    """Return what the server at *url* (with or without /v1) has.

    Raises:
        NotServed: nothing answers there, or not with a list of models.
    """
    root = url.rstrip("/").removesuffix("/v1")
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # No proxy: the address is this machine's, or one that a person wrote for this.
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.get(f"{root}/v1/models", params={"unusable": "1"}, headers=headers)
        if answer.status_code == 401:
            raise NotServed(f"{root} wants a key: --api-key or LATTICE_API_KEY")
        if answer.status_code != 200:
            raise NotServed(f"{root} answers {answer.status_code}")
        body = answer.json()
        return Served(root, tuple(body["data"]), tuple(body.get("unusable", ())))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise NotServed(f"no server answers at {root} ({type(error).__name__})") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise NotServed(f"{root} is no server of this kind") from None
