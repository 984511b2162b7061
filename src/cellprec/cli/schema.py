"""``cellprec schema``: the JSON schema of study.yaml, for editors."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON schema of study.yaml, for editors that complete and check as you type."""
    from cellprec.study.config import study_model  # noqa: PLC0415 - help must stay light

    print(json.dumps(study_model().model_json_schema(), indent=2))
