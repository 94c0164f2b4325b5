"""A child that answers the callback of an authorization."""

from __future__ import annotations

import json
import sys

from portal import build_runtime
from portal.accounts.principal import load_principal
from portal.authorization.attempts import claim_attempt
from portal.authorization.exchange import take_code
from portal.settings import Settings

if __name__ == "__main__":
    given = json.load(sys.stdin)
    runtime = build_runtime(Settings.from_environ())
    with runtime.database.reading() as session:
        principal = load_principal(session, given["user_id"], given["organization_id"])
    assert principal is not None
    attempt = claim_attempt(runtime, principal, given["slug"], given["state"], given["browser_token"], None)
    assert attempt is not None
    take_code(runtime, principal, attempt, given["code"])
