"""The only state of the library: which device, how many threads, how much to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Settings:
    """Process-wide settings; ``cellprec.settings`` is the one instance.

    device: ``auto`` takes a GPU where torch sees one; ``cuda`` fails loudly where it does not.
    threads: threads per worker. One by default, so that results do not depend on the number of cores.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    verbose: bool = False


settings = Settings()
