# SPDX-License-Identifier: BSD-3-Clause
"""The code of a page of the guide, run as a notebook would, and the outputs below it."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.compile(r"^```(python|output)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DECIMALS = re.compile(r"-?\d+\.(\d+)")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_page(page, until="no such line", since="", **names):
    """Run the code of a page, compare the outputs it states, and return the names it leaves."""
    shown = ""
    part = (DOCS / page).read_text(encoding="utf-8").partition(until)[0]
    for kind, text in BLOCKS.findall(part[part.index(since) :]):
        if kind == "python":
            shown = show(text, names)
        else:
            assert agree(text, shown), f"{page} states\n{text}\nand its code shows\n{shown}"
    return names


def show(code, names):
    """What is printed, and the value of the last expression."""
    *body, last = ast.parse(code).body
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if not isinstance(last, ast.Expr):
            body.append(last)
        exec(compile(ast.Module(body, []), "<page>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<page>", "eval"), names)
            if value is not None:
                print(repr(value))
    return printed.getvalue()


def agree(stated, shown):
    """Equal but for white space, what ``...`` stands for, and small differences of decimals."""
    # on another processor an epoch or two may have another stage, and a score moves by as much
    same = doctest.OutputChecker().check_output(
        DECIMALS.sub("#", stated), DECIMALS.sub("#", shown), FLAGS
    )
    if not same or "..." in stated:
        return same
    pairs = zip(DECIMALS.finditer(stated), DECIMALS.finditer(shown), strict=True)
    return all(
        float(ours[0])
        == pytest.approx(float(theirs[0]), rel=0.02, abs=max(0.01, 1.01 * 10 ** -len(ours[1])))
        for ours, theirs in pairs
    )
