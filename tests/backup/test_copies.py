"""Every way of copying or restoring a database ends in a portal that waits, and the original continues."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import delete

from portal import audit, create_app
from portal.actor import SYSTEM
from portal.copies.confirmation import confirm_running, find_waiting
from portal.db import Database, utc_now
from portal.errors import NothingStored
from portal.installation import find_instance, is_restored, look_for_copy, place
from portal.installation.findings import SAME_AS, SENTENCES, Finding, findings_of
from portal.installation.models import Instance
from portal.installation.witness import NAME, Evidence, Witness
from portal.jobs.engine import Engine
from portal.jobs.models import Executor
from portal.jobs.testing import QUICK, running_worker
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from tests.backup.conftest import runtime_of
from tests.support.copies import ON_POSTGRESQL, ON_SQLITE, Original, outside_of_containers, run
from tests.support.paired import Paired
from tests.support.people import Cast
from tests.support.visitor import Visitor

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", [pytest.param("postgresql", marks=pytest.mark.postgresql)])


@pytest.fixture(autouse=True)
def this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with an id and a network card, which checks only briefly whether others are running."""
    monkeypatch.setattr("portal.installation.identity.NEWCOMER_SECONDS", 1.0)
    with outside_of_containers(tmp_path, "a" * 32, "02:00:00:00:00:0a"):
        yield


@pytest.fixture
def original(paired: Paired, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Original]:
    """A portal with a pair, started once and stopped."""

    def refresh() -> None:
        paired.make_due()
        paired.demand()
        paired.runtime.database.close()

    refresh()
    aside = tmp_path / "aside"
    aside.mkdir()
    cluster = request.getfixturevalue("cluster") if paired.runtime.settings.database_url else None
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere:
        yield Original(paired.runtime.settings, aside, Path(elsewhere), refresh, cluster)


def is_waiting(runtime: Runtime) -> bool:
    with runtime.database.reading() as session:
        return is_restored(session)


def findings(runtime: Runtime) -> list[Finding]:
    with runtime.database.reading() as session:
        return findings_of(find_instance(session).seen)


@contextmanager
def opened(settings: Settings, exempt: str = "") -> Iterator[Runtime]:
    runtime = runtime_of(settings, Database(settings.resolved_database_url), exempt)
    yield runtime
    runtime.database.close()


@contextmanager
def started(settings: Settings, paired: Paired) -> Iterator[Paired]:
    """Start a portal with these settings, and yield its connection."""
    prepare(settings)
    with opened(settings, paired.sandbox.url) as runtime:
        yield Paired(runtime, paired.sandbox, paired.connection_id, paired.application_id)


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        *(pytest.param("sqlite", name, id=name) for name in ON_SQLITE),
        *(pytest.param("postgresql", name, id=name, marks=pytest.mark.postgresql) for name in ON_POSTGRESQL),
    ],
)
def test_copy_waits_says_why_and_asks_for_no_token(original: Original, paired: Paired, backend: str, name: str) -> None:
    with {**ON_SQLITE, **ON_POSTGRESQL}[name](original) as settings, started(settings, paired) as copy:
        copy.make_due()
        posts = paired.token_requests

        refused = copy.refusal()

        waiting = find_waiting(copy.runtime)
    assert refused.card.code == "portal_restored"
    assert paired.token_requests == posts
    assert waiting is not None
    assert waiting.seen


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("sqlite", "cp -a of the data folder"),
        pytest.param("postgresql", "CREATE DATABASE ... TEMPLATE", marks=pytest.mark.postgresql),
    ],
)
def test_original_goes_on_while_its_copy_waits(original: Original, paired: Paired, backend: str, name: str) -> None:
    with {**ON_SQLITE, **ON_POSTGRESQL}[name](original) as settings:
        with started(settings, paired) as copy:
            assert is_waiting(copy.runtime)

        prepare(original.settings)
        original.refresh()

    assert paired.holds_the_last_pair()
    assert not is_waiting(paired.runtime)


def test_restarts_crashes_and_changes_never_make_the_original_wait(original: Original, paired: Paired) -> None:
    for _ in range(2):
        prepare(original.settings)
        original.refresh()
    # Killed between a commit and the witness: the witness is behind.
    witness = original.folder / NAME
    behind = witness.read_bytes()
    original.refresh()
    witness.write_bytes(behind)

    prepare(original.settings)

    assert not is_waiting(paired.runtime)
    assert paired.demand() == paired.issued[-1].access_token


