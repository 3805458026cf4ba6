from xml.etree import ElementTree

from bench.plot import plot


def points(svg, radius):
    circles = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    return [(float(one.get("cx")), float(one.get("cy"))) for one in circles if one.get("r") == radius]


def test_a_figure_is_sound_xml_and_names_its_curves():
    svg = plot("leak & loss", {"full <1>": [(0.0, 5.0), (3.0, 1.0)], "dot": [(2.0, 2.0)]}, {"dot": (2.0, 2.0)})
    texts = [one.text for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"leak & loss", "full <1>", "dot"} <= set(texts)
    assert len(points(svg, "2.5")) == 3
    assert len(points(svg, "5.5")) == 1


def test_more_loss_is_further_right_and_more_leak_higher():
    (left, low), (right, high) = points(plot("", {"c": [(1.0, 1.0), (4.0, 9.0)]}, {}), "2.5")
    assert left < right
    assert low > high


def test_nothing_to_show_is_an_empty_figure():
    assert points(plot("", {}, {}), "2.5") == []
