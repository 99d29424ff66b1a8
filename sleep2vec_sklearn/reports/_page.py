# SPDX-License-Identifier: BSD-3-Clause
"""One self-contained HTML page: sections of text, tables and pictures.

jinja2 fills one template for all reports, and everything it gets is escaped: ids, channels and
events come from files. Pictures are images of their own within the page, so that a browser runs
nothing in them, and names within one do not meet those of another.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import check_writable, write_atomic
from .._version import __version__
from .._warnings import collected
from ..errors import Sleep2VecWarning
from ..evaluation._lights import clock_times
from ..evaluation.tables import write_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NO_VALUE = "–"
DISCLAIMER = "For research only: this software is not a medical device."
_TEMPLATES = Path(__file__).parent / "templates"
_VERSIONS = ("numpy", "scikit-learn", "torch", "pandas", "matplotlib")
_LARGEST_SVG = 60_000
_DOTS_PER_INCH = 150
_COLORS = 128
# what HTML forbids, and halves of characters that no file can hold
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LONGEST_CELL = 400
_logger = logging.getLogger("sleep2vec_sklearn")


@dataclass(frozen=True)
class TextBlock:
    """A paragraph, or a list of short texts; ``kind`` is "text", "note" or "list"."""

    texts: tuple[str, ...]
    kind: str = "text"


@dataclass(frozen=True)
class TableBlock:
    """A table of text; columns from ``first_number`` on are numbers, set flush right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    first_number: int = 1
    note: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class PictureBlock:
    """A picture as a data address, with the text that stands for it."""

    source: str
    alt: str
    caption: str
    wide: bool
    kind: str = "picture"


@dataclass
class Section:
    """A heading and what is below it."""

    title: str
    blocks: list[Any] = field(default_factory=list)

    def text(self, *sentences: str) -> None:
        """Add a paragraph; nothing if it is empty."""
        if "".join(sentences).strip():
            self.blocks.append(TextBlock((" ".join(filter(None, sentences)),)))

    def note(self, text: str) -> None:
        """Add a paragraph that is set apart."""
        self.blocks.append(TextBlock((text,), "note"))

    def list(self, texts: Sequence[str]) -> None:
        """Add a list of short texts."""
        self.blocks.append(TextBlock(tuple(texts), "list"))

    def table(
        self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]],
        first_number: int = 1, note: str = "",
    ) -> None:  # fmt: skip
        """Add a table; cells that are no text yet become such."""
        texts = [[shorten(cell) for cell in row] for row in rows]
        self.blocks.append(TableBlock(caption, list(map(str, columns)), texts, first_number, note))

    def picture(
        self, alt: str, size: tuple[float, float], draw: Callable[[Figure], object],
        caption: str = "",
    ) -> None:  # fmt: skip
        """Add a picture of a size in inches; ``draw`` is called with an empty figure."""
        source = render_picture(size, draw)
        self.blocks.append(PictureBlock(source, alt, caption or alt, wide=size[0] > 7))


class ReportPage:
    """A report in the making; what goes wrong in one of its sections becomes a note there."""

    def __init__(self, title: str, path: str | os.PathLike | None):
        _require_matplotlib()
        self.title = title
        self.lead: list[str] = []
        self.sections: list[Section] = []
        self.warnings: list[str] = []
        self._path = None if path is None else Path(path)
        if self._path is not None:
            check_writable(self._path)

    @contextmanager
    def section(self, title: str) -> Iterator[Section]:
        """A section, left out if it stays empty; warnings and errors within do not get out."""
        section = Section(title)
        with self.collecting():
            try:
                yield section
            except Exception as error:
                _logger.info("a part of a report failed: %s", title, exc_info=True)
                section.note(f"Not available: {describe_error(error)}")
        if section.blocks:
            self.sections.append(section)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep the library's warnings for the report, each once."""
        with collected(Sleep2VecWarning) as caught:
            yield
        messages = [*self.warnings, *(message for _, message in caught)]
        self.warnings = list(dict.fromkeys(messages))

    def finish(self) -> str:
        """The page as HTML; written too where there is a path."""
        html = _fill_template(
            title=self.title, lead=self.lead, sections=self.sections,
            disclaimer=DISCLAIMER, made=f"{datetime.now():%Y-%m-%d %H:%M}", version=__version__,
        )  # fmt: skip
        if self._path is not None:
            write_atomic(self._path, html.encode())
        return html


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "reports hold pictures, which need matplotlib: pip install 'sleep2vec-sklearn[plot]'"
        ) from error


