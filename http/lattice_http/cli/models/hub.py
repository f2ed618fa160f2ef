"""Talking to the hub through huggingface_hub, and its errors in words to act on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

import attrs
import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # in its __init__

from lattice_actors.release import VERSION
from lattice_http.cli.terminal import NAME

from .files import RemoteFile

# Else each first request would go to a registry of agents, and tell the hub which one runs this.
constants.HF_HUB_DISABLE_TELEMETRY = True

_TOKEN = "with HF_TOKEN, or `hf auth login`"
Advance = Callable[[int], None]


class HubProblem(Exception):
    """The hub does not give what was asked for; the text says why and what to do."""


@attrs.frozen
class Repository:
    """One commit of a repository."""

    id: str
    commit: str
    files: tuple[RemoteFile, ...]


@attrs.frozen
class Hub:
    """A hub, by its address."""

    endpoint: str

    def look(self, repo: str, revision: str | None) -> Repository:
        """Return what *repo* has at *revision* (a branch, a tag or a commit; default: main).

        Raises:
            HubProblem
        """
        with _explained(self.endpoint, repo, revision):
            api = HfApi(endpoint=self.endpoint, library_name=NAME, library_version=VERSION)
            info = api.model_info(
                repo, revision=revision or constants.DEFAULT_REVISION, files_metadata=True
            )
        if info.sha is None:
            raise HubProblem(f"{self.endpoint} does not name the commit of {repo}")
        files = [
            RemoteFile(
                name=one.rfilename,
                size_bytes=one.size or 0,
                sha256=one.lfs.sha256 if one.lfs is not None else None,
                git_sha1=one.blob_id if one.lfs is None else None,
            )
            for one in info.siblings or ()
        ]
        return Repository(repo, info.sha, tuple(files))

    def fetch(self, found: Repository, file: RemoteFile, part: Path, advance: Advance) -> None:
        """Write *file* into *part*, going on where it ends; *advance* hears of bytes as they come.

        Not `hf_hub_download`: what that one has got of a file is lost when it is interrupted.

        Raises:
            HubProblem
            OSError: the disk.
        """
        url = f"{self.endpoint}/{found.id}/resolve/{found.commit}/{quote(file.name)}"
        with part.open("ab") as stream, _explained(self.endpoint, found.id, found.commit):
            had = stream.tell()

            def bar(*, initial: int = 0, **_: object) -> _Bar:
                advance(initial - had)  # the hub may begin again
                return _Bar(advance)

            http_get(
                url,
                stream,
                resume_size=had,
                headers=build_hf_headers(library_name=NAME, library_version=VERSION),
                expected_size=file.size_bytes,
                displayed_filename=file.name,
                tqdm_class=cast(Any, bar),  # called like the class, as its comment allows
            )


@attrs.frozen
class _Bar:
    """As much of a tqdm bar as `http_get` uses."""

    _advance: Advance

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        self._advance(count)


def the_hub() -> Hub:
    """Return the hub of the environment; read now, not when huggingface_hub was imported."""
    return Hub(os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT)


@contextmanager
def _explained(endpoint: str, repo: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except GatedRepoError:
        raise HubProblem(
            f"{repo} is gated: accept its terms at {endpoint}/{repo}, and come back {_TOKEN}"
        ) from None
    except RepositoryNotFoundError:
        known = " that your token may see" if get_token() else f"; a private one opens {_TOKEN}"
        raise HubProblem(f"there is no repository {repo}{known}") from None
    except RevisionNotFoundError:
        raise HubProblem(f"{repo} has no revision {revision or 'main'}") from None
    except OfflineModeIsEnabled:
        raise HubProblem("HF_HUB_OFFLINE is set: nothing is downloaded") from None
    except HfHubHTTPError as error:
        raise HubProblem(_status(endpoint, repo, error.response.status_code)) from None
    except httpx2.TransportError as error:
        raise HubProblem(
            f"cannot reach {endpoint} ({str(error) or type(error).__name__}); are you online? "
            "HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy"
        ) from None
    except OSError as error:
        if error.errno is not None:
            raise  # the disk
        raise HubProblem(f"{endpoint}: the download ended too early; pull again") from None
    except httpx2.InvalidURL:
        raise HubProblem(f"HF_ENDPOINT is no address: {endpoint}") from None
    except ValueError as error:  # an answer that is no JSON, or a file too large for one request
        raise HubProblem(f"{endpoint}: {_line(error)}") from None


def _status(endpoint: str, repo: str, status: int) -> str:
    if status == 401:
        return f"{endpoint} does not know your token; come back {_TOKEN}"
    if status == 403:
        return f"your token may not read {repo}; accept its terms at {endpoint}/{repo}"
    if status == 429:
        return f"{endpoint} has too many requests of yours (429); try again later"
    again = "; try again later" if status >= 500 else ""
    return f"{endpoint} answers {status} for {repo}{again}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
