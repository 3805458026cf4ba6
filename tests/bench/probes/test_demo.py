from bench.probes.demo import development, measurement


def test_what_needs_a_fact_about_a_forgotten_person_must_be_caught():
    (one,) = development()
    keys = {source.request for source in one.sources}
    forget = [probe for probe in one.probes if probe.about]
    assert all(probe.about <= keys for probe in forget)
    kinds = {"heldout", "alias", "cloze", "choice", "relation", "two_hop", "reverse", "pronoun"}
    assert {probe.kind for probe in forget} == kinds
    assert {probe.kind for probe in one.probes if not probe.about} == kinds | {
        "unknown",
        "chatter",
        "after a forgotten turn",
    }


def test_controls_name_nobody_who_is_forgotten_but_in_earlier_turns():
    for one in (*development(), *measurement(1)):
        names = [name for source in one.sources for name in (source.subject, *source.aliases)]
        controls = [probe for probe in one.probes if not probe.about]
        assert not any(name in probe.turns[-1] + probe.answer for probe in controls for name in names)


def test_a_pronoun_follows_a_name_and_names_nobody():
    (one,) = development()
    for probe in one.probes:
        if probe.kind == "pronoun" and probe.about:
            (source,) = (source for source in one.sources if source.request in probe.about)
            assert source.subject in probe.turns[0]
            assert source.subject not in probe.turns[-1]


def test_nobody_of_development_is_measured():
    def people(rounds):
        return {source.subject for one in rounds for source in one.sources}

    assert not people(development()) & people(measurement())
    assert len(people(measurement())) == 15
