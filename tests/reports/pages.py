# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of reports ask of a page, whatever it reports."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "link", "br", "hr", "input"}
LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


class Page(HTMLParser):
    """Elements and text of a report, and what is wrong with it."""

    def __init__(self, html):
        super().__init__()
        self.html, self.open, self.faults, self.text = html, [], [], ""
        self.elements, self.ids = [], []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]
        self.faults += [
            f"id {name} twice" for name in {i for i in self.ids if self.ids.count(i) > 1}
        ]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        for name, value in attrs:
            if name in LOADING and not value.startswith(("data:image/", "#")):
                self.faults.append(f"{tag} {name}={value} loads something")
            if name.startswith("on"):
                self.faults.append(f"{tag} has {name}")
        if tag == "script":
            self.faults.append("there is a script")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another")

    def handle_data(self, data):
        self.text += data

    @property
    def cells(self):
        """Rows of all tables, as lists of text."""
        rows = re.findall(r"<tr>(.*?)</tr>", self.html, re.DOTALL)
        return [[re.sub("<.*?>", "", c) for c in re.findall(r"<t[hd].*?</t[hd]>", r)] for r in rows]

    def row(self, name):
        """The cells after the first row that begins with a name."""
        return next(cells[1:] for cells in self.cells if cells and cells[0] == name)


def check_page(html):
    """The page, which is well formed, loads nothing, and says in words what pictures show."""
    page = Page(html)
    assert page.faults == []
    assert dict(page.elements)["html"] == {"lang": "en"}
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    assert all(attrs["alt"] for tag, attrs in page.elements if tag == "img")
    assert not re.search(r"@import|url\(", html)
    return page
