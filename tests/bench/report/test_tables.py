from bench.report.tables import tables


def test_rows_are_a_table_and_empty_columns_go():
    rows = [{"kind": "alias", "n": 3, "failed": {}}, {"kind": "cloze", "n": None, "failed": {}}]
    (table,) = tables("some_rows", rows)
    assert (table.title, table.heads) == ("some rows", ["kind", "n"])
    assert table.rows == [["alias", "3"], ["cloze", ""]]
    assert [table.numeric(i) for i in range(2)] == [False, True]


def test_groups_inside_rows_are_tables_of_their_own():
    rows = [{"seed": i, "by": {"eco": 5}, "kept": {"asked": 9, "share": 0.5 * i}} for i in range(2)]
    outer, inner = tables("sets", rows)
    assert outer.rows == [["0", "eco 5"], ["1", "eco 5"]]
    assert (inner.title, inner.heads) == ("sets: kept", ["seed", "asked", "share"])
    assert inner.rows == [["0", "9", "0"], ["1", "9", "0.5"]]


def test_lists_of_rows_inside_rows_are_known_by_their_row():
    rows = [{"seed": 3, "learning": [{"epochs": 1, "s": 0.5}, {"epochs": 2, "s": 0.7}]}, {"seed": 4, "learning": []}]
    (inner,) = tables("sets", rows)
    assert inner.rows == [["3", "1", "0.5"], ["3", "2", "0.7"]]


def test_groups_are_known_by_row_split_and_seed():
    one = {"value": 0.5, "low": 0.4, "high": 0.6}
    rows = [
        {"row": row, "split": "forget01", "seed": seed, "mia": {"loss": 0.5, "zlib": one}}
        for row in ("eco", "uld")
        for seed in (0, 1)
    ]
    (inner,) = tables("rows", rows)  # of the outer one nothing is left
    assert inner.heads == ["row", "split", "seed", "loss", "zlib"]
    assert inner.rows[2] == ["uld", "forget01", "0", "0.5", "0.5 (0.4 to 0.6)"]


def test_a_number_and_its_ends_are_one_cell():
    (table,) = tables("cost", [{"what": "token", "ratio": 1.5, "low": 1.4, "high": 1.6, "rounds": 9}])
    assert table.rows == [["token", "1.5 (1.4 to 1.6)", "9"]]


def test_families_are_apart():
    one, other = tables("kinds", [{"family": "a", "kind": "x", "n": 1}, {"family": "b", "kind": "y", "n": 2}])
    assert [one.title, other.title] == ["kinds: a", "kinds: b"]
    assert other.rows == [["y", "2"]]


def test_few_rows_of_many_columns_are_turned():
    many = {f"m{i}": i for i in range(12)}
    (table,) = tables("servers", [{"server": name} | many for name in ("direct", "gateway")])
    assert table.heads == ["server", "direct", "gateway"]
    assert table.rows[3] == ["m3", "3", "3"]


def test_many_measurements_of_one_thing_are_a_line():
    (table,) = tables("shield_seconds", [{"seconds": value} for value in (3.0, 1.0, 2.0)])
    assert table.rows == [["seconds", "3", "1", "2", "3"]]
