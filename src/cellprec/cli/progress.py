"""What a run shows while it works: one line per stage, in the user's words; the same in log.txt."""

from __future__ import annotations

import contextlib
import logging
import traceback
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from cellprec.cli.say import err
from cellprec.engine.plan import Task, plan
from cellprec.engine.store import Receipt
from cellprec.steps.catalogue import CATALOGUE
from cellprec.study.config import Study

_LOGGER = logging.getLogger("cellprec")


class Progress:
    """Bars on a terminal, plain lines elsewhere, and every event in the log."""

    def __init__(self, study: Study, *, until: str | None, log: Path) -> None:
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]+[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}
        self._totals: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        for task in plan(study, until=until).tasks():
            self._totals[task.step] = self._totals.get(task.step, 0) + 1
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("a", encoding="utf-8")
        self._handler = logging.StreamHandler(self._log)
        _LOGGER.addHandler(self._handler)
        _LOGGER.propagate = False  # what goes wrong behind the scenes belongs into log.txt, not between the bars

    def __enter__(self) -> Progress:
        self._bars.start()
        for step, total in self._totals.items():
            self._rows[step] = self._bars.add_task(CATALOGUE[step].says, total=total, start=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if error is not None:
            self._write("stopped: " + "".join(traceback.format_exception(kind, error, trace)).rstrip())
        _LOGGER.removeHandler(self._handler)
        self._log.close()

    def tell(self, task: Task, receipt: Receipt | None) -> None:
        """Note that a task started (no receipt) or ended."""
        place = f"{task.step} {task.sample}".strip()
        if receipt is None:
            with contextlib.suppress(KeyError):
                self._bars.start_task(self._rows[task.step])
            return
        self._ended[task.step] = self._ended.get(task.step, 0) + 1
        self._seconds[task.step] = self._seconds.get(task.step, 0.0) + receipt.seconds
        self._bars.advance(self._rows[task.step])
        self._write(f"{place}: {receipt.status} in {receipt.seconds:.1f} s")
        if receipt.traceback:
            self._write(receipt.traceback.rstrip())
        if self._bars.disable and self._ended[task.step] == self._totals[task.step]:
            err.print(f"+ {CATALOGUE[task.step].says} ({self._totals[task.step]}, {self._seconds[task.step]:.0f} s)")

    def say(self, text: str) -> None:
        """Say what is being done besides the tasks."""
        self._write(text)
        if self._bars.disable:
            err.print(f"+ {text}")
        else:
            self._bars.add_task(text, total=None)

    def _write(self, text: str) -> None:
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        self._log.write(f"{stamp} {text}\n")
        self._log.flush()
