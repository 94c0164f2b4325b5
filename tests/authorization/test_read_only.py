"""A database that can no longer be written: what cannot be recorded is not requested."""

from __future__ import annotations

from sqlalchemy import event

from portal.runtime import Runtime
from tests.support.paired import Paired


def set_read_only(runtime: Runtime, *, is_on: bool) -> None:
    """Let every connection of this process refuse writes, as one on a read-only file system does."""
    on_sqlite = f"PRAGMA query_only={'ON' if is_on else 'OFF'}"
    on_server = f"SET default_transaction_read_only = {'on' if is_on else 'off'}"

    def prepare(connection: object, *_: object) -> None:
        connection.cursor().execute(on_sqlite if runtime.database.is_sqlite else on_server)  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]

    runtime.database.close()
    event.listen(runtime.database.engine, "connect", prepare)


def test_database_that_takes_no_write_starts_no_token_request_and_everything_goes_on_afterwards(
    paired: Paired, runtime: Runtime
) -> None:
    paired.make_due()
    before = paired.stored_pair()
    set_read_only(runtime, is_on=True)

    refused = paired.refusal()

    assert refused.card.code == "disk_read_only"
    assert refused.is_passing
    assert paired.sandbox.requests.count("/oauth/token") == 0
    assert paired.stored_pair() == before
    set_read_only(runtime, is_on=False)
    assert paired.demand() == paired.issued[-1].access_token
    assert paired.holds_the_last_pair()
