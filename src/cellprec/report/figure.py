"""Figures on their way into the report: drawn once, written as SVG and PNG, inlined with their alternative text."""

from __future__ import annotations

import base64
import io
import logging
import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from cellprec.report.section import Alert, Figure, Interactive, Parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

PNG_DPI = 200
CSS_DPI = 96
LARGEST_SVG = 400_000  # bytes; a page full of vector points is slower to open than a picture of them
# without a fixed salt and with a date, the same figure would differ from run to run
STYLE = {"svg.hashsalt": "cellprec", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write a file whole or not at all: into a temporary file beside it, then renamed.

    >>> from pathlib import Path
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomic(folder / "sub" / "methods.md", "Text").read_text()
    'Text'
    >>> [p.name for p in (folder / "sub").iterdir()]
    ['methods.md']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = content.encode("utf-8") if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(payload)
        # mkstemp makes files that only their owner may read; a report is made to be passed on
        os.chmod(name, 0o644)  # noqa: PTH101
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise
    return path


def save_figure(folder: Path, axes: Axes, *, name: str, alt: str, caption: str) -> Figure:
    """Write a figure as ``figures/<name>.svg`` and ``.png`` and return it ready for the page.

    The file's text stays text, so that it can be edited; in the page it is drawn as outlines, so that it looks the
    same everywhere.

    Parameters
    ----------
    folder
        The folder of the run.
    axes
        What a function of ``cellprec.pl`` returned.
    name
        ``<stage>.<thing>``.
    alt
        What is seen, for a reader who cannot see it.
    caption
        How to read it.
    """
    figure = axes.get_figure(root=True)
    with mpl.rc_context(STYLE):
        bounds = _settle(figure)
    written = write_atomic(folder / "figures" / f"{name}.svg", _render(figure, bounds, kind="svg", fonts="none"))
    picture = _render(figure, bounds, kind="png")
    write_atomic(written.with_suffix(".png"), picture)
    outlines = _render(figure, bounds, kind="svg", fonts="path")
    if len(outlines) > LARGEST_SVG:
        image = "data:image/png;base64," + base64.b64encode(picture).decode()
    else:
        image = "data:image/svg+xml;base64," + base64.b64encode(outlines).decode()
    return Figure(name=name, image=image, alt=alt, caption=caption, width=round(bounds.width * CSS_DPI))


def _settle(figure: Any) -> Any:
    # lay out once for all three renderings: solving the layout takes longer than drawing
    figure.set_dpi(PNG_DPI)  # text is measured too small at few dots per inch, and long labels would be cut
    with warnings.catch_warnings():
        # a long legend can leave no room for the axes at first; what is cut out below holds everything that was drawn
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.draw_without_rendering()
    figure.set_layout_engine(None)
    return figure.get_tightbbox().padded(0.1)


def _render(figure: Any, bounds: Any, *, kind: str, fonts: str = "path") -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({**STYLE, "svg.fonttype": fonts}):
        figure.savefig(buffer, format=kind, dpi=PNG_DPI, bbox_inches=bounds, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def add_figure(parts: Parts, folder: Path, draw: Callable[[], Axes], *, name: str, alt: str, caption: str) -> None:
    """Draw a figure into a section; one that cannot be drawn becomes an alert and the section goes on."""
    try:
        with mpl.rc_context(STYLE):
            axes = draw()
        parts.figures.append(save_figure(folder, axes, name=name, alt=alt, caption=caption))
    except Exception as error:
        log.exception("the figure %s could not be drawn", name)
        parts.alerts.append(_not_drawn(name, error))


def add_interactive(parts: Parts, draw: Callable[[], Any], *, name: str, alt: str, caption: str) -> None:
    """Put an interactive plot into a section; one that cannot be made becomes an alert."""
    try:
        # "<" as an escape: a name in the data must not be able to end the script element it stands in
        json = draw().to_json().replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        parts.interactives.append(Interactive(name=name, json=json, alt=alt, caption=caption))
    except Exception as error:
        log.exception("the interactive plot %s could not be made", name)
        parts.alerts.append(_not_drawn(name, error))


def _not_drawn(name: str, error: Exception) -> Alert:
    return Alert(
        level="warning",
        title=f"The figure {name} could not be drawn",
        text=f"{type(error).__name__}: {error}".splitlines()[0],
        fix="The tables beside it are not affected. log.txt has the details; please report them.",
    )
