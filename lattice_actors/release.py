"""Which release this is: the one place, also for the package's metadata. Values only.

In the code and not in the metadata, so that a checkout that was never installed knows it, too.
"""

from __future__ import annotations

VERSION = "0.1.0"
