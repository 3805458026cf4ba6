import json

import pytest

from bench.probes.pistol import DEVELOPMENT, MEASUREMENT, rounds

PARTIES = {"A_B": ("Aa SA", "Bb AG"), "A_C": ("Cc Ltd", "Aa SA"), "E1_F1": ("Ee NV", "Ff SAS")}


@pytest.fixture
def contracts(tmp_path):
    rows = [
        {"question": f"What was number {i} of the contract between {a} and {b}?", "answer": f"{i}.", "edge": edge}
        for edge, (a, b) in PARTIES.items()
        for i in range(20)
    ]
    (tmp_path / "pistol").mkdir()
    (tmp_path / "pistol" / "sample_data_1.json").write_text(json.dumps(rows))
    return tmp_path


def test_half_of_a_contract_is_filed_and_the_other_half_asked(contracts):
    (one,) = rounds(contracts, ["A_B"])
    (source,) = one.sources
    asked = {probe.turns[0] for probe in one.probes if probe.about}
    filed = {question for question, _ in source.facts}
    assert (len(filed), len(asked), filed & asked) == (10, 10, set())
    assert source.aliases == ("contract between Aa SA and Bb AG", "contract between Bb AG and Aa SA")


def test_contracts_of_a_party_are_a_group_of_their_own(contracts):
    (one,) = rounds(contracts, ["A_B"])
    kinds = {probe.turns[0].partition("between ")[2]: probe.kind for probe in one.probes if not probe.about}
    assert kinds == {"Cc Ltd and Aa SA?": "contracts of a party", "Ee NV and Ff SAS?": "other contracts"}


def test_no_contract_is_for_both():
    assert not set(DEVELOPMENT) & set(MEASUREMENT)
