from math import nan
from xml.etree import ElementTree

from bench.report.charts import COLOURS, Axis, Line, intervals, plane

SVG = "{http://www.w3.org/2000/svg}"


def marks(svg):
    """What every mark with a title says, and where it is."""
    found = {}
    for circle in ElementTree.fromstring(svg).iter(f"{SVG}circle"):
        if (title := circle.find(f"{SVG}title")) is not None:
            found[title.text] = (float(circle.get("cx")), float(circle.get("cy")), circle.get("fill"))
    return found


def test_rows_say_value_interval_and_what_they_are_compared_with():
    lines = [Line("a <b>", 1.0, 0.5, 2.0, 3.0), Line("c", 2.0, holds=False)]
    found = marks(intervals("t & u", "d", lines, "%", beside="goal"))
    (first, second) = found
    assert first == "a <b>: 1, 95 % interval 0.5 to 2, goal 3"
    assert second == "c: 2"
    assert found[first][0] < found[second][0]
    assert found[first][1] < found[second][1]
    assert found[first][2] == COLOURS[0] != found[second][2]


def test_the_key_names_no_more_than_there_is():
    texts = [one.text for one in ElementTree.fromstring(intervals("t", "d", [Line("a", 1.0)], "%")).iter(f"{SVG}text")]
    assert "measured" in texts
    assert "misses its goal" not in texts


def test_points_lie_where_they_are_and_hollow_ones_are_hollow():
    svg = plane("t", "d", {"ours": [(1, 1), (2, 3)], "theirs": [(3, 2)]}, Axis("x"), Axis("y"), hollow=["theirs"])
    found = marks(svg)
    left, right = found["ours: x 1, y 1"], found["ours: x 2, y 3"]
    assert left[0] < right[0]
    assert left[1] > right[1]
    assert found["theirs: x 3, y 2"][2] == "#fff"


def test_colours_tell_series_apart_and_keep_namesakes_together():
    names = ["full", "retain", "prompt", "npo", "ignorance", "eco", "uld", "o3"]
    series = {name: [(i, i)] for i, name in enumerate([*names, "ULD, reported", "RMU, reported"])}
    svg = plane("t", "d", series, Axis("x"), Axis("y"), hollow=["ULD, reported", "RMU, reported"])
    colours = {}
    for circle in ElementTree.fromstring(svg).iter(f"{SVG}circle"):
        if (title := circle.find(f"{SVG}title")) is not None:
            colours[title.text.partition(":")[0]] = circle.get("stroke")
    assert len({colours[name] for name in names}) == len(names)
    assert colours["ULD, reported"] == colours["uld"]
    assert colours["RMU, reported"] not in {colours[name] for name in names}


def test_a_joined_line_goes_from_left_to_right():
    svg = plane("t", "d", {"c": [(4, 1), (1, 2), (2, 3)]}, Axis("k", log=True), Axis("y"), joined=True)
    (line,) = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    xs = [float(point.split(",")[0]) for point in line.get("points").split()]
    assert xs == sorted(xs)
    assert len(xs) == 3


def test_what_is_not_known_is_not_drawn():
    drawn = plane("t", "d", {"a": [(1.0, nan), (2.0, 3.0)]}, Axis("x"), Axis("y"), joined=True)
    assert drawn.count("<circle") == 1 + 1  # a point, and the key
    assert "not known" not in drawn
    assert "lost" not in intervals("t", "d", [Line("kept", 1.0), Line("lost", nan)], "s")


def test_a_goal_is_on_its_axis():
    svg = plane("t", "d", {"c": [(1, 0.5)]}, Axis("x"), Axis("p", log=True, goal=1e-4))
    assert "stroke-dasharray" in svg
