"""Gating templates: a YAML file that says which gates to place, and how the data decide where."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from cellprec.errors import FileFormatError, InputError, Problem, StudyError

Method = Literal["valley", "mindensity", "quantile", "ellipse", "fixed"]
Side = Literal["above", "below"]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (str, int, float)) else value


class GateRule(BaseModel):
    """One gate of a template: its place in the hierarchy, its channels, and how its limits are found."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1)
    parent: str = ""
    channels: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(min_length=1, max_length=2)
    method: Method
    side: Annotated[tuple[Side, ...], BeforeValidator(_listed)] = ("above",)
    quantile: float | None = Field(default=None, gt=0, lt=1)
    value: Annotated[tuple[float, ...] | None, BeforeValidator(_listed)] = None
    between: tuple[float, float] | None = None
    share: float = Field(default=0.95, gt=0, lt=1)
    near: tuple[float, float] | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """One side for every channel."""
        return self.side if len(self.side) == len(self.channels) else self.side * len(self.channels)


# which fields a method needs, and which it may have
_NEEDS: dict[str, tuple[set[str], set[str]]] = {
    "valley": (set(), {"side"}),
    "mindensity": (set(), {"side", "between"}),
    "quantile": ({"quantile"}, {"side"}),
    "ellipse": (set(), {"share", "near"}),
    "fixed": ({"value"}, {"side"}),
}


def read_template(path: str | Path) -> tuple[GateRule, ...]:
    r"""Read a gating template: gates in the order in which they are placed, parents first.

    path: a YAML file with a list ``gates``. Each gate has ``name``, ``channels`` (one or two, by channel or marker),
    ``method``, and may have ``parent`` (the name of a gate above it in the file; all kept events otherwise) and
    ``side`` (above or below, one per channel). Numbers are on the linear scale of the instrument.

    - ``valley``: the valley between two hills of the density; none is placed where there is none;
    - ``mindensity``: the lowest density ``between`` two values, or between the two highest hills;
    - ``quantile``: the value below which this share of the parent lies (``quantile: 0.99``);
    - ``ellipse``: the ellipse that holds ``share`` of the largest cloud, or of the cloud that a point ``near`` is in;
    - ``fixed``: a ``value`` per channel.

    Raises InputError where there is no such file, FileFormatError where it is not YAML, StudyError with everything
    that is wrong with it at once.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "gates.yaml"
    ...     _ = file.write_text("gates:\n- {name: T cells, channels: CD3, method: valley}\n")
    ...     read_template(file)[0].channels
    ('CD3',)
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        fix = "Check the path of the gating template."
        raise InputError("the gating template cannot be opened", where=path, why=str(error), fix=fix) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fix = "Check the indentation (blanks, not tabs) and that every `key: value` has a blank after the colon."
        raise FileFormatError("the gating template is not YAML", where=path, why=str(error), fix=fix) from error
    gates = content.get("gates") if isinstance(content, dict) else None
    if not isinstance(gates, list) or not gates:
        fix = "Write `gates:` and below it one gate per line, each with name, channels and method."
        raise FileFormatError("the gating template holds no list of gates", where=path, fix=fix)
    rules: list[GateRule] = []
    problems: list[Problem] = []
    # a gate with a mistake of its own still is a parent
    above: set[str] = set()
    for number, gate in enumerate(gates, start=1):
        rule, wrong = _rule(gate, number, path)
        problems += wrong
        if rule is not None:
            problems += _fitting(rule, above, gate, path)
            rules.append(rule)
        if isinstance(gate, dict):
            above.add(str(gate.get("name", "")))
    if problems:
        raise StudyError(problems, what=f"the gating template {path.name} has {len(problems)} problems")
    return tuple(rules)


def _rule(gate: Any, number: int, path: Path) -> tuple[GateRule | None, list[Problem]]:
    label = f"gate {number}"
    if not isinstance(gate, dict):
        fix = "Write name, channels and method."
        return None, [Problem("template.gate", f"{label} is no gate: {gate!r}", path.name, fix=fix)]
    label += f" ({gate['name']})" if gate.get("name") else ""
    try:
        return GateRule.model_validate(gate), []
    except ValidationError as error:
        found = error.errors(include_url=False)
    problems = []
    for item in found:
        field = str(item["loc"][0])
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field, GateRule.model_fields, n=1, cutoff=0.5)
            fix = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(GateRule.model_fields)}."
            what = f"{label}: unknown field {field!r}"
        else:
            fix = "Give a value of that kind." if item["type"] != "missing" else f"Add `{field}:`."
            what = f"{label}: {field}: {item['msg'].lower()}"
        problems.append(Problem("template.field", what, path.name, column=field, fix=fix))
    return None, problems


def _fitting(rule: GateRule, above: set[str], gate: dict[str, Any], path: Path) -> list[Problem]:
    """Say what in a gate does not fit its method or its place."""
    wrong: list[tuple[str, str]] = []
    if rule.name in above:
        wrong.append(("the name is taken by a gate above it", "Give every gate a name of its own."))
    if " > " in rule.name:
        wrong.append(("a name cannot hold ' > ', which stands between the gates of a path", "Rename the gate."))
    if rule.parent and rule.parent not in above:
        near = difflib.get_close_matches(rule.parent, above, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Put the parent above the gate, or leave parent out."
        wrong.append((f"its parent {rule.parent!r} is no gate above it", fix))
    if len(rule.side) not in (1, len(rule.channels)):
        wrong.append((f"{len(rule.side)} sides for {len(rule.channels)} channels", "Give one side per channel."))
    if rule.method == "ellipse" and len(rule.channels) != 2:
        wrong.append(("an ellipse needs two channels", "Give two channels, or another method."))
    if rule.value is not None and len(rule.value) != len(rule.channels):
        wrong.append((f"{len(rule.value)} values for {len(rule.channels)} channels", "Give one value per channel."))
    if rule.between is not None and (rule.between[0] >= rule.between[1] or len(rule.channels) != 1):
        wrong.append(("between needs one channel, and two values, the lower first", "Write `between: [low, high]`."))
    needed, allowed = _NEEDS[rule.method]
    wrong += [(f"{rule.method} needs {field}", f"Add `{field}:`.") for field in sorted(needed - set(gate))]
    for field in sorted(set(gate) & {"quantile", "value", "between", "share", "near", "side"} - needed - allowed):
        wrong.append((f"{field} means nothing to {rule.method}", "Leave it out, or choose another method."))
    return [Problem("template.gate", f"gate {rule.name}: {what}", path.name, fix=fix) for what, fix in wrong]
