from bench.people import fresh_sets, sets_of
from gateway.demo.train import DEMO


def test_the_sets_are_disjoint_and_nobody_in_them_helped_to_choose_anything():
    people = [person.key for five in sets_of(DEMO.world(), 3) for person in five]
    assert len(people) == len(set(people)) == 15
    assert {len(five) for five in sets_of(DEMO.world(), 3)} == {5}


def test_a_set_is_the_same_however_many_are_wanted_and_the_first_is_not_measured():
    developed_on, *fresh = sets_of(DEMO.world(), 4)
    for count in range(1, 11):
        assert sets_of(DEMO.world(), count)[:4] == [developed_on, *fresh][:count]
    assert fresh_sets(DEMO.world()) == dict(enumerate(fresh, 1))
    assert list(fresh_sets(DEMO.world(), 2).items()) == [(2, fresh[1]), (3, fresh[2])]  # 1 was looked at once
