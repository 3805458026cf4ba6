from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.heatmap import heatmap

SVG = "{http://www.w3.org/2000/svg}"
shares = st.floats(0, 1)


def drawn(rows, columns, cells, utility, **more):
    return ElementTree.fromstring(heatmap("A <title>", 'a "description" & more', rows, columns, cells, utility, **more))


def titles(figure):
    return [one.findtext(f"{SVG}title") for one in figure.iter(f"{SVG}rect") if len(one)]


@given(st.data(), st.integers(1, 40))
def test_every_share_is_drawn_once_and_inside(data, columns):
    cells = data.draw(st.lists(st.lists(st.none() | shares, min_size=columns, max_size=columns), max_size=6))
    utility = data.draw(st.lists(shares, min_size=columns, max_size=columns))
    steps = [f"s{t}" for t in range(columns)]
    figure = drawn([f"r{i}" for i in range(len(cells))], steps, cells, utility)
    expected = [
        f"leak of r{i} after s{t}: {100 * share:.1f} %"
        for i, row in enumerate(cells)
        for t, share in enumerate(row)
        if share is not None
    ]
    assert titles(figure) == [
        *expected,
        *(f"utility after s{t}: {100 * share:.1f} %" for t, share in enumerate(utility)),
    ]
    _, _, width, height = map(float, figure.get("viewBox").split())
    for one in figure.iter(f"{SVG}rect"):
        assert float(one.get("x", 0)) + float(one.get("width")) <= width
        assert float(one.get("y", 0)) + float(one.get("height")) <= height


def test_it_can_be_read_aloud_and_takes_nothing_from_outside():
    figure = drawn(["<r>"], ["s"], [[0.25]], [0.98], marked="<r>")
    assert (figure.get("role"), figure.get("aria-labelledby")) == ("img", "t d")
    assert figure.findtext(f"{SVG}title") == "A <title>"
    assert figure.findtext(f"{SVG}desc") == 'a "description" & more'
    written = [one.text for one in figure.iter(f"{SVG}text")]
    assert {"25", "98", "<r>"} <= set(written)
    (marked,) = [one for one in figure.iter(f"{SVG}text") if one.get("font-weight")]
    assert marked.text == "<r>"
    assert {one.tag.removeprefix(SVG) for one in figure.iter()} == {"svg", "title", "desc", "rect", "text"}
    assert not any("href" in name or name.startswith("on") for one in figure.iter() for name in one.attrib)


def test_more_leak_and_less_utility_are_darker():
    figure = drawn(["r"], ["a", "b", "c"], [[0.0, 0.03, 1.0]], [1.0, 0.97, 0.0])
    fills = [one.get("fill") for one in figure.iter(f"{SVG}rect") if len(one)]
    light = [sum(int(fill[i : i + 2], 16) for i in (1, 3, 5)) for fill in fills]
    assert light[0] > light[1] > light[2]
    assert light[3] > light[4] > light[5]
    assert fills[0] == fills[3]


@pytest.mark.parametrize(("over", "columns"), [(None, 3), (2, 1)])
def test_a_row_is_grey_from_its_first_cell_to_its_end(over, columns):
    figure = drawn(["r"], ["a", "b", "c", "d"], [[None, 0.0, None, None]], [1.0] * 4, over=[over])
    (grey,) = [one for one in figure.iter(f"{SVG}rect") if one.get("fill") == "#dcdcd6"]
    (cell,) = [one for one in figure.iter(f"{SVG}rect") if len(one) and "leak" in one.findtext(f"{SVG}title")]
    assert grey.get("x") == cell.get("x")
    assert float(grey.get("width")) == columns * float(cell.get("width"))


def test_many_columns_have_labels_where_there_is_room():
    steps = [f"s{t}" for t in range(100)]
    figure = drawn(["r"], steps, [[0.0] * 100], [1.0] * 100, marked="s33")
    written = [one.text for one in figure.iter(f"{SVG}text")]
    assert 20 < sum(one in steps for one in written) < 100
    assert "s33" in written
    assert "0" not in written
