"""The programs themselves: `gatehouse serve` in a new folder, what stops a start, the wheel, and small commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from portal.operation.cli import main
from portal.operation.listening import SUPERVISOR_VARIABLE, Endpoint, take_port
from portal.operation.serving import default_endpoint
from portal.operation.start import prepare
from portal.settings import Settings, SettingsError
from tests.jobs.waiting import until
from tests.support.modes import open_to_others
from tests.support.postgresql import LOCKED_ROLE, Cluster
from tests.support.processes import ending, free_port, lines_until

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"http://127\.0\.0\.1:\d+/setup/[\w-]+")


def environment(folder: Path, **settings: str) -> dict[str, str]:
    mine = {"data_dir": str(folder), **settings}
    return {**os.environ, **{f"GATEHOUSE_{name.upper()}": value for name, value in mine.items()}}


def start(folder: Path, *arguments: str, cwd: Path = ROOT, **settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "portal", "serve", f"--log-file={folder}/log", *arguments]
    return subprocess.Popen(command, env=environment(folder, **settings), cwd=cwd, stdout=subprocess.PIPE, text=True)


@contextmanager
def serving(folder: Path, *arguments: str, cwd: Path = ROOT, **settings: str) -> Iterator[tuple[str, list[str]]]:
    """Run `gatehouse serve` until the block ends; yield the base URL and the lines it printed."""
    base_url = settings.setdefault("base_url", f"http://127.0.0.1:{free_port()}")
    process = start(folder, *arguments, cwd=cwd, **settings)
    with ending(process):
        yield base_url, lines_until(process, "Stop with")
    assert process.returncode == 0


@pytest.fixture
def gatehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that must be refused, in this process; return the sentence."""

    def run(*arguments: str, **settings: str) -> str:
        for name, value in {"data_dir": str(tmp_path / "var"), **settings}.items():
            monkeypatch.setenv(f"GATEHOUSE_{name.upper()}", value)
        monkeypatch.setattr(sys, "argv", ["gatehouse", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (78, "")
        return printed.err

    return run


def test_serve_prints_a_setup_link_that_works_until_somebody_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sandbox_port = tmp_path / "var", free_port()
    monkeypatch.setenv("COLUMNS", "40")

    with serving(folder, "--sandbox", f"--sandbox-port={sandbox_port}") as (url, lines):
        [link] = [line.rstrip("\n") for line in lines if LINK.fullmatch(line.rstrip("\n"))]
        page = httpx2.get(link, trust_env=False)
        sign_in = httpx2.get(f"{url}/", trust_env=False, follow_redirects=True)
        sandbox = httpx2.get(f"http://localhost:{sandbox_port}/users/sign_in", trust_env=False)
        assert (folder / "gatehouse.db-wal").exists()
        assert open_to_others(folder) == {}
        log = (folder / "log").read_text()

    assert page.status_code == sign_in.status_code == sandbox.status_code == 200
    assert "Set up Gatehouse" in page.text
    assert f"http://localhost:{sandbox_port}\n" in lines
    assert {path.name for path in folder.iterdir()} >= {"keys.json", "log", "gatehouse.db"}
    assert link.rpartition("/")[2] not in log
    assert '"GET /setup/*** HTTP' in log or '"GET /setup/***" 200' in log


def test_killed_serve_takes_its_children_with_it_and_the_next_start_just_works(tmp_path: Path) -> None:
    folder, sandbox_port, base_url = tmp_path / "var", free_port(), f"http://127.0.0.1:{free_port()}"
    at_sandbox = ("--sandbox", f"--sandbox-port={sandbox_port}")
    killed = start(folder, *at_sandbox, base_url=base_url)
    with ending(killed):
        lines_until(killed, "Stop with")
        family = [pid for pid in children_of(killed.pid) if pid]
        refused = subprocess.run(
            [sys.executable, "-m", "portal", "serve"],
            env=environment(tmp_path / "second", base_url=base_url),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        killed.kill()

    with serving(folder, *at_sandbox, base_url=base_url) as (_, lines):
        assert LINK.search("".join(lines))
        until(lambda: not any(is_running(pid) for pid in family))

    assert len(family) >= 4  # Web server, its worker process, background worker, sandbox.
    assert refused.returncode == 78
    assert f"a portal that is already running (process {killed.pid})" in refused.stderr
    assert not (tmp_path / "second").exists()


def children_of(pid: int) -> list[int]:
    born = [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*born, *(grandchild for child in born for grandchild in children_of(child))]


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
@pytest.mark.parametrize("whose", ["portal", "sandbox"])
def test_taken_port_stops_the_start_before_anything_is_made(
    tmp_path: Path, gatehouse: Callable[..., str], address: str, whose: str
) -> None:
    ports = {"portal": free_port(), "sandbox": free_port()}
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, ports[whose]), family=family):
        sentence = gatehouse(
            "serve", "--sandbox", f"--sandbox-port={ports['sandbox']}", base_url=f"http://localhost:{ports['portal']}"
        )

    assert f"Port {ports[whose]}, which the {whose} needs, is taken by" in sentence
    assert {"portal": "make run PORT=", "sandbox": "make run SANDBOX_PORT="}[whose] in sentence
    assert len(sentence.splitlines()) == 1
    assert not (tmp_path / "var").exists()


def test_portal_and_sandbox_cannot_share_a_port(tmp_path: Path, gatehouse: Callable[..., str]) -> None:
    port = free_port()

    sentence = gatehouse("serve", "--sandbox", f"--sandbox-port={port}", base_url=f"http://127.0.0.1:{port}")

    assert "is taken by this portal itself" in sentence


def test_start_ends_what_a_killed_one_left_on_its_port(tmp_path: Path) -> None:
    port = free_port()
    # What such a process looks like: it listens, and its `serve` is gone.
    program = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True); time.sleep(90)"
    )
    left = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, SUPERVISOR_VARIABLE: "4194303 1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines_until(left, "up")

    for listener in take_port(Endpoint("127.0.0.1", port), "the portal", "choose another"):
        listener.close()

    assert left.wait(10) == -signal.SIGTERM
    assert left.stdout
    left.stdout.close()


