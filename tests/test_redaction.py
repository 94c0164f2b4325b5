"""Secrets are removed from texts by value: whole, in part, and in the forms in which HTTP and JSON carry them."""

from __future__ import annotations

import base64
import secrets
from hashlib import sha256
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal import redaction
from portal.redaction import (
    MASK,
    MAX_REGISTERED,
    MIN_PART,
    redact,
    redact_foreign,
    redact_random,
    register,
    registered_values,
)
from portal.vault import Secret

pytestmark = pytest.mark.usefixtures("no_known_secrets")
# As GitLab generates them: an application's Secret, an access token, a personal access token, and one with special
# characters.
KINDS = (
    f"gloas-{sha256(b'1').hexdigest()}",
    sha256(b"2").hexdigest(),
    "glpat-x7Kq_2mZ-9RtYbW3sVdP",
    "a+b/c=d~e.f-g_h1i2j3",
)


def test_every_secret_the_process_held_is_blanked() -> None:
    first, second = Secret("canary-first-000"), Secret("canary-second-00")

    text = redact(f"Bearer {first.reveal()}, again {first.reveal()}; {second.reveal()}.")

    assert text == f"Bearer {MASK}, again {MASK}; {MASK}."


def test_longer_of_two_secrets_that_begin_alike_is_taken() -> None:
    register("canary-alike")
    register("canary-alike-and-longer")

    assert redact("canary-alike-and-longer") == MASK
    assert redact("canary-alike") == MASK


def test_special_characters_are_taken_literally() -> None:
    register("a.c*[(+?)]|^$\\x")

    assert redact("x a.c*[(+?)]|^$\\x y") == f"x {MASK} y"
    assert redact("abc*[(+?)]|^$\\x") == "abc*[(+?)]|^$\\x"


def test_secret_with_blanks_is_found_wherever_its_first_blank_is() -> None:
    for value in ("correct horse battery staple", "a b c d e f g h", '{"token": "x", "more": "y"}'):
        register(value)

        assert redact(f"he said {value}!") == f"he said {MASK}!"


def test_short_secrets_are_not_redacted_because_they_are_ordinary_words() -> None:
    register("of")
    register("")

    assert redact("a word of it") == "a word of it"


@pytest.mark.parametrize("value", KINDS)
@pytest.mark.parametrize(
    "part", [slice(0, 20), slice(4, None), slice(-MIN_PART, None), slice(1, 1 + MIN_PART)], ids=str
)
def test_part_of_a_secret_is_blanked_as_well(value: str, part: slice) -> None:
    register(value)

    assert redact(f"token {value[part]}… is unknown") == f"token {MASK}… is unknown"


def test_few_characters_of_a_secret_and_parts_of_texts_that_are_none_stay() -> None:
    register("0f" * 4 + "1e" * 28)
    register("https://gitlab.example.com/oauth/applications/12")
    register('{"scopes": ["read_api", "read_user"], "expires_in": 7200}')

    for text in ("0f0f0f0f1e1e1e1", "https://gitlab.example.com/a/b", 'has "scopes": ["read_api", "read_user"]'):
        assert redact(text) == text


@pytest.mark.parametrize("value", KINDS)
@pytest.mark.parametrize(
    "form",
    [
        lambda value: quote(value, safe=""),
        lambda value: "".join(f"%{ord(character):02x}" for character in value),
        lambda value: value.replace("/", "\\/"),
        lambda value: "".join(f"\\u{ord(character):04X}" for character in value),
        lambda value: "".join(f"&#{ord(character)};" for character in value),
        lambda value: base64.b64encode(f"client:{value}".encode()).decode(),
        lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
        lambda value: base64.urlsafe_b64encode(f"xy{value}??>".encode()).decode(),
        lambda value: quote(base64.b64encode(f"1{value}".encode()).decode(), safe=""),
        lambda value: base64.b64encode(value.encode()).decode()[1:40],
    ],
    ids=["url", "url_all", "json_slash", "json_all", "html", "basic", "base64", "base64_url", "base64_in_url", "cut"],
)
def test_secret_is_found_in_the_forms_that_http_and_json_give_it(value: str, form) -> None:
    register(value)

    hidden = form(value)

    shown = redact_foreign(f"The header was 'Authorization: Basic {hidden}', which is wrong.")

    assert MASK in shown
    assert not any(hidden[at : at + 12] in shown for at in range(len(hidden) - 11))
    assert shown.startswith("The header was 'Authorization: Basic ")
    assert shown.endswith(" which is wrong.")


@pytest.mark.parametrize(
    "text",
    [
        "glpat-x7Kq2mZ9RtYbW3sVdP1a is no longer valid",
        f"secret gloas-{sha256(b'3').hexdigest()} does not match",
        "giat_eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl1234",
        "JWT eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl",
    ],
)
def test_token_that_no_process_here_held_is_recognised_by_its_form(text: str) -> None:
    shown = redact_foreign(text)

    assert MASK in shown
    assert not any(len(word) > 12 for word in shown.split())


def test_long_random_words_go_from_sentences() -> None:
    for _ in range(200):
        for value in (secrets.token_hex(32), secrets.token_hex(32)[:20], secrets.token_urlsafe(48)):
            assert value not in redact_random(f"The token {value} was revoked.")


@pytest.mark.parametrize(
    "name",
    [
        "global-settings-for-all-groups",
        "glrt-runner-configuration-tools",
        "group/sub-group/a-project-with-a-very-long-name",
        "403 Forbidden - Your account has been deactivated by your administrator.",
        "release-2024-notes-and-more",
        "Pipeline_Templates_For_All_Teams",
    ],
)
def test_names_and_sentences_of_words_stay_as_they_are(name: str) -> None:
    register(KINDS[1])

    assert redact_foreign(name) == name


def test_register_is_bounded_and_what_is_shown_to_somebody_counts_as_new() -> None:
    oldest, used = "canary-oldest-0", Secret("canary-in-use-00")
    register(oldest)
    for number in range(MAX_REGISTERED):
        register(f"canary-{number + 1}")
        if number % 1000 == 0:
            used.reveal()

    assert len(registered_values()) <= MAX_REGISTERED
    assert redact(oldest) == oldest
    assert redact(f"canary-{MAX_REGISTERED} {used.reveal()}") == f"{MASK} {MASK}"


WORDS = st.text("abcd", min_size=8, max_size=24)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.lists(WORDS, max_size=4), pieces=st.lists(st.one_of(WORDS, st.text("abcde ", max_size=6)), max_size=6))
def test_no_secret_and_no_long_part_of_one_is_left_and_nothing_else_is_taken(
    values: list[str], pieces: list[str]
) -> None:
    for value in values:
        register(value)
    known = registered_values()
    parts = {value[at : at + MIN_PART] for value in known for at in range(len(value) - MIN_PART + 1)} | set(known)
    text = "".join(pieces)

    shown = redact(text)

    assert not any(part in shown for part in parts)
    if not any(part in text for part in parts):
        assert shown == text
    rest = iter(text)
    assert all(character in rest for character in shown.replace(MASK, ""))


@pytest.mark.parametrize("unit", ["x", "0123456789abcdef"])
def test_secret_that_repeats_itself_is_found_whole_and_in_part_without_a_place_for_every_repetition(unit: str) -> None:
    value = (unit * 60_000)[:60_000]
    register(value)

    assert max(map(len, redaction._pieces.values())) <= 2 * redaction.MAX_PLACES
    assert redact(f"{value} {value[:2000]} {value[-2000:]} end") == f"{MASK} {MASK} {MASK} end"
