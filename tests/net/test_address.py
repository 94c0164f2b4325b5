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
    # What copying and pasting adds.
    "gitlab.example.com\u200b": "https://gitlab.example.com",
    "\ufeffgitlab.example.com": "https://gitlab.example.com",
    "gitlab.example.com\u00a0": "https://gitlab.example.com",
    "\u2066gitlab.example.com\u2069": "https://gitlab.example.com",
    '"https://gitlab.example.com"': "https://gitlab.example.com",
    "“gitlab.example.com”": "https://gitlab.example.com",
    "<https://gitlab.example.com>": "https://gitlab.example.com",
    "' gitlab.example.com '": "https://gitlab.example.com",
    "https:/gitlab.example.com": "https://gitlab.example.com",
    "https:///gitlab.example.com": "https://gitlab.example.com",
    "https://https://gitlab.example.com": "https://gitlab.example.com",
    "https://gitlab.example.com/#": "https://gitlab.example.com",
    "https://gitlab.example.com/?": "https://gitlab.example.com",
    "https://gitlab.example.com/users/sign_in?redirect_to_referer=yes": "https://gitlab.example.com",
    "https://gitlab.example.com/users/sign_in#%2f": "https://gitlab.example.com",
    "https://example.com/git/dashboard/projects?sort=name_asc&a=%20": "https://example.com/git",
    "https://gitlab.example.com/platform/api/-/merge_requests?state=opened#note_1": (
        "https://gitlab.example.com/platform/api"
    ),
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
    "git\u200blab.com": "invisible",
    "gitlab.com\u2060/x": "invisible",
    "gitlab.com/\u200b/x": "invisible",
    "git\u200dlab.com": "invisible",
    "gitl\u0430b.com": "lookalike",
    "gοοgle.example": "lookalike",
    "gitlab.com/straße": "not_ascii",
    "https:gitlab.com": "scheme",
    "https://http://gitlab.com": "scheme",
    "evil.com#/users/sign_in": "odd_character",
    "evil.com?/users/sign_in": "odd_character",
    "evil.com/-/#@gitlab.com": "odd_character",
    "evil.com/users/sign_in?@gitlab.com": "odd_character",
    "evil.com\\/users/sign_in?x": "odd_character",
    '"gitlab.com': "host",
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


# What is typed, and where browsers go; Python's own codec (IDNA 2003) turns the first four into other domains.
BROWSERS_GO_TO = {
    "straße.müller.example": "xn--strae-oqa.xn--mller-kva.example",
    "βόλος.com": "xn--nxasmm1c.com",
    "نامه\u200cای.com": "xn--mgba3gch31f060k.com",
    "ශ්\u200dරී.com": "xn--10cl1a0b660p.com",
    "Bücher.example": "xn--bcher-kva.example",
    "BÜCHER.example": "xn--bcher-kva.example",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "пример.example": "xn--e1afmkfd.example",
    "例え.example": "xn--r8jz45g.example",
    "gitlab例え.example": "xn--gitlab-u53ep00u.example",
}


@pytest.mark.parametrize("typed", BROWSERS_GO_TO)
def test_proposed_name_is_the_one_browsers_use(typed: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(f"https://{typed}:8443/gitlab")

    assert caught.value.code == "not_ascii"
    assert caught.value.sentence == f"Write the name in its ASCII form: {BROWSERS_GO_TO[typed]}."


@pytest.mark.parametrize(
    "typed",
    [
        "①②⑦.⓪.⓪.①",
        "①.bücher.example",
        "ｇｉｔｌａｂ.com",
        "ｇitlab.bücher.example",
        "gitlab。com",
        "bücher。example",
        "ﬁnance.bücher.example",
        "gitlаb.com",
        "gіtlab.bücher.example",
        "ß\u200d.example",
        "a\u200cb.example",
        "☕.example",
        "bü_cher.example",
        "-bücher.example",
        "xn--bü.example",
        "ü" * 64 + ".example",
        "bücher..example",
        "ª.example",
        "\u212a.bücher.example",
    ],
)
def test_no_name_is_proposed_where_it_could_be_somebody_elses(typed: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(typed)

    assert "form:" not in caught.value.sentence
    assert "127" not in caught.value.sentence


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("git\u200blab.example.com", "There is an invisible character (U+200B) after “git”."),
        ("gitlab.example.com/a\u00adb", "There is an invisible character (U+00AD) after “mple.com/a”."),
        ("https://\u200egitlab.example.com", "There is an invisible character (U+200E) after “https://”."),
    ],
)
def test_invisible_character_is_named_with_its_place(typed: str, told: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address(typed)

    assert caught.value.sentence.startswith(told)


def test_lookalike_letter_is_named() -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address("gitl\u0430b.com")

    assert "“а” (Cyrillic small letter a) only looks like a Latin letter" in caught.value.sentence


def test_nothing_is_said_about_a_port_that_nobody_typed() -> None:
    with pytest.raises(AddressRefused) as caught:
        parse_address("https:gitlab.example.com")

    assert "port" not in caught.value.sentence


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