@pytest.mark.parametrize(
    "bind", ["nonsense", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "::1:8000", "192.0.2.1:8000"]
)
def test_bad_bind_is_one_sentence(gatehouse: Callable[..., str], bind: str) -> None:
    sentence = gatehouse("serve", f"--bind={bind}")

    assert "--bind" in sentence
    assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize(
    ("base_url", "endpoint"),
    [
        ("http://127.0.0.1:8123", Endpoint("127.0.0.1", 8123)),
        ("http://localhost", Endpoint("localhost", 80)),
        ("http://[::1]:8123", Endpoint("::1", 8123)),
        # A reverse proxy uses these ports.
        ("https://localhost:8443", Endpoint("127.0.0.1", 8000)),
        ("https://gatehouse.example.com", Endpoint("127.0.0.1", 8000)),
    ],
)
def test_portal_listens_where_its_address_leads_or_behind_a_proxy_on_loopback(
    base_url: str, endpoint: Endpoint
) -> None:
    assert default_endpoint(Settings(base_url=base_url)) == endpoint


COMMANDS: dict[str, tuple[str, ...]] = {
    "serve": ("serve", "--bind=127.0.0.1:0"),
    "worker": ("worker",),
    "migrate": ("migrate",),
    "check": ("check",),
    "keys": ("keys", "status"),
    "backup": ("backup", "folder"),
    "restore": ("restore", "folder"),
    "user": ("user", "list"),
    "audit": ("audit", "verify"),
}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Every command that works on the portal's database."""
    return COMMANDS[request.param]


def only_sentence(text: str, *parts: str) -> None:
    assert len(text.splitlines()) == 1, text
    for part in parts:
        assert part in text
    assert not re.search(r"Traceback|sqlalche\.me|psycopg|hunter2", text), text


def test_folder_that_cannot_be_made_is_one_sentence(gatehouse: Callable[..., str], command: tuple[str, ...]) -> None:
    only_sentence(gatehouse(*command, data_dir="/dev/null/var"), "GATEHOUSE_DATA_DIR", "/dev/null/var")


def test_head_file_without_a_folder_is_one_sentence(gatehouse: Callable[..., str], command: tuple[str, ...]) -> None:
    only_sentence(gatehouse(*command, audit_head_file="/nowhere/head"), "GATEHOUSE_AUDIT_HEAD_FILE", "/nowhere/head")


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_damaged_sqlite_is_one_sentence(
    tmp_path: Path, gatehouse: Callable[..., str], command: tuple[str, ...], content: bytes
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "gatehouse.db").write_bytes(content * 8)

    only_sentence(gatehouse(*command), "gatehouse.db", "damaged", "gatehouse restore")


