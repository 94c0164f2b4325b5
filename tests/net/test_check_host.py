from __future__ import annotations

from pathlib import Path

import pytest

from portal.net.check_host import check_host
from portal.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_allowed_address_is_shown_as_understood(settings: Settings) -> None:
    assert check_host(" 10.1.2.3/gitlab/users/sign_in", settings) == (
        0,
        ["Understood as https://10.1.2.3/gitlab", "Resolves to 10.1.2.3", "Allowed"],
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2130706433", "Refused (numeric_host)"),
        ("http://10.1.2.3", "Refused (http_not_allowed)"),
        ("127.0.0.1", "Refused (address_loopback)"),
        ("localhost", "Refused (address_loopback)"),
        ("[::ffff:169.254.169.254]", "Refused (address_metadata)"),
        ("10.1.2.3:22", "Refused (address_port)"),
        ("127.1", "Refused ("),
        ("[64:ff9b::7f00:1]", "Refused ("),
        ("gitlab@169.254.169.254", "Refused ("),
        ("169.254.169.254", "Refused (address_metadata)"),
    ],
)
def test_refused_host_ends_with_two_and_says_why(text: str, words: str, settings: Settings) -> None:
    code, lines = check_host(text, settings)

    assert code == 2
    assert lines[-1].startswith(words)


def test_operators_list_decides(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, network_policy="192.168.0.0/16")

    assert check_host("192.168.1.1", settings)[0] == 0
    assert check_host("10.1.2.3", settings)[1][-1].startswith("Refused (address_not_listed)")
