"""The settings: one definition, read from flags, environment and `lattice.toml`."""

from .definition import SETTINGS, Settings, grouped
from .fields import Kind, Setting
from .predecessor import NO_EFFECT
from .reading import Effective, SettingsError, SettingsFile, read
from .tiers import TIERS
from .upstreams import KEYS, LM_STUDIO, UpstreamTable
from .values import Raw

__all__ = [
    "KEYS",
    "LM_STUDIO",
    "NO_EFFECT",
    "SETTINGS",
    "TIERS",
    "Effective",
    "Kind",
    "Raw",
    "Setting",
    "Settings",
    "SettingsError",
    "SettingsFile",
    "UpstreamTable",
    "grouped",
    "read",
]