def test_damage_that_shows_only_later_is_one_sentence(tmp_path: Path, gatehouse: Callable[..., str]) -> None:
    prepare(Settings(data_dir=tmp_path / "var"))
    path = tmp_path / "var" / "gatehouse.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    only_sentence(gatehouse("migrate"), "damaged", "gatehouse restore")


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda url: url.replace("/test_", "/no_"), ("does not exist", "Create the database")),
        (lambda url: url.replace("portal@", "somebody@"), ("does not exist", "Check the user name")),
        (
            lambda url: url.replace("portal@", f"{LOCKED_ROLE}:hunter2@"),
            ("password", "Check the user name and the password"),
        ),
        (lambda url: "postgresql://u:hunter2@127.0.0.1:1/x", ("127.0.0.1:1", "refused", "Check that the server runs")),
        (lambda url: "postgres://u:hunter2@no-such-host.invalid/x", ("no-such-host.invalid", "Check the host name")),
    ],
    ids=["missing database", "unknown user", "wrong password", "unreachable", "unknown host"],
)
def test_postgresql_that_cannot_be_opened_is_one_sentence(
    cluster: Cluster,
    gatehouse: Callable[..., str],
    command: tuple[str, ...],
    change: Callable[[str], str],
    parts: tuple[str, ...],
) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {LOCKED_ROLE}")  # type: ignore[arg-type]
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'right'").format(sql.Identifier(LOCKED_ROLE)))

    sentence = gatehouse(*command, database_url=change(cluster.url("test_x")))

    only_sentence(sentence, "GATEHOUSE_DATABASE_URL", *parts)


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda keys: keys.chmod(0o644), "may be read by others"),
        (lambda keys: keys.write_text("{}"), "is not in the portal's format"),
        (lambda keys: keys.unlink() or keys.mkdir(), "cannot be read"),
    ],
)
def test_unusable_key_file_is_one_sentence(
    tmp_path: Path, gatehouse: Callable[..., str], damage: Callable[[Path], object], part: str
) -> None:
    prepare(Settings(data_dir=tmp_path / "var"))
    before = (tmp_path / "var" / "gatehouse.db").read_bytes()
    damage(tmp_path / "var" / "keys.json")

    only_sentence(gatehouse("serve", "--bind=127.0.0.1:0"), "keys.json", part)

    assert (tmp_path / "var" / "gatehouse.db").read_bytes() == before


def test_lost_key_file_stops_the_start_and_is_not_replaced(tmp_path: Path, gatehouse: Callable[..., str]) -> None:
    prepare(Settings(data_dir=tmp_path / "var"))
    (tmp_path / "var" / "keys.json").unlink()

    only_sentence(gatehouse("serve", "--bind=127.0.0.1:0"), "keys.json", "Put it back")

    assert not (tmp_path / "var" / "keys.json").exists()


@pytest.mark.parametrize(
    ("option", "code"),
    # Gunicorn ends with its own exit code unless its first process finds the fault.
    [("--preload", 78), ("--no-control-socket", 4), ("--config=python:gatehouse_gunicorn", 78)],
)
def test_gunicorn_stops_with_one_sentence_and_does_not_try_again(tmp_path: Path, option: str, code: int) -> None:
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind=127.0.0.1:0", "--log-level=critical", option]

    ended = subprocess.run(
        command, env=environment(tmp_path), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == code
    only_sentence(ended.stderr, "keys.json")


@pytest.mark.parametrize(("host", "code"), [("[64:ff9b::7f00:1]", 2), ("10.1.2.3", 0)])
def test_check_host_tells_whether_the_door_lets_it_through(
    monkeypatch: pytest.MonkeyPatch, host: str, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["gatehouse", "check-host", host])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code


@pytest.mark.parametrize(
    "command", [("user", "add", "a@example.com", "--name=A"), ("user", "password", "a@example.com")]
)
def test_password_is_not_taken_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gatehouse", *command, "--password=correct horse"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "standard input" in capsys.readouterr().err


def test_port_that_is_taken_by_nobody_is_ours(tmp_path: Path) -> None:
    port = free_port()

    listeners = take_port(Endpoint("localhost", port), "the portal", "")

    assert {listener.getsockname()[:2] for listener in listeners} == {("127.0.0.1", port), ("::1", port)}
    with pytest.raises(SettingsError):
        take_port(Endpoint("0.0.0.0", port), "another", "")
    for listener in listeners:
        listener.close()


def test_wheel_starts_with_its_templates_and_static_files(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("gatehouse-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
        names = archive.namelist()

    # Outside the checkout, so that its files are not found.
    (tmp_path / "var").mkdir()
    with serving(tmp_path / "var", cwd=tmp_path / "unpacked", embedded_worker="false") as (base_url, lines):
        page = httpx2.get(LINK.search("".join(lines)).group(), trust_env=False)
        sheet = re.search(r'href="(/static/css/[^"]+)"', page.text)[1]
        style = httpx2.get(base_url + sheet, trust_env=False)

    assert "wsgi.py" in names
    assert not any("NOTE" in name or name.startswith("tests/") for name in names)
    assert (page.status_code, style.status_code) == (200, 200)
