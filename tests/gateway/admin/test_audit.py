from sqlalchemy import delete

from gateway.registry import tables


async def test_the_log_comes_in_pages_and_says_whether_it_holds(http, core):
    for i in range(5):
        await core.registry.audit("admin", "look", f"thing {i}", {"i": i})
    page = (await http.get("/audit", params={"limit": 3})).json()
    rest = (await http.get("/audit", params={"cursor": page["next_cursor"]})).json()
    assert [entry["detail"]["i"] for entry in page["data"] + rest["data"]] == [4, 3, 2, 1, 0]
    assert rest["next_cursor"] is None
    assert (await http.get("/audit/verify")).json() == {"intact": True, "broken_at": None}
    async with core.registry._database.writing() as connection:
        await connection.execute(delete(tables.audits).where(tables.audits.c.seq == 2))
    assert (await http.get("/audit/verify")).json() == {"intact": False, "broken_at": 2}
