"""The settings file that `init` writes: what is in it now, and how it is replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs

from lattice_actors.settings import Effective, SettingsError, SettingsFile, read

from .arguments import FILE_NAME, find_file
from .terminal import say


@attrs.frozen
class Target:
    """The file to be written, and what is in it now."""

    path: Path
    text: str | None  # None: it is not there

    @classmethod
    def find(cls, output: Path | None, environ: Mapping[str, str]) -> Target:
        """Return the file.

        Raises:
            SettingsError: it is there and cannot be read.
        """
        if output is None:
            there = find_file(None, environ)
            return cls(Path(FILE_NAME), None) if there is None else cls(there.path, there.text)
        path = output.expanduser()
        there = find_file(str(path), environ) if path.exists() else None
        return cls(path, there.text if there is not None else None)

    def is_found(self, environ: Mapping[str, str]) -> bool:
        """Whether `serve` reads it without being told its name."""
        there = find_file(None, environ)
        return there is not None and there.path.absolute() == self.path.absolute()

    def settings(self, environ: Mapping[str, str]) -> Effective | None:
        """Return what it says; None where that cannot be used, so that nothing of it is kept.

        Raises:
            SettingsError: it is not the file that is wrong, but a variable.
        """
        try:
            return self.read(self.text or "", environ)
        except SettingsError as error:
            self.read("", environ)
            say(f"warning: {error}; the proposal keeps nothing of the file")
            return None

    def read(self, text: str, environ: Mapping[str, str]) -> Effective:
        """Return the settings with *text* as the file."""
        return read({}, environ, SettingsFile(self.path, text))

    def put(self, text: str) -> None:
        """Write the file whole or not at all. One that came to be meanwhile is not overwritten."""
        if self.text is None:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(text)
            return
        real = self.path.resolve()  # a link stays a link
        draft = real.with_name(f".{real.name}.{os.getpid()}")
        try:
            draft.touch(0o600)  # there may be keys in it
            draft.write_text(text, encoding="utf-8")
            shutil.copymode(real, draft)
            draft.replace(real)
        finally:
            draft.unlink(missing_ok=True)