def _fill_template(**values: Any) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ImportError("reports are filled in by jinja2: pip install jinja2") from error
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    html = environment.get_template("report.html").render(**values)
    return _FORBIDDEN.sub("\ufffd", html)


def render_picture(size: tuple[float, float], draw: Callable[[Figure], object]) -> str:
    """A picture as a data address: SVG, or PNG where that is large and PNG is smaller."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # without pyplot no backend is chosen; text of SVG stays text
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9, "path.simplify": True}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        svg = _save(figure, "svg", metadata={"Date": None, "Creator": None})
        if len(svg) > _LARGEST_SVG:
            png = _save_png(figure)
            if len(png) < len(svg):
                return f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _save(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, **options)
    return file.getvalue()


def _save_png(figure: Figure) -> bytes:
    """A picture of 128 colours, which are enough for a figure and a third of the bytes."""
    from PIL import Image  # which matplotlib needs

    picture = Image.open(io.BytesIO(_save(figure, "png", dpi=_DOTS_PER_INCH)))
    file = io.BytesIO()
    picture.convert("RGB").quantize(_COLORS).save(file, "png", optimize=True)
    return file.getvalue()


def align_night(figure: Figure, left: float = 0.1) -> None:
    """Give the axes of a figure the same edges as those of the other figures of a night."""
    figure.set_layout_engine(None)
    height = figure.get_figheight()
    figure.subplots_adjust(left=left, right=0.88, bottom=0.45 / height, top=1 - 0.1 / height)


def label_clock(ax: Axes, start: datetime | None, hours: float) -> None:
    """Ticks at whole clock hours below an axis in hours, where the start is known."""
    step = next((s for s in (0.25, 0.5, 1, 2, 3, 6) if hours / s <= 13), 24)
    offset = 0.0
    if start is not None:
        offset = start.hour + start.minute / 60 + start.second / 3600
    clock = np.arange(np.ceil(offset / step), np.floor((offset + hours) / step) + 1) * step
    labels = [f"{c:g}" for c in clock]
    if start is not None:
        # a clock with a time zone may be set in the night
        moments = clock_times(start, np.round((clock - offset) * 3600))
        labels = [f"{moment:%H:%M}" for moment in moments]
    ax.set_xticks(clock - offset, labels)
    ax.set(xlabel="Clock time" if start is not None else "Hours since start", xlim=(0, hours))


def clock_text(hours: float) -> str:
    """Hours since midnight as a time of day."""
    minutes = round(hours * 60) % (24 * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def shorten(value: Any) -> str:
    """A cell's text; a dash for what is missing, and no more than some lines."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return NO_VALUE
    text = value if isinstance(value, str) else str(value)
    text = "\ufffd".join(_FORBIDDEN.split(text))
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]} …"


def number(value: Any, digits: int = 1, sign: bool = False) -> str:
    """A number with a fixed number of digits; a dash for what is missing or not finite."""
    is_known = value is not None and np.isfinite(value)
    return write_number(value if is_known else None, digits, sign, NO_VALUE)


def describe_error(error: BaseException) -> str:
    """What an error says; the name of its class too where it is none of the library's."""
    text = str(error) or type(error).__name__
    ours = type(error).__module__.startswith("sleep2vec_sklearn")
    return text if ours else f"{type(error).__name__}: {text}"


def list_versions() -> list[list[str]]:
    """Rows of what computed a report, and its version."""
    rows = [["sleep2vec-sklearn", __version__], ["Python", platform.python_version()]]
    for name in _VERSIONS:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "not installed"])
    return rows
