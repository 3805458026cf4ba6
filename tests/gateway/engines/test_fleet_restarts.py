import asyncio
from contextlib import suppress

import pytest

from adapters.base import EngineError, EngineUnavailable
from tests.gateway.engines.test_fleet import CHUNKED, GOOD, ONE, asked, fleet_of, script, until


class Examined:
    """What a fleet asks of replicas whose process is `process`."""

    def __init__(self, process=None):
        self.process, self.urls = process, []
        self.slowly = asyncio.Event()
        self.slowly.set()

    async def examine(self, replica):
        self.urls.append(replica.url)
        await self.slowly.wait()

    async def identify(self, replica):
        return self.process

    @property
    def asked_for(self):
        return {"examine": self.examine, "identify": self.identify}


@pytest.mark.parametrize("said", [None, ONE, CHUNKED])
async def test_one_connection_lost_takes_a_replica_out_until_it_was_examined(peer, said):
    told = Examined()
    one = await peer(broken(said))
    async with fleet_of(one, **told.asked_for, retries=0, every=3600.0) as fleet:
        told.slowly.clear()
        with suppress(EngineError):
            await asked(fleet)
        with pytest.raises(EngineUnavailable):
            await asked(fleet)
        assert fleet.told == ["closed", "opened"]
        told.slowly.set()
        await until(lambda: fleet.replicas[0].admitted)
        assert len(told.urls) == 2
        assert await asked(fleet) == GOOD


def broken(said):
    """The first post gets this and then nothing."""
    well, first = script(), []

    async def answer(writer, request):
        if request[0] == "GET" or first:
            await well(writer, request)
            return
        first.append(request)
        writer.write(said or b"")
        await writer.drain()
        writer.close()

    return answer


async def test_the_request_that_was_lost_is_sent_again_after_the_examination(peer):
    told = Examined()
    one = await peer(script(None))
    async with fleet_of(one, **told.asked_for, every=3600.0, backoff=lambda attempt: 3600.0) as fleet:
        assert await asked(fleet) == GOOD
        assert len(told.urls) == 2


async def test_a_process_that_is_still_there_is_not_examined_again(peer):
    told = Examined("7")
    one = await peer(script(None))
    async with fleet_of(one, **told.asked_for, every=3600.0) as fleet:
        assert await asked(fleet) == GOOD
        assert fleet.told == ["closed", "opened", "retry", "closed"]
        assert len(told.urls) == 1


async def test_a_restart_that_nobody_met_is_seen_by_a_ping(peer):
    told = Examined("7")
    one = await peer(script())
    async with fleet_of(one, **told.asked_for, every=0.01) as fleet:
        told.process = "8"
        await until(lambda: len(told.urls) == 2 and fleet.replicas[0].admitted)
        assert fleet.told == ["closed", "opened", "closed"]
        told.process = None  # nothing to tell it by
        pings = len(one.requests)
        await until(lambda: len(one.requests) > pings + 3)
        assert len(told.urls) == 2


async def test_a_server_that_is_down_is_seen_by_a_ping(peer):
    one = await peer(script())
    async with fleet_of(one, **Examined().asked_for, every=0.01) as fleet:
        await one.stop()
        await until(lambda: not fleet.replicas[0].admitted)


async def test_health_does_not_begin_an_examination_anew(peer):
    told = Examined()
    one = await peer(script(None))
    async with fleet_of(one, **told.asked_for, retries=0, every=3600.0, connect=0.2) as fleet:
        told.slowly.clear()
        with suppress(EngineError):
            await asked(fleet)
        for _ in range(3):
            with pytest.raises(EngineUnavailable):
                await fleet.health()
        told.slowly.set()
        await fleet.health()
        assert len(told.urls) == 2
