from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs import related
from gateway.jobs.related import Worn, cluster


@dataclass(frozen=True)
class Named:
    id: str


@dataclass(frozen=True)
class Made:
    manifest: dict


def wearing(i, lora, angle):
    centre = np.array([np.cos(angle), np.sin(angle)], np.float32)
    return Worn(Named(f"fr_{i}"), Made({"lora": str(lora), "rank": 4}), centre)


ANGLES = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 3)), min_size=1, max_size=12)


@given(ANGLES, st.integers(1, 6))
def test_a_cluster_is_related_each_to_each_bounded_and_of_whole_loras(drawn, most):
    everyone = [wearing(i, lora, angle) for i, (lora, angle) in enumerate(drawn)]
    own = everyone[0]
    before = {one.id for one in everyone if one.lora == own.lora}
    found = cluster(own, everyone, most)
    ids = {one.id for one in found}
    assert found[0] is own
    assert len(ids) == len(found)
    assert before <= ids
    assert len(found) <= max(most, len(before))
    assert all((one.lora in {member.lora for member in found}) == (one.id in ids) for one in everyone)
    joined = [one for one in found if one.id not in before]
    assert all(
        one.centre @ other.centre >= related._RELATED for one in joined for other in found if one.lora != other.lora
    )


def test_the_nearest_come_first():
    own, far, near = wearing(0, 0, 0.0), wearing(1, 1, 0.3), wearing(2, 2, 0.1)
    assert [one.id for one in cluster(own, [own, far, near])] == ["fr_0", "fr_2", "fr_1"]
    assert cluster(own, [own, far, near], 2) == (own, near)


def test_a_lora_that_too_many_have_is_left_alone():
    own, alone = wearing(0, 0, 0.0), wearing(9, 9, 0.2)
    crowd = [wearing(i, 1, 0.1) for i in range(1, 5)]
    assert cluster(own, [own, *crowd, alone]) == (own, alone)
