from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.net import Address, AddressRefused, origin_of, parse_address

UNDERSTOOD = {
    "gitlab.example.com": "https://gitlab.example.com",
    "GitLab.Example.COM": "https://gitlab.example.com",
    "  gitlab.example.com \n": "https://gitlab.example.com",
    "gitlab.example.com.": "https://gitlab.example.com",
    "gitlab.example.com/": "https://gitlab.example.com",
    "https://gitlab.example.com": "https://gitlab.example.com",
    "HTTPS://gitlab.example.com/": "https://gitlab.example.com",
    "https://gitlab.example.com:443/": "https://gitlab.example.com",
    "gitlab.example.com:8443": "https://gitlab.example.com:8443",
    "https://example.com/gitlab": "https://example.com/gitlab",
    "https://example.com/tools/gitlab/": "https://example.com/tools/gitlab",
    "https://example.com/gitlab//": "https://example.com/gitlab",
    "https://gitlab.example.com/users/sign_in": "https://gitlab.example.com",
    "https://example.com/gitlab/users/sign_in/": "https://example.com/gitlab",
    "https://gitlab.example.com/api/v4": "https://gitlab.example.com",
    "https://example.com/gitlab/api/v4/projects": "https://example.com/gitlab",
    "https://gitlab.example.com/admin/applications/new": "https://gitlab.example.com",
    "https://gitlab.example.com/-/user_settings/profile": "https://gitlab.example.com",
    "https://gitlab.example.com/oauth/applications/3": "https://gitlab.example.com",
    "http://gitlab.example.com": "http://gitlab.example.com",
    "http://gitlab.example.com:80": "http://gitlab.example.com",
    "http://gitlab.example.com:443": "http://gitlab.example.com:443",
    "192.0.2.10": "https://192.0.2.10",
    "10.1.2.3:8443": "https://10.1.2.3:8443",
    "[2001:DB8::1]": "https://[2001:db8::1]",
    "https://[2001:db8:0:0:0:0:0:1]:8443/gitlab": "https://[2001:db8::1]:8443/gitlab",
    "xn--bcher-kva.example": "https://xn--bcher-kva.example",
    "git_lab.example.com": "https://git_lab.example.com",
    "gitlab": "https://gitlab",
    "3com.example": "https://3com.example",
    "1.2.3.example": "https://1.2.3.example",
}


@pytest.mark.parametrize("typed", UNDERSTOOD)
def test_address_is_rebuilt_in_one_form(typed: str) -> None:
    address = parse_address(typed, allow_http=True)

    assert address.url == UNDERSTOOD[typed]
    assert parse_address(address.url, allow_http=True) == address
    assert address.origin == origin_of(address.url)


REFUSED = {
    "": "empty",
    " \t\n": "empty",
    "x" * 2001: "too_long",
    "a" * 64 + ".example": "host",
    ".".join(["abcdefghi"] * 26): "host",
    "gitlab example.com": "blank",
    "gitlab\t.evil.com": "blank",
    "git\x00lab.com": "blank",
    "bücher.example": "not_ascii",
    "gitlab\\@evil.com": "odd_character",
    "gitlab.com%2fevil": "odd_character",
    "gitlab.com#x": "odd_character",
    "gitlab.com?x": "odd_character",
    "me@gitlab.com": "user_info",
    "ftp://gitlab.com": "scheme",
    "http://gitlab.com": "http_not_allowed",
    "gitlab.com:": "port",
    "gitlab.com:0443": "port",
    "gitlab.com:65536": "port",
    "gitlab.com:80:80": "host",
    "2001:db8::1": "host",
    "[2001:db8::1": "host",
    "[2001:db8::g]": "host",
    "2130706433": "numeric_host",
    "0x7f.1": "numeric_host",
    "127.1": "numeric_host",
    "0177.0.0.1": "numeric_host",
    "1.2.3.4.5": "numeric_host",
    "gitlab..com": "host",
    "-gitlab.com": "host",
    "gitlab.com/../x": "path",
    "gitlab.com/a;b": "path",
    "gitlab.com//evil.com": "path",
    "gitlab.com:8443": "port_not_allowed",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_address_is_refused_with_a_stable_code_and_one_sentence(typed: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(typed, allowed_ports={443})

    assert caught.value.code == REFUSED[typed]
    assert caught.value.sentence.endswith(".")
    assert "\n" not in caught.value.sentence


def test_name_in_another_script_is_shown_in_punycode() -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address("https://ɡitlab.com/x")

    assert "xn--itlab-qmc.com" in caught.value.sentence


def test_digits_in_disguise_are_not_offered_as_an_address() -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address("①②⑦.⓪.⓪.①")

    assert "127" not in caught.value.sentence


def test_address_remembers_whether_the_scheme_was_typed() -> None:
    typed, assumed = parse_address("https://gitlab.example.com"), parse_address("gitlab.example.com")

    assert typed.is_scheme_typed
    assert not assumed.is_scheme_typed
    assert typed == assumed


@given(st.text(max_size=80))
def test_any_text_is_an_address_in_one_form_or_refused(text: str) -> None:
    try:
        address = parse_address(text, allow_http=True)
    except AddressRefused:
        return
    assert parse_address(address.url, allow_http=True) == address
    assert address.url.isascii()
    assert not set(address.url) & set(" @\\%?#")


@given(
    st.sampled_from(["http://", "https://", "", "//", "http:/"]),
    st.lists(st.sampled_from([*"a1.:/@[]%\\-_0x", "127", "localhost", "::1", "..", "٣", "\u202e"]), max_size=12),
)
def test_any_mixture_of_address_parts_is_an_address_in_one_form_or_refused(scheme: str, parts: list[str]) -> None:
    try:
        address = parse_address(scheme + "".join(parts), allow_http=True)
    except AddressRefused:
        return
    assert isinstance(address, Address)
    assert parse_address(address.url, allow_http=True) == address
