from __future__ import annotations

import pytest

from portal.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "gatehouse.example.com"),
        ("base_url", "http://gatehouse.example.com"),
        ("base_url", "https://gatehouse.example.com/path"),
        ("network_policy", "10.0.0.0/8,nonsense"),
        ("outbound_ports", "http"),
        ("trusted_proxy_hops", "-1"),
        ("session_idle_minutes", "0"),
        ("catalogue_lanes", "many"),
    ],
)
def test_bad_value_names_its_variable_and_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GATEHOUSE_{name.upper()}", value)

    with pytest.raises(SettingsError) as raised:
        Settings.from_environ()

    assert f"GATEHOUSE_{name.upper()}" in str(raised.value)
    assert raised.value.code == 78


def test_sandbox_is_refused_on_a_portal_that_others_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_BASE_URL", "https://gatehouse.example.com")
    monkeypatch.setenv("GATEHOUSE_SANDBOX_ORIGIN", "http://localhost:8929")

    with pytest.raises(SettingsError):
        Settings.from_environ()


def test_port_443_stays_allowed_whatever_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND_PORTS", "8443, 9443")

    assert Settings.from_environ().outbound_ports == {443, 8443, 9443}