def test_looking_again_writes_nothing(runtime: Runtime) -> None:
    look_for_copy(runtime.database)
    witness = runtime.settings.data_dir / NAME
    before = witness.stat(), witness.read_bytes()
    with runtime.database.reading() as session:
        row = find_instance(session)

    assert look_for_copy(runtime.database) is False

    assert (witness.stat().st_ino, witness.read_bytes()) == (before[0].st_ino, before[1])
    with runtime.database.reading() as session:
        assert find_instance(session) == row


def test_every_sign_that_is_stored_has_a_sentence(original: Original) -> None:
    file = {"path", "inode", "born", "disk"}
    names = {*file, *(f"folder_{name}" for name in (*file, "machine", "network"))}
    names |= {"server", "number", "address", "loaded", "older", "other_life", "no_witness"}

    assert place.file_signs(original.folder).keys() <= file
    assert place.folder_signs(original.folder).keys() <= {*file, "machine", "network"}
    assert names == {*SENTENCES, *SAME_AS}
    assert all(Finding(name, "1", "2").sentence.endswith(".") for name in names)
    rows = [Finding(name).to_json() for name in ("path", "inode", "born")]
    assert [finding.sign for finding in findings_of(rows)] == ["path", "inode"]


@on_sqlite
def test_confirmed_copy_goes_on_after_every_further_start(original: Original, paired: Paired) -> None:
    move = ON_SQLITE["mv of the data folder to another folder"]
    with move(original) as settings, started(settings, paired) as moved:
        assert is_waiting(moved.runtime)

        assert confirm_running(moved.runtime) == 1
        prepare(settings)
        prepare(settings)

        assert not is_waiting(moved.runtime)
        assert moved.demand() == paired.issued[-1].access_token


def lose_newest_changes(runtime: Runtime, count: int) -> None:
    """Set the server's database back by this many changes, as a snapshot of the whole server does."""
    with runtime.database.engine.begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))
        number = connection.execute(text("SELECT number FROM audit_head")).scalar_one() - count
        connection.execute(text("DELETE FROM audit_event WHERE number > :number"), {"number": number})
        connection.execute(
            text(
                "UPDATE audit_head SET (number, hash) = (SELECT number, hash FROM audit_event WHERE number = :number)"
            ),
            {"number": number},
        )
        connection.execute(text("SET session_replication_role = DEFAULT"))


@on_postgresql
def test_older_state_of_a_server_waits_and_is_confirmed_for_every_machine(original: Original, paired: Paired) -> None:
    (original.aside / "other").mkdir()
    other = original.at(original.aside / "other")
    prepare(other)
    original.refresh()
    lose_newest_changes(paired.runtime, 1)

    prepare(original.settings)
    assert [finding.sign for finding in findings(paired.runtime)] == ["older"]
    confirm_running(paired.runtime)
    for settings in (other, original.settings):
        prepare(settings)

    assert not is_waiting(paired.runtime)
    # The time before the confirmation is another life of the database.
    with paired.runtime.database.transaction() as session:
        instance = find_instance(session)
        epoch, instance.epoch = instance.epoch, instance.former_epochs.pop()
        instance.written_by = str(session.connection().execute(text("SELECT txid_current()")).scalar_one())
        assert epoch != instance.epoch
    prepare(other)
    assert [finding.sign for finding in findings(paired.runtime)] == ["other_life"]


@on_postgresql
def test_failover_that_loses_only_what_spends_no_token_goes_on(original: Original, paired: Paired) -> None:
    with paired.runtime.database.transaction() as session:
        audit.record(session, SYSTEM, "user.signed_in", audit.Target(1, "user", 1))
    lose_newest_changes(paired.runtime, 1)

    prepare(original.settings)

    assert not is_waiting(paired.runtime)


@on_postgresql
def test_machine_that_joins_with_an_empty_data_folder_is_welcome(original: Original, paired: Paired) -> None:
    for name in ("one", "two"):
        (original.aside / name).mkdir()
        prepare(original.at(original.aside / name))

    assert not is_waiting(paired.runtime)


@on_postgresql
@pytest.mark.parametrize("others_work", [True, False])
def test_machine_that_knows_the_server_by_another_name_is_welcome_if_others_are_at_work(
    original: Original, paired: Paired, *, others_work: bool
) -> None:
    (original.aside / "var").mkdir()
    joining = original.at(original.aside / "var", f"{original.settings.database_url}/")
    over, beats = threading.Event(), text("UPDATE executor SET heartbeat_at = clock_timestamp()")

    def work() -> None:
        while not over.wait(0.05):
            with paired.runtime.database.engine.begin() as connection:
                connection.execute(beats)

    with paired.runtime.database.transaction() as session:
        session.add(Executor(executor_id="there", host="there", pid=1, started_at=utc_now(), heartbeat_at=utc_now()))
    working = threading.Thread(target=work)
    if others_work:
        working.start()
    try:
        prepare(joining)
    finally:
        over.set()
        if others_work:
            working.join()

    assert is_waiting(paired.runtime) is not others_work
    if others_work:
        prepare(original.settings)
        prepare(joining)
        assert not is_waiting(paired.runtime)


