"""``manifest.json`` and ``settings.yaml``: what ran on what, with which settings and versions."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from typing import Any

import yaml

import cellprec
from cellprec.engine.execute import _plain
from cellprec.engine.plan import Plan
from cellprec.engine.store import RunFolder
from cellprec.steps.catalogue import CATALOGUE


def write_manifest(run: RunFolder, todo: Plan) -> dict[str, Any]:
    """Write the manifest and the settings of a run from its receipts, and return the manifest."""
    receipts = [r for task in todo.tasks() if (r := run.receipt(task.step, task.sample)) is not None]
    times = [run.receipt_path(r.step, r.sample).stat().st_mtime for r in receipts]
    manifest = {
        "cellprec": cellprec.__version__,
        "study": {"name": todo.study.name, "seed": todo.study.seed},
        "started": _iso(min((t - r.seconds for t, r in zip(times, receipts, strict=True)), default=0)),
        "finished": _iso(max(times, default=0)),
        "platform": {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "device": "cuda" if any(r.device == "cuda" for r in receipts) else "cpu",
        },
        "packages": {name: version for r in receipts for name, version in r.packages.items()},
        "steps": [
            {
                "step": r.step,
                "sample": r.sample,
                "says": CATALOGUE[r.step].says,
                "status": r.status,
                "seconds": r.seconds,
                "device": r.device,
                "settings": r.settings,
                "error": r.error,
                "outputs": r.outputs,
            }
            for r in receipts
        ],
        "inputs": [{"path": p, "sha256": d} for p, d in sorted({i for r in receipts for i in r.inputs.items()})],
    }
    with run.writing(run.path / "manifest.json") as path:
        path.write_text(json.dumps(manifest, indent=1, default=str))
    chosen = {
        step.name: {name: _plain(value) for name, value in todo.study.settings[step.name].items()}
        for step in todo.steps
        if step.settings
    }
    with run.writing(run.path / "settings.yaml") as path:
        path.write_text(yaml.safe_dump({"seed": todo.study.seed, "settings": chosen}, sort_keys=False))
    return manifest


def _iso(stamp: float) -> str:
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="seconds")
