"""The settings: one definition, read from flags, environment and `lattice.toml`."""

from .definition import SETTINGS, Settings, grouped
from .fields import Kind, Setting
from .predecessor import NO_EFFECT
from .reading import Effective, SettingsError, SettingsFile, read
from .tiers import TIERS
from .values import Raw

__all__ = [
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
    "grouped",
    "read",
]
