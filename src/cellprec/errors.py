"""Every error a user can meet. Each says what happened, where, why it matters and what to do.

::

    CellprecError                exit 1   a bug, if it is not one of those below
    ├── UsageError               exit 2   the command or the call is wrong
    ├── InputError               exit 3   a file or a table is not what it should be
    │   ├── FileFormatError               the bytes cannot be read as what they claim to be
    │   ├── StudyError                    everything that is wrong with a study, at once
    │   └── JoinError                     two tables that belong together do not share their names
    └── ResourceError            exit 4   memory, disk, a device or a missing extra
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# how the error of a task begins that had nothing to work on: it is told once, with the error it follows from
WAITS = "this needs the result of"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the user's input, and how to mend it."""

    code: str
    what: str
    file: str = ""
    row: int | None = None
    column: str = ""
    sample: str = ""
    fix: str = ""
    severity: Literal["error", "warning"] = "error"

    @property
    def where(self) -> str:
        """The place in the user's words: file, row, column, sample."""
        parts = [self.file] if self.file else []
        if self.row is not None:
            parts.append(f"row {self.row}")
        if self.column:
            parts.append(f"column {self.column}")
        if self.sample:
            parts.append(f"sample {self.sample}")
        return ", ".join(parts)


class CellprecError(Exception):
    """Base of all errors: what happened, where, why it matters, how to fix it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | Path = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.why = why
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))

    def __str__(self) -> str:
        told = (("where", self.where), ("why", self.why), ("fix", self.fix))
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in told if text)])


def _rebuild(kind: type[CellprecError], state: dict[str, Any]) -> CellprecError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["what"])
    error.__dict__.update(state)
    return error


class UsageError(CellprecError):
    """The command or the call is wrong: an unknown option, a bad combination of arguments."""

    exit_code = 2


class InputError(CellprecError):
    """A file, a table or an object is not what it should be."""

    exit_code = 3


class FileFormatError(InputError):
    """The bytes of a file cannot be read as what the file claims to be."""


class JoinError(InputError):
    """Two tables that belong together do not share enough names."""


class StudyError(InputError):
    """Everything that is wrong with a study, in one list."""

    def __init__(self, problems: list[Problem], *, what: str = "") -> None:
        errors = sum(p.severity == "error" for p in problems)
        super().__init__(what or f"the study has {errors} problem{'s' * (errors != 1)}")
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(
            [self.what, *(f"- {p.where}: {p.what} Fix: {p.fix}".removesuffix(" Fix: ") for p in self.problems)]
        )


class ResourceError(CellprecError):
    """The machine lacks something: memory, disk, a device, an optional package."""

    exit_code = 4
