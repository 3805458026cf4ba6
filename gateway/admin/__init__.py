"""The admin API: forget requests and their lives, checks, reports, policy, audit.

Before it: an operator, the command line, a benchmark. After it: `gateway.jobs.lifecycle` makes the
moves, `gateway.registry` keeps them. Only the admin scope comes in; scoring takes the evaluate scope.
"""

from fastapi import APIRouter

from gateway.admin import audit, check, describe, events, forget_requests, policy, report, score

router = APIRouter()
for part in (forget_requests, events, report, check, score, policy, audit, describe):
    router.include_router(part.router)
