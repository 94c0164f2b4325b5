"""No text from a peer gets past `clean`: every field of every payload, every error, every header, every certificate."""

from __future__ import annotations

import base64
import inspect
import json
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import msgspec
import pytest

from portal.errors import Card
from portal.foreign import Foreign, Scopes, Words
from portal.gitlab import answers, hooks
from portal.net import CertificateInfo, HostSession, OutboundError
from portal.net import errors as net_errors
from portal.net.client import Headers
from portal.net.json_reader import read_json
from portal.redaction import register
from portal.vault import Secret
from tests.gitlab.malformed import ScriptedServer, response
from tests.gitlab.test_malformed import CALLS

TOKEN = "5e2c" * 16
HOSTILE = f"{TOKEN} \x1b[31m\r\n\u202egpj.exe\u2066\u200b\x00 {TOKEN[:20]}… " + "x" * 20_000
# What a cleaned text may contain: long enough for every kind except whole answers.
MAX_LENGTH = 1500
# They are secrets themselves: the reader makes `Secret`s of them.
SECRET_FIELDS = {("TokenAnswerPayload", "access_token"), ("TokenAnswerPayload", "refresh_token")}


@pytest.fixture(autouse=True)
def known_token() -> None:
    register(TOKEN)


def assert_clean(value: Any) -> None:
    for text in texts_in(value):
        assert TOKEN[:16] not in text
        assert not {"\x1b", "\r", "\n", "\u202e", "\u2066", "\u200b", "\x00"} & set(text)
        assert len(text) <= MAX_LENGTH


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (*texts_in(key), *texts_in(item))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, msgspec.Struct):
        yield from texts_in(msgspec.structs.asdict(value))
    elif isinstance(value, Secret):
        raise AssertionError("a secret is no text")


def payload_types() -> list[type[msgspec.Struct]]:
    named = [*vars(answers).values(), *vars(hooks).values()]
    found = [item for item in named if inspect.isclass(item) and issubclass(item, msgspec.Struct)]
    return [item for item in found if item not in {msgspec.Struct, answers.Page}]


def hostile_json(kind: msgspec.inspect.Type) -> Any:
    """Return JSON that fits a type, with a hostile text wherever one may be."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return hostile_json(next(item for item in kind.types if not isinstance(item, msgspec.inspect.NoneType)))
    if isinstance(kind, msgspec.inspect.StructType):
        return {field.encode_name: hostile_json(field.type) for field in kind.fields}
    if isinstance(kind, msgspec.inspect.ListType):
        return [hostile_json(kind.item_type)]
    if isinstance(kind, msgspec.inspect.CustomType):
        return {Scopes: [HOSTILE] * 500, answers.Moment: "2024-01-01T00:00:00Z"}.get(kind.cls, HOSTILE)
    if isinstance(kind, msgspec.inspect.AnyType):
        return 1
    return {
        msgspec.inspect.DateType: "2026-11-28",
        msgspec.inspect.IntType: 1,
        msgspec.inspect.FloatType: 0.5,
        msgspec.inspect.BoolType: True,
        msgspec.inspect.StrType: HOSTILE,
    }[type(kind)]


def plain_text_fields(kind: msgspec.inspect.Type, name: str) -> list[str]:
    """Return the fields whose text would come in unchanged."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return [found for item in kind.types for found in plain_text_fields(item, name)]
    if isinstance(kind, (msgspec.inspect.ListType, msgspec.inspect.SetType)):
        return plain_text_fields(kind.item_type, name)
    if isinstance(kind, msgspec.inspect.DictType):
        return [*plain_text_fields(kind.key_type, name), *plain_text_fields(kind.value_type, name)]
    return [name] if isinstance(kind, (msgspec.inspect.StrType, msgspec.inspect.BytesType)) else []


@pytest.mark.parametrize("kind", payload_types(), ids=lambda kind: kind.__name__)
def test_payload_has_no_text_that_is_not_foreign(kind: type[msgspec.Struct]) -> None:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)

    raw = [name for field in info.fields for name in plain_text_fields(field.type, field.name)]

    assert [name for name in raw if (kind.__name__, name) not in SECRET_FIELDS] == []


@pytest.mark.parametrize("kind", payload_types(), ids=lambda kind: kind.__name__)
def test_payload_is_clean_whatever_comes(kind: type[msgspec.Struct]) -> None:
    data = hostile_json(msgspec.inspect.type_info(kind))

    found = read_json(json.dumps(data).encode(), "application/json", kind)

    secret = {name for owner, name in SECRET_FIELDS if owner == kind.__name__}
    assert_clean({name: value for name, value in msgspec.structs.asdict(found).items() if name not in secret})


