import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from bench.report.found import Found, read
from bench.report.pages import DOCS, PICTURES, pages, write
from bench.result import RESULTS

ALONE = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


class Reader(HTMLParser):
    """Every tag closed in order, every identifier, every address."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.named, self.addresses = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.ids += [said["id"]] if "id" in said else []
        self.named += said.get("aria-labelledby", "").split()
        self.addresses += [said[key] for key in ("href", "src") if key in said]
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ALONE:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def committed():
    return pages(read(RESULTS))


def test_the_pages_are_those_of_the_results(committed):
    """So that they cannot go stale."""
    there = {path.relative_to(DOCS).as_posix() for path in (DOCS / PICTURES).iterdir()}
    assert there == {name for name in committed if name.startswith(f"{PICTURES}/")}, "run: lethe bench report"
    for name, text in committed.items():
        assert (DOCS / name).read_text("utf-8") == text, f"{name} is stale; run: lethe bench report"


def test_the_page_for_browsers_is_sound_and_loads_nothing(committed):
    page = committed["benchmarks.html"]
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.named) <= set(reader.ids)
    assert all(address[:1] == "#" and address[1:] in reader.ids for address in reader.addresses)
    assert "<script" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_pictures_are_sound_and_can_be_read_aloud(committed):
    drawn = [text for name, text in committed.items() if name.endswith(".svg")]
    assert drawn
    for text in drawn:
        root = ElementTree.fromstring(text)
        title, said = (root.find(f"{{http://www.w3.org/2000/svg}}{tag}") for tag in ("title", "desc"))
        assert title.text
        assert said.text
        assert "nan" not in text


def test_a_page_of_nothing_says_so():
    made = pages({})
    assert set(made) == {"benchmarks.md", "benchmarks.html"}
    assert "Nothing was measured." in made["benchmarks.md"]


def test_what_a_harness_says_is_escaped(stream):
    stream["figures"][0]["name"] = "<b>a|b</b>"
    stream["machine"]["processor"] = "<i>"
    made = pages({"o3": Found.of(stream)})
    assert "<b>" not in made["benchmarks.html"]
    assert "&lt;b&gt;a|b" in made["benchmarks.html"]
    assert r"\<b>a\|b" in made["benchmarks.md"]


def test_a_stream_has_its_heat_map(stream):
    made = pages({"o3": Found.of(stream)})
    cells = re.findall(r"<title>(leak.*?)</title>", made["benchmarks/o3-persistence.svg"])
    assert "leak of request 1 after request 2: 5.0 %" in cells
    assert len(cells) == 6
    assert (
        "![O3: leak above the retain model's after each request, stream 1](benchmarks/o3-persistence.svg)"
        in made["benchmarks.md"]
    )


def test_pictures_of_results_that_are_gone_go(stream, tmp_path):
    write(RESULTS, tmp_path)
    (tmp_path / "none").mkdir()
    write(tmp_path / "none", tmp_path)
    assert not list((tmp_path / PICTURES).iterdir())
