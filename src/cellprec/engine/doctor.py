"""What this machine has, and what that means for a study."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, what was found, whether it is good, and one line of advice."""

    what: str
    found: str
    state: Literal["good", "look", "bad"]
    advice: str


def examine() -> list[Finding]:
    """Look at Python, the packages, cores, memory, disk, torch with its device, and Slurm."""
    return [_python(), _packages(), _cores(), _memory(), _disk(), _torch(), _slurm()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 15):
        return Finding("Python", version, "look", "Not tested with this Python yet; 3.11 to 3.14 are.")
    return Finding("Python", version, "good", "Nothing to do.")


def _packages() -> Finding:
    missing, old = [], []
    for requirement in importlib.metadata.requires("cellprec") or []:
        name = re.split(r"[\s;<>=!\[]", requirement, maxsplit=1)[0]
        if "extra ==" in requirement:
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if name == "pynndescent" and tuple(map(int, installed.split(".")[:2])) >= (0, 7):
            old.append(f"{name} {installed}")
    if missing or old:
        return Finding(
            "packages", ", ".join(missing + old), "bad", "Install with: pip install -c constraints.txt cellprec"
        )
    return Finding("packages", "all there", "good", "Nothing to do.")


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        return Finding("cores", str(cores), "look", "Samples will be worked on one after the other.")
    return Finding("cores", str(cores), "good", f"Up to {cores} samples are worked on at once (--jobs).")


def _memory() -> Finding:
    gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gb < 8:
        return Finding("memory", f"{gb:.0f} GB", "look", "Enough for small studies; use --jobs 1 for larger ones.")
    return Finding("memory", f"{gb:.0f} GB", "good", "Nothing to do.")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 5:
        return Finding(
            "disk", f"{free:.1f} GB free here", "look", "Results need about twice the size of the data: make room."
        )
    return Finding("disk", f"{free:.0f} GB free here", "good", "Nothing to do.")


def _torch() -> Finding:
    try:
        import torch  # noqa: PLC0415 - slow, and the doctor must work where it is broken
    except (ImportError, OSError) as error:
        return Finding("torch", f"does not load: {error}", "bad", "Reinstall it: pip install --force-reinstall torch")
    built = torch.version.cuda
    driver = _nvidia_driver()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return Finding("GPU", f"{name}, torch {torch.__version__}", "good", "The scVI steps will use it.")
    if driver and built is None:
        advice = "There is a GPU but torch was built without CUDA: install the CUDA build of torch."
        return Finding("GPU", f"driver {driver}, torch {torch.__version__} for CPU", "look", advice)
    if driver:
        advice = (
            f"torch was built for CUDA {built}, which this driver cannot run: update it, or install a matching torch."
        )
        return Finding("GPU", f"driver {driver}, torch {torch.__version__}", "look", advice)
    return Finding("GPU", f"none; torch {torch.__version__} on CPU", "good", "Fine for up to about 50,000 cells.")


def _nvidia_driver() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - fixed words
    return answer.stdout.strip().splitlines()[0] if answer.returncode == 0 and answer.stdout.strip() else ""


def _slurm() -> Finding:
    tool = shutil.which("sinfo")
    if tool is None:
        return Finding("Slurm", "not here", "good", "Only needed for batches on a cluster.")
    try:
        answer = subprocess.run([tool, "-h", "-o", "%P %a"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Finding("Slurm", "sinfo does not answer", "look", "Ask the cluster's administrators.")
    if answer.returncode:
        return Finding("Slurm", "installed but not answering", "look", answer.stderr.strip().splitlines()[-1][:100])
    partitions = ", ".join(answer.stdout.split("\n")[:3]).strip(", ")
    return Finding("Slurm", partitions, "good", "Run with: snakemake --profile pipelines/profiles/slurm")
