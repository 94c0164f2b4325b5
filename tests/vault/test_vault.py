from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from portal.vault import KeyRing, Place, Secret, SecretUnreadable, Vault
from portal.vault.vault import NONCE_BYTES
from tests.vault.conftest import ring_of

TOKEN = "glpat-canary-7f3a9c2e41d8"
PLACE = Place("credential", 7, "token")
ORIGIN = "https://gitlab.example.com"


def nonce_of(sealed: bytes) -> bytes:
    start = 2 + sealed[1]
    return sealed[start : start + NONCE_BYTES]


@pytest.mark.parametrize("text", ["", "x", TOKEN, "ä 😀 \x00 \n", "x" * 100_000])
def test_sealed_secret_opens_at_its_place(vault: Vault, text: str) -> None:
    sealed = vault.seal(Secret(text), PLACE, ORIGIN)

    assert vault.open(sealed, PLACE, ORIGIN).reveal() == text


def test_envelope_holds_the_key_id_and_nothing_of_the_secret(vault: Vault) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE)

    assert vault.ring.newest.key_id.encode() in sealed
    assert TOKEN.encode() not in sealed
    assert TOKEN[-4:].encode() not in sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place("credential", 8, "token"),
        Place("credential", 70, "token"),
        Place("credential", 7, "refresh_token"),
        Place("webhook", 7, "token"),
        Place("credential7", 7, "token"),
        Place('credential", 7, "token', 7, "token"),
    ],
)
def test_ciphertext_copied_to_another_place_is_refused(vault: Vault, elsewhere: Place) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE, ORIGIN)

    with pytest.raises(SecretUnreadable):
        vault.open(sealed, elsewhere, ORIGIN)


def test_parts_of_a_place_do_not_run_into_each_other(vault: Vault) -> None:
    sealed = vault.seal(Secret(TOKEN), Place("ab", 1, "c"), "d")

    for place, origin in ((Place("a", 1, "bc"), "d"), (Place("ab", 1, ""), "cd"), (Place("ab", 11, "c"), "d")):
        with pytest.raises(SecretUnreadable):
            vault.open(sealed, place, origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "http://gitlab.example.com",
        "https://gitlab.example.com:8443",
        "https://gitlab.example.com.evil.test",
        "https://evil.test",
        "https://gitlab.example.com/",
        "https://GITLAB.example.com",
    ],
)
def test_secret_entered_for_one_origin_does_not_open_for_another(vault: Vault, origin: str) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE, ORIGIN)

    with pytest.raises(SecretUnreadable):
        vault.open(sealed, PLACE, origin)


def test_every_flipped_byte_is_refused(vault: Vault) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE, ORIGIN)

    for position in range(len(sealed)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = sealed[:position] + bytes([sealed[position] ^ mask]) + sealed[position + 1 :]
            with pytest.raises(SecretUnreadable):
                vault.open(damaged, PLACE, ORIGIN)


def test_envelope_cut_anywhere_or_lengthened_is_refused(vault: Vault) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE)
    damaged = [sealed[:length] for length in range(len(sealed))]

    for envelope in [*damaged, sealed + b"\0", sealed + sealed, sealed[1:], b"\0" * 100, TOKEN.encode() * 4]:
        with pytest.raises(SecretUnreadable):
            vault.open(envelope, PLACE)


def test_two_envelopes_cannot_be_spliced(vault: Vault) -> None:
    one, other = (vault.seal(Secret(text), PLACE) for text in (TOKEN, TOKEN[::-1]))

    for cut in range(1, len(one)):
        if one[:cut] + other[cut:] in {one, other}:
            continue
        with pytest.raises(SecretUnreadable):
            vault.open(one[:cut] + other[cut:], PLACE)


def test_error_of_an_unreadable_secret_names_the_place_and_no_secret(vault: Vault) -> None:
    sealed = vault.seal(Secret(TOKEN), PLACE)

    with pytest.raises(SecretUnreadable) as caught:
        vault.open(sealed, Place("credential", 8, "token"))

    assert str(caught.value) == "credential.token of row 8 cannot be opened"
    assert caught.value.__suppress_context__


def test_hundred_thousand_nonces_differ(vault: Vault) -> None:
    secret = Secret("x")

    nonces = {nonce_of(vault.seal(secret, PLACE)) for _ in range(100_000)}

    assert len(nonces) == 100_000


def test_threads_may_share_a_vault(vault: Vault) -> None:
    def round_trip(number: int) -> bool:
        place = Place("credential", number, "token")
        return vault.open(vault.seal(Secret(f"{TOKEN}{number}"), place), place).reveal() == f"{TOKEN}{number}"

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(round_trip, range(500)))


def test_newest_key_seals_and_older_ones_still_open() -> None:
    old, new = ("k1", b"\x01" * 32), ("k2", b"\x02" * 32)
    sealed_before = Vault(ring_of(old)).seal(Secret(TOKEN), PLACE)
    vault = Vault(ring_of(new, old))

    assert vault.open(sealed_before, PLACE).reveal() == TOKEN
    assert b"k2" in vault.seal(Secret(TOKEN), PLACE)[:4]


def test_secret_whose_key_left_the_ring_is_unreadable_and_says_so() -> None:
    sealed = Vault(ring_of(("k1", b"\x01" * 32))).seal(Secret(TOKEN), PLACE)

    with pytest.raises(SecretUnreadable, match="lacks the key"):
        Vault(ring_of(("k2", b"\x02" * 32))).open(sealed, PLACE)


def test_key_with_the_right_id_and_wrong_material_opens_nothing() -> None:
    sealed = Vault(ring_of(("k1", b"\x01" * 32))).seal(Secret(TOKEN), PLACE)

    with pytest.raises(SecretUnreadable):
        Vault(ring_of(("k1", b"\x02" * 32))).open(sealed, PLACE)


def test_fingerprint_tells_secrets_apart_gives_nothing_away_and_depends_on_the_key(vault: Vault) -> None:
    other_vault = Vault(ring_of(("k1", b"\x01" * 32)))

    fingerprint = vault.fingerprint(Secret(TOKEN))

    assert fingerprint == vault.fingerprint(Secret(TOKEN))
    assert fingerprint != vault.fingerprint(Secret(TOKEN + "x"))
    assert fingerprint != other_vault.fingerprint(Secret(TOKEN))
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) >= 0


def test_derived_keys_differ_by_label_and_from_the_data_key(key_ring: KeyRing) -> None:
    vault = Vault(key_ring)

    keys = {vault.derive_key("cookies"), vault.derive_key("csrf"), key_ring.newest.material}

    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


def test_fallback_keys_are_what_the_older_keys_signed_with() -> None:
    old, new = ("k1", b"\x01" * 32), ("k2", b"\x02" * 32)

    assert Vault(ring_of(new, old)).derive_fallback_keys("cookies") == [Vault(ring_of(old)).derive_key("cookies")]
