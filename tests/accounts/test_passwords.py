from __future__ import annotations

import io

import pytest
from argon2 import PasswordHasher
from flask import Flask

from portal.accounts import passwords
from portal.accounts.passwords import PasswordRefused, common_passwords, hash_password, verify_password
from portal.runtime import Runtime
from tests.accounts.support import give_password
from tests.support.people import Cast
from tests.support.visitor import Visitor

HEAD = "a quiet lantern over the marsh, and then another one, and then another one, and."
assert len(HEAD) == 80


def test_equal_first_72_bytes_are_not_enough() -> None:
    first, second = HEAD[:72] + "12345678", HEAD[:72] + "87654321"

    stored = hash_password(first)

    assert verify_password(first, stored)
    assert not verify_password(second, stored)
    assert not verify_password(first[:72], stored)


@pytest.mark.parametrize("password", ["x" * 7 + "y", "ж" * 64, "   spaces  count   ", "💂" * 100, "y" * 1023 + "z"])
def test_long_and_foreign_passwords_are_taken_as_they_are(password: str) -> None:
    stored = hash_password(password)

    assert stored.startswith("$argon2id$")
    assert verify_password(password, stored)
    assert not verify_password(password.strip(" ") + "!", stored)


def test_hash_costs_what_owasp_asks_for_at_least(real_hasher: PasswordHasher) -> None:
    assert real_hasher.memory_cost * real_hasher.time_cost >= 3 * 12_288
    assert real_hasher.memory_cost >= 12_288
    assert real_hasher.hash("quiet lantern").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize("password", ["", "x" * 7, "x" * 1025, "x" * 1_000_000])
def test_wrong_length_is_refused_before_any_hashing(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setattr(passwords, "_hasher", None)

    with pytest.raises(PasswordRefused):
        hash_password(password)


def test_over_long_password_is_wrong_without_any_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = hash_password("quiet lantern")
    monkeypatch.setattr(passwords, "_hasher", None)

    assert not verify_password("x" * 1025, stored)
    assert not verify_password("x" * 1025, None)


@pytest.mark.parametrize("password", ["password", "PASSWORD1", "12345678", "Qwertyuiop", "iloveyou1", "trustno1"])
def test_password_that_everybody_tries_first_is_refused(password: str) -> None:
    with pytest.raises(PasswordRefused):
        hash_password(password)


def test_list_is_long_enough_to_be_of_use_and_holds_what_the_length_lets_through() -> None:
    assert len(common_passwords()) > 3000
    assert all(len(word) >= passwords.MIN_LENGTH and word == word.lower() for word in common_passwords())


@pytest.mark.parametrize("password", ["Olga Owner", "olga@example.com", "OLGA@EXAMPLE.COM"])
def test_own_name_and_address_are_no_passwords(password: str) -> None:
    with pytest.raises(PasswordRefused):
        hash_password(password, ("Olga Owner", "olga@example.com"))


def test_password_of_nobody_costs_as_many_hashes_as_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, hasher = hash_password("quiet lantern"), Counting()
    monkeypatch.setattr(passwords, "_hasher", hasher)
    verify_password("the decoy is made once", None)
    hasher.verified = hasher.hashed = 0

    assert not verify_password("wrong lantern", stored)
    wrong = (hasher.verified, hasher.hashed)
    assert not verify_password("wrong lantern", None)

    assert (hasher.verified, hasher.hashed) == (2 * wrong[0], 2 * wrong[1]) == (2, 0)


class Counting(PasswordHasher):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = self.hashed = 0

    def verify(self, *given: str) -> bool:  # type: ignore[override]
        self.verified += 1
        return super().verify(*given)

    def hash(self, *given: str) -> str:  # type: ignore[override]
        self.hashed += 1
        return super().hash(*given)


def test_no_password_fits_a_person_without_one() -> None:
    assert not verify_password("no one has this password", None)
    assert not verify_password("", "")
    assert not verify_password("x", "no hash at all")


@pytest.mark.parametrize("path", ["/sign-in", "/setup/x", "/invitations/x"])
def test_ten_megabytes_are_413_and_nobody_reads_them(visitor: Visitor, path: str) -> None:
    body = io.BytesIO(b"password=" + b"x" * 10_000_000)
    size = len(body.getvalue())

    answer = visitor.post(
        path, input_stream=body, content_length=size, content_type="application/x-www-form-urlencoded"
    )

    assert answer.status_code == 413
    assert body.tell() == 0


def test_password_is_changed_and_the_old_one_is_wrong(app: Flask, cast: Cast, lead: Visitor) -> None:
    new = "another quiet lantern"

    answer = lead.post("/profile/password", {"password": cast.lead.password, "new_password": new})

    assert answer.status_code == 303
    assert give_password(Visitor(app), cast.lead).status_code == 422
    assert give_password(Visitor(app), cast.lead, password=new).status_code == 303


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"password": "wrong", "new_password": "another quiet lantern"}, "password"),
        ({"new_password": "short"}, "new_password"),
        ({"new_password": "lea@example.com"}, "new_password"),
        ({"new_password": "x" * 2000}, "new_password"),
    ],
)
def test_change_that_cannot_be_names_the_field(
    runtime: Runtime, app: Flask, cast: Cast, lead: Visitor, form: dict[str, str], field: str
) -> None:
    answer = lead.post("/profile/password", {"password": cast.lead.password, **form})

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert give_password(Visitor(app), cast.lead).status_code == 303
