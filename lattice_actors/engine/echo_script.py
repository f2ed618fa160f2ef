"""What the echo engine is told to do: its speed, and the faults it shall have."""

from __future__ import annotations

from pathlib import Path

import msgspec

SCRIPT = "echo.json"  # in the directory that `Load` names; without it, all defaults
FIRED = "echo.fired"  # written beside it by a fault with `once`


class LoadFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answer `Load` with this `LoadError`."""

    text: str = "scripted"
    permanent: bool = False


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``echo.json`` may say. Each ``*_on`` is a text; a prompt that contains it triggers."""

    step_ms: float = 0.0  # duration of one step; 0 is as fast as the reader takes frames
    load_ms: float = 0.0  # silence between the last LoadProgress and Ready
    ttft_ms: float = 0.0  # from Gen to the first step of its stream
    cycles: int = 0  # end with "stop" after the prompt was echoed so often; 0: until max_tokens
    say: str = ""  # answer with this instead; <think> and <tool_call> in it mean what they say
    flood: int = 1  # tokens a stream gains in one step
    context_tokens: int = 8192
    vocab: int = 49152
    kv_bytes_per_token: int = 0
    resident_bytes: int = 0  # 0: what this process really holds
    load_error: LoadFault | None = None
    load_crash: bool = False  # exit with 9 in the middle of the load
    deaf: bool = False  # pings are not answered
    crash_after_steps: int = 0  # exit with 9 after so many steps of the process; 0: never
    crash_on: str = ""  # exit with 9 when the stream's first token is due
    exit_zero_on: str = ""  # the same with 0
    hang_on: str = ""  # that step never ends; pings are answered and show it
    garbage_on: str = ""  # the bytes of `garbage` are sent, then everything goes on
    error_on: str = ""  # this stream ends with Err, its neighbours do not notice
    refuse_on: str = ""  # the stream is Refused
    garbage: str = "0000000101"  # hexadecimal; a frame of one byte that is no frame
    once: bool = False  # the first fault is the last, also after a restart of the process

    @classmethod
    def read(cls, directory: Path) -> Script:
        """Return the script of *directory*; raises `OSError` or `msgspec.DecodeError`."""
        try:
            return msgspec.json.decode((directory / SCRIPT).read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()

    def fires(self, directory: Path) -> bool:
        """Say whether a fault that is due happens: with `once`, only the first one ever does."""
        if not self.once:
            return True
        try:
            (directory / FIRED).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
