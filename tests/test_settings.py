from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.settings import EXIT_CONFIG, OTHER_NAMES, Settings, SettingsError

PREFIX = "GATEHOUSE_"
BAD_NUMBERS = ("many", "-1", "1.5", "1000000", "0x10")
BAD_BOOLEANS = ("maybe", "2", "ja")
BAD_PORTS = ("http", "0", "99999", "443;80", "443,-1")
# Every setting has its bad values here, or its reason for having none.
BAD: dict[str, tuple[str, ...]] = {
    "base_url": (
        "nonsense",
        "gatehouse.example.com",
        "//gatehouse.example.com",
        "ftp://gatehouse.example.com",
        "http://gatehouse.example.com",
        "https://gatehouse.example.com/path",
        "https://gatehouse.example.com/?a=b",
        "https://gatehouse.example.com/#a",
        "https://me@gatehouse.example.com",
        "https://gate house.example.com",
        "https://straße.example.com",
        "https://:8000",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:port",
        "http://[::1",
    ),
    "database_url": (
        "nonsense",
        "mysql://db/gatehouse",
        "postgresql+asyncpg://db/gatehouse",
        "postgresql://db:port/gatehouse",
        "postgresql://db:99999/gatehouse",
        "postgresql://db",
        "sqlite://",
        "sqlite:///:memory:",
    ),
    "network_policy": ("privat", "10.0.0.0/8,nonsense", "10.20.0.1/16", "10.0.0.0/33"),
    "outbound_ports": BAD_PORTS,
    "proxy_ports": BAD_PORTS,
    "allow_http": BAD_BOOLEANS,
    "embedded_worker": BAD_BOOLEANS,
    "sandbox_origin": (
        "localhost:8929",
        "http://example.com:8929",
        "http://localhost:8929/gitlab",
        "http://localhost:0",
    ),
    "trusted_proxy_hops": BAD_NUMBERS,
    "session_idle_minutes": (*BAD_NUMBERS, "0"),
    "session_absolute_hours": (*BAD_NUMBERS, "0"),
    "access_log_days": (*BAD_NUMBERS, "0"),
    "activity_minutes": (*BAD_NUMBERS, "0"),
    "catalogue_lanes": (*BAD_NUMBERS, "0"),
    "delivery_days": (*BAD_NUMBERS, "0"),
    "hook_compare_minutes": (*BAD_NUMBERS, "4"),
    "catalogue_complete_hours": (*BAD_NUMBERS, "0"),
    "catalogue_updates_minutes": (*BAD_NUMBERS, "0"),
    "catalogue_loss_percent": (*BAD_NUMBERS, "0", "101"),
    "smtp_port": (*BAD_NUMBERS, "0", "99999"),
    "plan": ("enterprize", "Enterprise"),
    "support_contact": ("help@example.com\nX: y",),
    "documentation_url": ("docs.example.com", "javascript:alert(1)", "https://docs.example.com/a b"),
    "log_level": ("LOUD", "3"),
    "smtp_host": ("mail.example.com:25", "smtp://mail.example.com", "mail example"),
    "smtp_security": ("ssl", "yes"),
    "smtp_sender": ("gatehouse", "Gate House <gatehouse@example.com>", "a@b\nBcc: c@d"),
    "smtp_username": ("alone",),
    "smtp_password": ("alone",),
}
ANY_PATH = {"data_dir", "key_file", "audit_head_file"}  # Checked in `portal/preflight.py`.


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, *OTHER_NAMES):
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def refused(text: str = "") -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ()
    assert raised.value.code == EXIT_CONFIG
    assert text in str(raised.value)
    return str(raised.value)


def test_every_setting_has_bad_values_to_be_tried() -> None:
    assert set(BAD) | ANY_PATH == set(Settings.model_fields)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_value_is_one_sentence_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), value)

    sentence = refused(PREFIX + name.upper())

    assert "\n" not in sentence
    assert sentence[-1] in ".?"
    assert not re.search(r"pydantic|input|valid|parsing", sentence, re.IGNORECASE)


def test_every_bad_variable_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("GATEHOUSE_SMTP_PORT", "no")
    monkeypatch.setenv("GATEHOUSE_BASEURL", "x")

    assert len(refused().splitlines()) == 3