@on_postgresql
def test_maintenance_of_the_server_is_no_load_of_a_dump(original: Original, paired: Paired) -> None:
    engine = paired.runtime.database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in ("VACUUM FREEZE instance", "VACUUM FULL instance", "ANALYZE instance"):
            connection.execute(text(statement))
    with paired.runtime.database.engine.begin() as connection:
        connection.execute(text("SELECT * FROM instance FOR UPDATE"))

    prepare(original.settings)

    assert not is_waiting(paired.runtime)


@on_sqlite
def test_copy_that_only_gunicorn_starts_waits_and_its_pages_say_so(
    original: Original, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ON_SQLITE["cp -a of the data folder"](original) as settings:
        app = create_app(settings)
        owner = Visitor(app).sign_in(cast.owner)

        pages = [owner.get(path).text for path in ("/restored", "/profile")]
        app.extensions["gatehouse_runtime"].database.close()

    assert f"The database file was {original.file} and is now {settings.data_dir}/gatehouse.db." in pages[0]
    assert 'href="/restored"' in pages[1]


@on_sqlite
def test_copy_that_only_a_worker_starts_waits(original: Original) -> None:
    given_up = threading.Event()
    given_up.set()
    copy = ON_SQLITE["cp of the database file to another data folder"]
    with copy(original) as settings, opened(settings) as runtime:
        assert Engine(runtime, QUICK).start(given_up) is False
        assert is_waiting(runtime)


@on_sqlite
def test_worker_ends_when_its_database_is_exchanged_under_it(original: Original) -> None:
    with opened(original.settings) as runtime, running_worker(runtime) as engine:
        run("cp", "-a", original.file, original.aside / "copy.db")
        run("mv", original.aside / "copy.db", original.file)

        assert engine.broken.wait(30)


@pytest.mark.parametrize("lost", ["before the row", "after the row"])
def test_first_start_that_dies_half_way_is_begun_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with runtime.database.transaction() as session:
        session.execute(delete(Instance))
    if lost == "after the row":
        # Like a process that died before it wrote the witness.
        (runtime.settings.data_dir / NAME).unlink()
        with runtime.database.transaction() as session:
            session.add(Instance(id=1, epoch="first"))

    assert look_for_copy(runtime.database) is False
    assert look_for_copy(runtime.database) is False


def test_witness_is_never_taken_back_by_a_slower_process(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    witness.advance(1, "before it knows its database", is_urgent=True)
    assert witness.read() == {}
    witness.write("one", Evidence(5, "five"))

    for number in (9, 7):
        witness.advance(number, str(number), is_urgent=True)
    witness.write("one", Evidence(8, "eight", {"path": "here"}))

    assert witness.read() == {"one": Evidence(9, "9", {"path": "here"})}
    witness.write("two", Evidence(3, "three"), former=["one", "unknown"])
    assert witness.read() == {"one": Evidence(9, "9", {"path": "here"}, is_over=True), "two": Evidence(3, "three")}
    (tmp_path / NAME).write_text("{")
    assert witness.read() == {}


@on_postgresql
def test_confirmation_that_the_data_folder_cannot_keep_is_refused(original: Original, paired: Paired) -> None:
    original.refresh()
    lose_newest_changes(paired.runtime, 1)
    prepare(original.settings)
    run("mv", original.folder, original.aside / "var")
    original.folder.write_text("a file where the folder should be")

    with pytest.raises(NothingStored, match=f"Nothing can be written to the data folder {original.folder}"):
        confirm_running(paired.runtime)

    assert is_waiting(paired.runtime)


@on_postgresql
def test_two_databases_that_take_turns_with_one_data_folder_are_each_known(
    original: Original, paired: Paired, request: pytest.FixtureRequest
) -> None:
    url = original.server.create_database(template=request.getfixturevalue("migrated_postgresql"))
    for settings in (original.at(original.folder, url), original.settings) * 2:
        prepare(settings)
        with opened(settings) as runtime:
            assert not is_waiting(runtime)
    original.refresh()
    lose_newest_changes(paired.runtime, 1)

    prepare(original.settings)

    assert [finding.sign for finding in findings(paired.runtime)] == ["older"]
    original.server.drop_database(url)
