# SPDX-License-Identifier: BSD-3-Clause
"""The HTML by which a notebook shows an object: its repr, and tables that scroll."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 10


def as_html(
    title: str, *tables: pd.DataFrame | tuple[str, pd.DataFrame], rest: str = "",
    notes: Iterable[str] = (), rows: int = ROWS_SHOWN, **options: Any,
) -> str:  # fmt: skip
    """A paragraph, the first rows of some tables, with a heading or without, and a list of notes.

    ``rest`` says where all rows of a longer table are; options are those of ``DataFrame.to_html``.
    """
    parts = [f"<p>{escape(title)}</p>"]
    for item in tables:
        heading, table = item if isinstance(item, tuple) else ("", item)
        if heading:
            parts.append(f"<p><b>{escape(heading)}</b></p>")
        shown = table.head(rows).to_html(max_cols=12, border=0, **options)
        parts.append(f'<div style="overflow-x: auto; white-space: nowrap">{shown}</div>')
        more = len(table) - rows
        if more > 0:
            where = f"; see <code>{escape(rest)}</code>" if rest else ""
            parts.append(f"<p>and {more} more rows{where}</p>")
    items = "".join(f"<li>{escape(str(note))}</li>" for note in notes)
    return "".join(parts) + (f"<ul>{items}</ul>" if items else "")


class ShownAsTable:
    """Mixin of results: a line that says what it is of, and ``to_frame()``, as text and as HTML."""

    def to_frame(self) -> pd.DataFrame:
        """The result in one table."""
        raise NotImplementedError

    def _headline(self) -> str:
        return type(self).__name__

    def _shown(self) -> pd.DataFrame:
        table = self.to_frame()
        if "p_value" not in table:
            return table
        # no p value is zero
        texts = ["<0.001" if 0 <= p < 0.001 else f"{p:.3f}" for p in table["p_value"]]
        return table.assign(p_value=[text.replace("nan", "NaN") for text in texts])

    def __repr__(self) -> str:
        table = self._shown()
        lines = table.head(ROWS_SHOWN).to_string(index=False, float_format="{:.3f}".format)
        more = len(table) - ROWS_SHOWN
        end = f"\nand {more} more rows, see to_frame()" if more > 0 else ""
        return f"{self._headline()}\n{lines}{end}"

    def _repr_html_(self) -> str:
        options: Any = {"index": False, "float_format": "{:.3f}".format}
        return as_html(self._headline(), self._shown(), rest=".to_frame()", **options)