@pytest.mark.parametrize(
    "address", ["postgresql://u:hunter2@db", "postgresql://u:hunter2@db:x/y", "mysql://u:hunter2@db/y"]
)
def test_password_in_a_bad_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("GATEHOUSE_DATABASE_URL", address)

    assert "hunter2" not in refused()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GATEHOUSE_BASEURL", "GATEHOUSE_BASE_URL"),
        ("GATEHOUSE_SMPT_HOST", "GATEHOUSE_SMTP_HOST"),
        ("GATEHOUSE_KEYFILE", "GATEHOUSE_KEY_FILE"),
        ("gatehouse_trusted_proxies", "GATEHOUSE_TRUSTED_PROXY_HOPS"),
        ("GATEHOUSE_KEY", "GATEHOUSE_KEYS"),
        ("GATEHOUSE_PORT", "GATEHOUSE_SMTP_PORT"),
        ("GATEHOUSE_XYZZY", "docs/operation.md"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "8000")

    assert meant in refused(name)


def test_what_kubernetes_says_of_services_beside_the_portal_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_SERVICE_HOST", "10.0.0.7")
    monkeypatch.setenv("GATEHOUSE_SERVICE_PORT_HTTP", "80")
    monkeypatch.setenv("GATEHOUSE_PORT", "tcp://10.0.0.7:80")
    monkeypatch.setenv("GATEHOUSE_WEB_PORT_80_TCP_ADDR", "10.0.0.7")

    Settings.from_environ()


@pytest.mark.parametrize(
    ("typed", "base_url", "host"),
    [
        ("https://gatehouse.example.com:443", "https://gatehouse.example.com", "gatehouse.example.com"),
        ("HTTPS://Gatehouse.Example.COM/", "https://gatehouse.example.com", "gatehouse.example.com"),
        ("https://gatehouse.example.com.:8443", "https://gatehouse.example.com:8443", "gatehouse.example.com:8443"),
        ("http://127.0.0.1:80/", "http://127.0.0.1", "127.0.0.1"),
        ("http://localhost:443", "http://localhost:443", "localhost:443"),
        ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]", "[::1]"),
        (" http://127.0.0.1:8000\r", "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("", "http://127.0.0.1:8000", "127.0.0.1:8000"),
    ],
)
def test_base_url_is_written_as_browsers_write_it(
    monkeypatch: pytest.MonkeyPatch, typed: str, base_url: str, host: str
) -> None:
    monkeypatch.setenv("GATEHOUSE_BASE_URL", typed)

    settings = Settings.from_environ()

    assert (settings.base_url, settings.host) == (base_url, host)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_name_of_postgresql_is_accepted(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("GATEHOUSE_DATABASE_URL", f"{scheme}://u:p%40ss@db:5433/gatehouse?sslmode=require")

    resolved = Settings.from_environ().resolved_database_url

    assert resolved == "postgresql+psycopg://u:p%40ss@db:5433/gatehouse?sslmode=require"


def test_sandbox_is_refused_on_a_portal_that_others_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_BASE_URL", "https://gatehouse.example.com")
    monkeypatch.setenv("GATEHOUSE_SANDBOX_ORIGIN", "http://localhost:8929")

    refused("GATEHOUSE_SANDBOX_ORIGIN")


def test_port_443_stays_allowed_whatever_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND_PORTS", "8443, 9443")

    assert Settings.from_environ().outbound_ports == {443, 8443, 9443}


def test_operation_documents_every_setting_with_its_default() -> None:
    text = (Path(__file__).parent.parent / "docs" / "operation.md").read_text()
    rows = re.findall(r"^\| ((?:`GATEHOUSE_\w+`(?:, )?)+) \| ([^|]*) \|", text, re.MULTILINE)
    documented = {name.lower(): default for names, default in rows for name in re.findall(r"GATEHOUSE_(\w+)", names)}

    assert set(documented) == {*Settings.model_fields, "keys"}
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        elif isinstance(default, frozenset):
            shown = f"`{','.join(map(str, sorted(default, key=str)))}`"
        elif isinstance(default, (str, int, Path)) and str(default):
            shown = f"`{default}`"
        else:
            continue  # Nothing, or derived from other settings: described in words.
        assert documented[name] == shown, name
