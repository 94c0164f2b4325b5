from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle  # noqa: TID251 - to see that it refuses
import pprint
import traceback

import msgspec
import pytest

from portal.vault import Secret

TOKEN = "glpat-canary-51b0c7d9e2aa"


@dataclasses.dataclass
class Holder:
    name: str
    token: Secret


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(TOKEN)),
        str(Secret(TOKEN)),
        f"{Secret(TOKEN)}",
        f"{Secret(TOKEN)!r:>40}",
        f"{Secret(TOKEN):>40}",
        "{:s}".format(Secret(TOKEN)),  # noqa: UP032
        "%s %r" % (Secret(TOKEN), Secret(TOKEN)),  # noqa: UP031
        str([Secret(TOKEN)]),
        str({"token": Secret(TOKEN)}),
        repr(Holder("a", Secret(TOKEN))),
        pprint.pformat(Holder("a", Secret(TOKEN))),
        ascii(Secret(TOKEN)),
        str(dir(Secret(TOKEN))),
    ],
)
def test_no_way_of_printing_shows_the_secret(shown: str) -> None:
    assert TOKEN not in shown
    assert TOKEN[:8] not in shown


def test_json_refuses_a_secret_wherever_it_is() -> None:
    for value in (Secret(TOKEN), [Secret(TOKEN)], {"token": Secret(TOKEN)}):
        with pytest.raises(TypeError):
            json.dumps(value)
        with pytest.raises(TypeError):
            msgspec.json.encode(value)
    with pytest.raises(TypeError):
        json.dumps({Secret: Secret(TOKEN)})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_refuses_a_secret(protocol: int) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Holder("a", Secret(TOKEN)), protocol)


def test_copies_are_refused_also_inside_of_other_things() -> None:
    holder = Holder("a", Secret(TOKEN))

    for attempt in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(holder.token)
    for attempt in (copy.deepcopy, dataclasses.asdict, dataclasses.astuple):
        with pytest.raises(TypeError):
            attempt(holder)


def test_secret_has_no_attributes_to_walk_and_takes_none() -> None:
    secret = Secret(TOKEN)

    with pytest.raises(TypeError):
        vars(secret)
    with pytest.raises(AttributeError):
        secret.note = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        hash(secret)


def test_equality_compares_texts_and_only_with_secrets() -> None:
    assert Secret(TOKEN) == Secret(TOKEN)
    assert Secret(TOKEN) != Secret(TOKEN + "x")
    assert Secret("ä") == Secret("ä")
    assert Secret(TOKEN) != TOKEN
    assert Secret(TOKEN) is not None


def test_truth_is_whether_there_is_a_text() -> None:
    assert Secret(TOKEN)
    assert not Secret("")


@pytest.mark.parametrize(
    ("text", "hint"), [(TOKEN, "e2aa"), ("x" * 15, ""), ("0123456789abcdef", "cdef"), ("short", ""), ("", "")]
)
def test_hint_is_the_last_four_characters_of_a_long_secret_only(text: str, hint: str) -> None:
    assert Secret(text).hint == hint


def test_traceback_and_log_of_a_failure_with_a_secret_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    token = Secret(TOKEN)
    try:
        raise ValueError("refused", token, {"token": token})
    except ValueError as error:
        logging.getLogger("test").exception("failed with %s", token)
        shown = "".join(traceback.format_exception(error))

    assert TOKEN not in shown
    assert TOKEN not in caplog.text