def error_types(base: type[Exception]) -> list[type[Exception]]:
    return [base, *(found for kind in base.__subclasses__() for found in error_types(kind))]


def hostile_error(kind: type[Exception]) -> Exception:
    """Make an error with a hostile text in every parameter that takes one."""
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if "str" in str(parameter.annotation):
            given[name] = HOSTILE
        elif parameter.default is parameter.empty:
            given[name] = 302
    return kind(**given)


# Their texts are our own: a key of a table, what the policy says about an address entered here, a path.
OURS = {net_errors.TLSFailed, net_errors.AddressForbidden, answers.OAuthBlocked}


@pytest.mark.parametrize(
    "kind",
    [kind for base in (answers.GitLabError, OutboundError) for kind in error_types(base) if kind not in OURS],
    ids=lambda kind: kind.__name__,
)
def test_error_is_clean_whatever_it_is_made_of(kind: type[Any]) -> None:
    error = hostile_error(kind)

    assert_clean([vars(error), str(error), repr(error), error.args, error.card().to_json()])  # type: ignore[attr-defined]


def test_card_is_clean_also_when_an_older_version_stored_it() -> None:
    stored = {
        "code": "odd",
        "layer": "GitLab",
        "sentence": "A sentence.",
        "remedy": "Nothing.",
        "mender": "You",
        "words": HOSTILE,
        "request_id": HOSTILE,
    }

    assert_clean(Card.from_json(stored).to_json())


def test_headers_are_clean_whatever_case_they_are_asked_in(server: ScriptedServer, http: HostSession) -> None:
    server.answer = response(b"{}", headers=(f"X-Request-Id: {TOKEN} \x1b[31m", "X-Long: " + "y" * 9000))

    headers = http.fetch("GET", "/").headers

    assert headers["x-request-id"] == headers["X-REQUEST-ID"] == "*** \ufffd[31m"
    assert isinstance(headers, Headers)
    assert_clean(dict(headers))


def test_certificate_names_are_foreign() -> None:
    kinds = typing.get_type_hints(CertificateInfo)
    ours = {"sha256", "pem"}  # A digest, and an encoding, of our own.

    texts = {field.name for field in fields(CertificateInfo) if issubclass(kinds[field.name], str)} - ours

    assert texts == {name for name, kind in kinds.items() if issubclass(kind, Foreign)}


def repeated(secret: str) -> str:
    """Return the forms in which a careless server repeats a secret."""
    encoded = base64.b64encode(f"client:{secret}".encode()).decode()
    return f"{secret} {secret[:20]}... {''.join(f'%{ord(letter):02x}' for letter in secret)} {encoded}"


BODIES = (
    lambda text: {"error": "invalid_grant", "error_description": text},
    lambda text: {"error": text, "message": {text: [text]}},
    lambda text: {"error": "insufficient_scope", "scope": f"api {text}", "error_description": text},
)
STATUSES = ("400 Bad", "401 No", "403 No", "404 No", "418 Tea", "429 Slow", "500 Oh", "302 Go")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("endpoint", CALLS)
def test_what_was_sent_is_in_no_error_that_comes_back(
    server: ScriptedServer, http: HostSession, monkeypatch: pytest.MonkeyPatch, endpoint: str, status: str
) -> None:
    for make_body in BODIES:
        monkeypatch.setattr(server, "secrets", set())
        monkeypatch.setattr(server, "echo", lambda secrets, body=make_body: echo(secrets, body, status))

        try:
            CALLS[endpoint](http)
        except (answers.GitLabError, OutboundError) as error:
            shown = str([vars(error), repr(error), error.card().to_json()])
        else:
            shown = (
                ""  # Some refusals are what a call asks for: that GitLab knows the client, and that its API is there.
            )

        parts = {secret[at : at + 12] for secret in server.secrets for at in range(len(secret) - 11)}
        assert not any(part in shown for part in parts)
        assert endpoint in {"discovery", "identification"} or parts


def echo(secrets: list[str], make_body: Callable[[str], dict[str, Any]], status: str) -> bytes:
    text = " ".join(map(repeated, secrets))
    headers = (f"X-Request-Id: {text}", f"Location: https://{text.replace(' ', '/')}", f"Retry-After: {text}")
    return response(json.dumps(make_body(text)).encode(), status=status, headers=headers)


def test_words_are_the_only_kind_that_takes_out_what_only_may_be_a_secret() -> None:
    assert [kind for kind in Foreign.__subclasses__() if kind.is_sentence] == [Words]
