"""Offset and keyset pages of lists, and their headers."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import anonymous, api, ids

ASCENDING = {"order_by": "id", "sort": "asc", "per_page": "100"}
KEYSET = {"pagination": "keyset", **ASCENDING}


@pytest.fixture(scope="module")
def large() -> Iterator[RunningSandbox]:
    """A GitLab with 100,000 projects; nothing here changes it."""
    with RunningSandbox(project_count=100_000, with_service_user=True) as running:
        yield running


def links(answer: httpx2.Response) -> dict[str, str]:
    parts = (part.split(">; rel=") for part in answer.headers.get("Link", "").split(", ") if part)
    return {rel.strip('"'): url.removeprefix("<") for url, rel in parts}


def test_first_page_has_all_headers(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.get("/projects", params={"membership": "true"})

    assert {name: answer.headers[name] for name in answer.headers if name.startswith("x-") and "page" in name} == {
        "x-next-page": "2",
        "x-page": "1",
        "x-per-page": "20",
        "x-prev-page": "",
        "x-total-pages": "3",
    }
    assert answer.headers["x-total"] == "57"
    assert set(links(answer)) == {"first", "next", "last"}
    assert len(answer.json()) == 20


def test_last_page_has_no_next(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.get("/projects", params={"membership": "true", "page": "3"})
        beyond = client.get("/projects", params={"membership": "true", "page": "4"})

    assert (answer.headers["x-next-page"], answer.headers["x-prev-page"], len(answer.json())) == ("", "2", 17)
    assert set(links(answer)) == {"first", "prev", "last"}
    assert beyond.json() == []


def test_links_name_the_configured_host_not_the_one_called() -> None:
    with RunningSandbox(external_url="https://gitlab.corp.example:8443") as sandbox, anonymous(sandbox) as client:
        answer = client.get("/projects", params={"per_page": "1"})
        project = answer.json()[0]

    assert links(answer)["next"].startswith("http://gitlab.corp.example:8443/api/v4/projects?")
    assert project["web_url"].startswith("https://gitlab.corp.example:8443/")


def test_page_size_is_at_most_one_hundred(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        assert client.get("/projects", params={"per_page": "5000"}).headers["x-per-page"] == "100"


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("per_page=ten", "per_page is invalid"),
        ("per_page=0", "per_page has a value not allowed"),
        ("min_access_level=41", "min_access_level does not have a valid value"),
        ("min_access_level=high", "min_access_level is invalid"),
        ("order_by=colour", "order_by does not have a valid value"),
        ("archived=perhaps", "archived is invalid"),
        ("id_after=x", "id_after is invalid"),
        ("last_activity_after=yesterday", "last_activity_after is invalid"),
    ],
)
def test_bad_parameter_is_named_under_error(sandbox: RunningSandbox, query: str, problem: str) -> None:
    with api(sandbox) as client:
        answer = client.get(f"/projects?{query}")

    assert (answer.status_code, answer.json()) == (400, {"error": problem})


def test_totals_are_left_out_above_ten_thousand(large: RunningSandbox) -> None:
    with api(large) as client:
        answer = client.get("/projects", params={"membership": "true"})

    assert not {"x-total", "x-total-pages"} & set(answer.headers)
    assert set(links(answer)) == {"first", "next"}


def test_offset_beyond_the_cap_is_refused(large: RunningSandbox) -> None:
    with api(large) as client:
        last_allowed = client.get("/projects", params={"page": "500", "per_page": "100", "simple": "true"})
        answer = client.get("/projects", params={"page": "501", "per_page": "100"})

    assert last_allowed.status_code == 200
    assert answer.status_code == 405
    assert answer.json() == {
        "error": "Offset pagination has a maximum allowed offset of 50000 for requests that return objects of type "
        "Project. Remaining records can be retrieved using keyset pagination."
    }


def test_old_gitlab_has_no_offset_cap() -> None:
    with RunningSandbox(version="12.10.14", with_service_user=True) as sandbox, api(sandbox) as client:
        sandbox.world.settings.max_offset = 10

        assert client.get("/projects", params={"page": "2", "per_page": "10"}).status_code == 200


def test_keyset_sends_a_next_link_only_and_ends_with_an_empty_page(sandbox: RunningSandbox) -> None:
    seen: list[int] = []
    with api(sandbox) as client:
        query = KEYSET | {"per_page": "25", "membership": "true"}
        for _ in range(10):
            answer = client.get("/projects", params=query)
            assert "x-total" not in answer.headers
            if not answer.json():
                break
            seen += ids(answer)
            assert set(links(answer)) == {"next"}
            query = {name: values[0] for name, values in parse_qs(urlsplit(links(answer)["next"]).query).items()}

    assert "Link" not in answer.headers
    assert (len(seen), seen) == (57, sorted(set(seen)))


def test_keyset_descends_by_id_before(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.get("/projects", params=KEYSET | {"sort": "desc", "per_page": "3", "id_before": "30"})

    assert ids(answer) == [29, 28, 27]
    assert "id_before=27" in links(answer)["next"]


def test_keyset_is_refused_for_other_orders(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.get("/projects", params={"pagination": "keyset", "order_by": "name"})

    assert answer.status_code == 405
    assert answer.json() == {"error": "Keyset pagination is not yet available for this type of request"}


def test_ranges_of_ids_split_the_whole(large: RunningSandbox) -> None:
    parts: list[int] = []
    with api(large) as client:
        for after, before in ((0, 40), (39, 90), (89, 131)):
            query = ASCENDING | {"id_after": str(after), "id_before": str(before), "simple": "true"}
            parts += ids(client.get("/projects", params=query))

    assert parts == [number for number in parts if number % 8]
    assert parts == sorted(set(parts))
    assert parts[-1] == 130


def test_far_end_of_a_hundred_thousand_is_reached_by_key(large: RunningSandbox) -> None:
    near_the_end = str(large.world.projects.rows[99_900].id)
    with api(large, "root") as client:
        answer = client.get("/projects", params=KEYSET | {"id_after": near_the_end, "simple": "true"})
        again = client.get("/projects", params=KEYSET | {"id_after": str(ids(answer)[-1]), "simple": "true"})

    assert len(ids(answer)) == 99
    assert again.json() == []


def test_groups_page_by_offset(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.get("/groups", params={"per_page": "5", "page": "2"})

    assert (answer.headers["x-page"], answer.headers["x-total"], len(answer.json())) == ("2", "32", 5)
