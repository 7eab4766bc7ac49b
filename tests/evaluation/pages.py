"""What any report has to hold, read as a browser would read it."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

# Attributes that make a browser fetch something as soon as a page opens.
FETCHING = {"src", "srcset", "poster", "background", "data", "xlink:href"}


class Page(HTMLParser):
    """Tags, texts, links and pictures of a page; refuses anything that would be fetched."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._in = ""
        self._in_cell = False
        self.script = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in = ""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._in == "script":
            self.script += data
        elif self._in != "style":
            self.texts.append(data)
            if self._in_cell:
                self.tables[-1][-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    @property
    def pictures(self) -> list[np.ndarray]:
        """Every embedded PNG as an array."""
        sources = [attrs.get("src") or "" for tag, attrs in self.tags if tag == "img"]
        head = "data:image/png;base64,"
        data = [base64.b64decode(s[len(head) :]) for s in sources if s.startswith(head)]
        return [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in data]

    def picture(self, title: str) -> np.ndarray:
        """The PNG of the figure with that title."""
        found = re.search(
            rf"<h3>{re.escape(title)}</h3>\s*<img src=\"data:image/png;base64,([^\"]+)\"", self.html
        )
        assert found, f"no figure {title!r}"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB"))

    def check_self_contained(self) -> None:
        """Nothing is fetched, and the policy in the page forbids it besides."""
        assert self.html.startswith("<!doctype html>")
        for tag, attrs in self.tags:
            assert tag not in {
                "link",
                "iframe",
                "object",
                "embed",
                "form",
                "base",
                "video",
                "audio",
            }
            for name in FETCHING & attrs.keys():
                assert (attrs[name] or "").startswith("data:image/"), (tag, name)
            assert not any(name.startswith("on") for name in attrs), (tag, attrs)
            if tag == "a":
                assert not re.match(r"\s*(https?|javascript|data):", attrs["href"] or "")
        without_data = re.sub(r"data:image/[^\"]+", "", self.html)
        assert not re.search(r"https?://|url\(|@import", without_data)
        policy = next(a["content"] for t, a in self.tags if t == "meta" and "http-equiv" in a)
        assert "default-src 'none'" in policy
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
        assert [tag for tag, _ in self.tags].count("script") == 1
