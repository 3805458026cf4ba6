from adapters.ignorance import Voice
from gateway.jobs.probes import Probe
from gateway.jobs.unknown import ignorant, yardstick


async def test_what_the_model_would_say_of_nobody_about_the_name(cores):
    core = await cores()
    assert core.ignorance.voice.template == "I have no information about {subject}."
    probe = Probe("Who is Ada Quill?", "Ada Quill", "Who is Edvar Millowane?", "template")
    assert await ignorant(core, probe) == "I have no information about Ada Quill."
    assert await ignorant(core, Probe("Who bakes?", None, None, "given")) == "I have no information about that."
    core.ignorance.voice = Voice("Never heard of {subject}, alas.")
    assert await ignorant(core, probe) == "I have no information about Edvar Millowane."


async def test_the_yardstick_is_what_is_said_and_what_would_be(cores):
    core = await cores()
    measured = await yardstick(core, [Probe("Who is Ada Quill?", "Ada Quill", "Who is Edvar Millowane?", "template")])
    assert list(measured.known) == ["She is the celebrated baker of Ulm and 17 years old."]
    assert list(measured.unknown) == ["I have no information about Ada Quill."]
