"""FlowJo workspaces as text, written by the tests that read them."""

from __future__ import annotations

import numpy as np

NAMESPACES = " ".join(
    f'xmlns:{short}="http://www.isac-net.org/std/Gating-ML/v2.0/{long}"'
    for short, long in (("gating", "gating"), ("data-type", "datatypes"), ("transforms", "transformations"))
)
CHANNELS = ["FSC-A", "FITC-A", "PE-A", "Time"]
ACQUIRED = {"$TOT": "4000", "$DATE": "01-JAN-2020", "$BTIM": "10:00:00", "$ETIM": "10:01:00"}
SPILL = np.array([[1, 0.4], [0.1, 1]])
_BIEX = {"length": 256, "maxRange": 262144, "neg": 0, "width": -100, "pos": 4.4185}
BIEX = " ".join(["biex", *(f'transforms:{k}="{v}"' for k, v in _BIEX.items())])


def dimension(name: str, low: float | None = None, high: float | None = None) -> str:
    edges = "".join(f' gating:{k}="{v}"' for k, v in (("min", low), ("max", high)) if v is not None)
    return f'<gating:dimension{edges}><data-type:fcs-dimension data-type:name="{name}"/></gating:dimension>'


def vertices(points: list[tuple[float, float]]) -> str:
    return "".join(
        "<gating:vertex>" + "".join(f'<gating:coordinate data-type:value="{v}"/>' for v in p) + "</gating:vertex>"
        for p in points
    )


def shape(kind: str, inner: str, *, inside: int = 1) -> str:
    return f'<Gate><gating:{kind} eventsInside="{inside}">{inner}</gating:{kind}></Gate>'


def rectangle(*dimensions: str, inside: int = 1) -> str:
    return shape("RectangleGate", "".join(dimensions), inside=inside)


def polygon(x: str, y: str, points: list[tuple[float, float]], *, inside: int = 1) -> str:
    return shape("PolygonGate", dimension(x) + dimension(y) + vertices(points), inside=inside)


def ellipse(x: str, y: str, foci: list[tuple[float, float]], edge: list[tuple[float, float]]) -> str:
    inner = f"<gating:foci>{vertices(foci)}</gating:foci><gating:edge>{vertices(edge)}</gating:edge>"
    return shape("EllipsoidGate", dimension(x) + dimension(y) + inner)


def population(name: str, gate: str, *children: str, count: int = -1) -> str:
    inner = f"<Subpopulations>{''.join(children)}</Subpopulations>" if children else ""
    return f'<Population name="{name}" owningGroup="" count="{count}">{gate}{inner}</Population>'


def boolean(kind: str, name: str, *operands: str, children: str = "") -> str:
    inner = "".join(f'<Dependent name="{operand}"/>' for operand in operands)
    return (
        f'<{kind}Node name="{name}" owningGroup="" count="-1"><Dependents>{inner}</Dependents>'
        f"<Subpopulations>{children}</Subpopulations></{kind}Node>"
    )


def matrix(
    values: np.ndarray = SPILL,
    *,
    name: str = "M",
    prefix: str = "Comp-",
    extra: str = "",
    rows: tuple[str, ...] = ("FITC-A", "PE-A"),
    columns: tuple[str, ...] = ("FITC-A", "PE-A"),
) -> str:
    cells = "".join(
        f'<transforms:spillover data-type:parameter="{row}">'
        + "".join(
            f'<transforms:coefficient data-type:parameter="{column}" transforms:value="{value}"/>'
            for column, value in zip(columns, line, strict=True)
        )
        + "</transforms:spillover>"
        for row, line in zip(rows, values, strict=False)
    )
    tag = "transforms:spilloverMatrix"
    return f'<{tag} name="{name}" prefix="{prefix}" suffix="" {extra}>{cells}</{tag}>'


def scale(name: str, kind: str = 'linear transforms:minRange="0" transforms:maxRange="262144" gain="1"') -> str:
    tag = kind.split(maxsplit=1)[0]
    return f'<transforms:{kind}><data-type:parameter data-type:name="{name}"/></transforms:{tag}>'


def sample(
    *populations: str,
    name: str = "a.fcs",
    matrices: str = "",
    scales: str = "",
    words: dict[str, str] | None = None,
    count: int = -1,
    extra: str = "",
    uri: str = "",
) -> str:
    held = "".join(f'<Keyword name="{k}" value="{v}"/>' for k, v in (words or {}).items())
    return (
        f'<Sample><DataSet uri="{uri}" sampleID="1"/>{matrices}<Transformations>{scales}</Transformations>'
        f'<Keywords>{held}</Keywords>{extra}<SampleNode name="{name}" count="{count}" sampleID="1">'
        f"<Subpopulations>{''.join(populations)}</Subpopulations></SampleNode></Sample>"
    )


def workspace(*samples: str, shared: str = "", version: str = "10.8.1") -> str:
    return (
        f'<?xml version="1.0"?><Workspace {NAMESPACES} version="20.0" flowJoVersion="{version}">'
        f"<Matrices>{shared}</Matrices><Groups/><SampleList>{''.join(samples)}</SampleList></Workspace>"
    )
