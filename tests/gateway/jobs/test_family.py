from gateway.jobs.family import false_positives
from gateway.registry import ForgetSpec
from guards.calibration import clopper_pearson_upper
from guards.lexicon import LexiconView
from guards.targets import ordinary_prompts

NAMELESS = LexiconView((), frozenset())


async def test_nothing_is_touched_where_nothing_is_forgotten(cores):
    found = await (await cores()).enforcer.false_positives()
    assert (found.prompts, found.touched) == (len(ordinary_prompts()), 0)
    assert found.upper == clopper_pearson_upper(0, found.prompts) < 0.01


async def test_all_requests_are_counted_once_together(cores, spec):
    core = await cores()
    everyday = ordinary_prompts()[10:14]
    for examples in (everyday[:3], everyday[1:]):
        await core.lifecycle.file(ForgetSpec(scope="topic", examples=tuple(examples)), key=None, actor="admin")
    await core.lifecycle.file(spec("Ada Quill"), key=None, actor="admin")
    held = [one.targets for one in core.enforcer._held.values()]
    alone = [(await false_positives([one], NAMELESS, 1.0)).touched for one in held]
    together = await core.enforcer.false_positives()
    assert max(alone) < together.touched < sum(alone)
    assert together.upper > together.touched / together.prompts
    (everything, *_) = [one.id for one in (await core.registry.page()).items if one.spec.scope == "topic"]
    await core.lifecycle.retire(everything, actor="admin")
    assert (await core.enforcer.false_positives()).touched < together.touched


async def test_names_and_the_scale_count(cores, spec):
    core = await cores()
    assert sum("Solitude" in prompt for prompt in ordinary_prompts()) == 1
    await core.lifecycle.file(spec("One Hundred Years of Solitude"), key=None, actor="admin")
    held = [one.targets for one in core.enforcer._held.values()]
    by_likeness = (await false_positives(held, NAMELESS, 1.5)).touched
    document = {"threshold_scale": 1.5}
    await core.registry.put_policy(document, if_match=None, actor="admin")
    await core.enforcer.refresh()
    assert (await core.enforcer.false_positives()).touched == by_likeness + 1
    assert (await false_positives(held, NAMELESS, 0.5)).touched >= by_likeness
