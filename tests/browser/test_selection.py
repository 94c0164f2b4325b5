"""The selection panel: rows that arrive, search, filters, tree, paging, enabling and undoing."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import walk
from tests.browser.site import Site

pytestmark = pytest.mark.browser
MANY: dict[str, Any] = {"with_service_user": True, "project_count": 130}
PAGED: dict[str, Any] = {"with_service_user": True, "project_count": 250}
HOSTILE = ("hostile-image", "hostile-template", "hostile-attribute", "hostile-formula")
# Repositories whose path or name has "checkout" in it.
CHECKOUTS = 5
CHECKOUTS_OF_MANY = 9
# The pages of the list after the first; requests that ask who has a role have more before `id_after`.
LATER_PAGES = "membership=true&order_by=id&sort=asc&id_after=[1-9]*"


def names(page: Page) -> list[str]:
    return page.locator("#listing tbody .gh-path").all_inner_texts()


def rows(page: Page) -> Locator:
    return page.locator("#listing tbody tr")


def row(page: Page, path: str) -> Locator:
    return rows(page).filter(has=page.locator(".gh-path", has_text=re.compile(f"^{re.escape(path)}$")))


def disable_buttons(page: Page) -> Locator:
    return page.locator("#listing tbody button[aria-label^='Disable ']")


def search(page: Page) -> Locator:
    return page.get_by_role("searchbox", name="Search repositories")


def query_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def await_read(page: Page) -> None:
    """Wait until the read has ended and its last rows are there."""
    expect(page.locator("#catalogue progress")).to_have_count(0, timeout=20_000)
    expect(rows(page).first).to_be_visible()


@pytest.fixture
def panel(page: Page, site: Site) -> Page:
    """The repositories' page once everything is read."""
    walk.authorized_connection(site)
    site.await_jobs()
    page.goto(site.url + "/repositories/")
    await_read(page)
    return page


@pytest.mark.parametrize("sandbox_options", [MANY])
def test_rows_appear_while_gitlab_is_still_being_read(page: Page, site: Site) -> None:
    fault = site.sandbox.faults.add("/api/v4/projects", "GET", query_pattern=LATER_PAGES, held=True)
    prepared = walk.authorized_connection(site)
    page.goto(f"{site.url}/connections/{prepared.slug}/setup/repositories")

    progress = page.locator("#catalogue progress")
    expect(progress).to_be_visible()
    expect(rows(page).first).to_be_visible(timeout=20_000)
    expect(progress).to_be_visible()
    first = rows(page).first
    first.get_by_role("checkbox").check()
    reason = rows(page).locator("details").first
    reason.locator("summary").click()
    with page.expect_response("**/catalogue?**"):
        pass
    expect(reason).to_have_attribute("open", "")
    site.sandbox.faults.release()
    await_read(page)
    expect(first.get_by_role("checkbox")).to_be_checked()
    assert fault.used


@pytest.mark.parametrize("sandbox_options", [MANY])
def test_what_is_searched_while_gitlab_is_read_stays_searched(page: Page, site: Site) -> None:
    site.sandbox.faults.add("/api/v4/projects", "GET", query_pattern=LATER_PAGES, held=True)
    prepared = walk.authorized_connection(site)
    page.goto(f"{site.url}/connections/{prepared.slug}/setup/repositories")
    expect(rows(page).first).to_be_visible(timeout=20_000)
    search(page).press_sequentially("checkout")
    expect(page).to_have_url(re.compile(r"[?&]q=checkout"))

    with page.expect_response("**/catalogue?**q=checkout**"):
        pass
    site.sandbox.faults.release()
    await_read(page)

    expect(search(page)).to_have_value("checkout")
    expect(rows(page)).to_have_count(CHECKOUTS_OF_MANY)


def test_enabling_several_takes_few_keys_and_the_focus_stays_at_the_bar(panel: Page) -> None:
    panel.locator("[data-select-row]").first.focus()
    for keys in ("Space", "Shift+Tab", "Shift+Tab", "Shift+Tab", "Enter"):
        panel.keyboard.press(keys)
        if panel.evaluate("document.activeElement.innerText") == "Enable":
            panel.keyboard.press("Enter")
            break

    expect(disable_buttons(panel)).to_have_count(1)
    expect(panel.locator("[data-bulk]")).to_be_focused()


def test_typing_searches_the_address_keeps_it_and_nothing_found_offers_the_way_back(panel: Page) -> None:
    search(panel).press_sequentially("checkout")

    expect(rows(panel)).to_have_count(CHECKOUTS)
    expect(search(panel)).to_be_focused()
    expect(panel).to_have_url(re.compile(r"[?&]q=checkout"))
    panel.reload()
    expect(search(panel)).to_have_value("checkout")
    expect(rows(panel)).to_have_count(CHECKOUTS)

    search(panel).fill("no such thing")
    expect(panel.get_by_role("heading", name="Nothing matches")).to_be_visible()
    panel.get_by_role("link", name="Show all").click()
    expect(rows(panel).first).to_be_visible()
    expect(search(panel)).to_have_value("")


def test_back_returns_to_the_view_before(panel: Page) -> None:
    before = panel.evaluate("history.length")
    search(panel).fill("checkout")
    expect(rows(panel)).to_have_count(CHECKOUTS)
    panel.get_by_label("State", exact=True).select_option("unavailable")
    expect(panel).to_have_url(re.compile("state=unavailable"))

    panel.go_back()
    expect(rows(panel)).to_have_count(CHECKOUTS)
    expect(search(panel)).to_have_value("checkout")
    # Typing adds nothing to the history: the address bar followed without it.
    assert panel.evaluate("history.length") == before + 1


def test_a_group_shows_what_is_in_it_and_below_it(panel: Page) -> None:
    tree = panel.get_by_role("navigation", name="Groups")
    tree.locator("li", has=panel.locator("a[title='web']")).locator("summary").first.click()
    tree.locator("a[title='web/shop']").click()

    expect(panel).to_have_url(re.compile(r"group=web%2Fshop"))
    expect(rows(panel)).to_have_count(9)
    assert all(path.startswith("web/shop/") for path in names(panel))
    expect(panel.get_by_role("navigation", name="Groups").locator("[aria-current=true]")).to_have_attribute(
        "title", "web/shop"
    )

    search(panel).fill("pay")
    expect(rows(panel)).to_have_count(3)
    assert query_of(panel)["group"] == ["web/shop"]


def test_the_state_filter_shows_only_that_state_and_what_is_unavailable_says_why(panel: Page) -> None:
    state = panel.get_by_label("State", exact=True)
    state.select_option("unavailable")
    expect(panel).to_have_url(re.compile("state=unavailable"))
    expect(rows(panel)).to_have_count(10)
    expect(rows(panel).get_by_role("button", name=re.compile("Enable"))).to_have_count(0)
    for label in ("Empty", "SHA-256", "Repository off", "Pending deletion"):
        expect(rows(panel).filter(has_text=label).first).to_be_visible()
    archived = row(panel, "platform/identity/legacy-ldap-bridge")
    expect(archived).to_contain_text("Archived")
    archived.locator("summary").click()
    expect(archived).to_contain_text("Unarchive it in GitLab.")

    state.select_option("available")
    expect(row(panel, "data/data-contracts")).to_be_visible()
    panel.get_by_role("button", name="Enable data/data-contracts").click()
    expect(row(panel, "data/data-contracts")).to_have_count(0)

    state.select_option("enabled")
    expect(rows(panel)).to_have_count(1)
    expect(row(panel, "data/data-contracts")).to_be_visible()


@pytest.mark.parametrize("sandbox_options", [PAGED])
def test_pages_follow_each_other_without_loss(panel: Page) -> None:
    seen: list[str] = []
    following = panel.get_by_role("link", name="Next", exact=True)
    while True:
        page_of_names = names(panel)
        seen += page_of_names
        if not following.count():
            break
        following.click()
        expect(panel.locator("#listing tbody .gh-path").first).not_to_have_text(page_of_names[0])

    address = panel.url
    panel.locator(".gh-tree-node > details > summary").first.click()
    expect(panel.locator(".gh-tree-node .gh-tree-list .gh-tree-link").first).to_be_visible()
    assert panel.url == address

    total = int(panel.locator(".gh-tree-all .gh-tree-count").inner_text().split("/")[1])
    assert len(seen) == len(set(seen)) == total
    last = names(panel)
    panel.get_by_role("link", name="Previous", exact=True).click()
    expect(rows(panel)).to_have_count(50)
    panel.go_back()
    expect(rows(panel)).to_have_count(len(last))


def test_enabling_says_so_and_undo_takes_back_exactly_the_last_change(panel: Page) -> None:
    panel.get_by_role("button", name="Enable data/data-contracts").click()
    toast = panel.locator(".gh-toast")
    expect(toast).to_be_visible()
    expect(panel.get_by_role("button", name="Disable data/data-contracts")).to_be_visible()
    expect(panel.locator("#announcements")).not_to_be_empty()

    toast.get_by_role("button", name="Undo").click()

    expect(panel.get_by_role("button", name="Enable data/data-contracts")).to_be_visible()
    panel.reload()
    expect(panel.get_by_role("button", name="Enable data/data-contracts")).to_be_visible()

    # Of several changes, only the last one.
    panel.get_by_role("button", name="Enable data/data-contracts").click()
    expect(panel.get_by_role("button", name="Disable data/data-contracts")).to_be_visible()
    for path in ("data/data-contracts", "data/warehouse/dbt-models"):
        panel.get_by_label(f"Select {path}", exact=True).check()
    panel.locator("[data-bulk]").get_by_role("button", name="Enable").click()
    expect(panel.get_by_role("button", name="Disable data/warehouse/dbt-models")).to_be_visible()

    panel.locator(".gh-toast").last.get_by_role("button", name="Undo").click()

    expect(panel.get_by_role("button", name="Enable data/warehouse/dbt-models")).to_be_visible()
    expect(panel.get_by_role("button", name="Disable data/data-contracts")).to_be_visible()


def test_several_are_chosen_by_a_range_or_the_head_and_enabled_at_once(panel: Page) -> None:
    boxes = panel.locator("[data-select-row]")
    boxes.nth(1).click()
    boxes.nth(5).click(modifiers=["Shift"])
    expect(panel.locator("[data-bulk-count]")).to_have_text("5")

    panel.locator("[data-bulk]").get_by_role("button", name="Enable").click()

    expect(disable_buttons(panel)).to_have_count(5)
    expect(panel.locator("[data-bulk-count]")).to_have_text("0")
    expect(panel.locator(".gh-tree-all .gh-tree-count")).to_contain_text("5/")

    head = panel.get_by_label("Select all on this page")
    head.check()
    expect(panel.locator("[data-bulk-count]")).to_have_text(str(panel.locator("[data-select-row]").count()))
    panel.locator("[data-select-row]").first.uncheck()
    assert head.evaluate("box => box.indeterminate")


def test_everything_that_matches_is_confirmed_changed_in_the_background_and_undone(panel: Page) -> None:
    panel.get_by_label("Select all on this page").check()
    panel.get_by_label(re.compile("Select all [0-9]+ that match")).check()
    expect(panel.locator("[data-bulk-count]")).to_have_text(re.compile("^5[0-9]$"))
    panel.locator("[data-bulk]").get_by_role("button", name="Enable").click()
    expect(panel.get_by_role("heading", name=re.compile("Enable [0-9]+ repositories?"))).to_be_visible()

    panel.get_by_role("button", name=re.compile("Enable [0-9]+ repositories")).click()
    done = panel.locator(".gh-job-state")
    expect(done).to_contain_text(re.compile("[0-9]+ enabled, [0-9]+ can’t be enabled"))
    panel.get_by_role("button", name="Undo").click()
    expect(done).to_contain_text(re.compile("[0-9]+ restored"))

    panel.get_by_role("link", name="Go to the repositories").click()
    expect(rows(panel).first).to_be_visible()
    expect(disable_buttons(panel)).to_have_count(0)


def test_keys_search_move_and_select_unless_they_are_switched_off(panel: Page) -> None:
    boxes = panel.locator("[data-select-row]")
    for key in ("j", "Space", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowDown", "ArrowUp", "k", "k"):
        panel.keyboard.press(key)
    expect(boxes.first).to_be_focused()
    of_four = panel.locator("#listing tbody tr:nth-child(-n+4) [data-select-row]").count()
    expect(panel.locator("[data-bulk-count]")).to_have_text(str(of_four))
    assert of_four > 1
    panel.keyboard.press("/")
    expect(search(panel)).to_be_focused()
    panel.keyboard.type("j?")
    expect(search(panel)).to_have_value("j?")
    search(panel).fill("")
    boxes.first.focus()
    panel.keyboard.press("?")
    panel.get_by_label("Use keys that are a single character").uncheck()
    panel.keyboard.press("Escape")
    for key in ("j", "/", "?"):
        panel.keyboard.press(key)
    expect(panel.get_by_role("dialog")).to_have_count(0)
    expect(search(panel)).not_to_be_focused()


def test_hostile_names_are_only_text(panel: Page, site: Site) -> None:
    asked: list[str] = []
    panel.on("request", lambda request: asked.append(urlsplit(request.url).path))
    search(panel).fill("hostile")
    expect(rows(panel)).to_have_count(len(HOSTILE) + 1)

    shown = panel.locator("#listing .gh-under").all_inner_texts()
    assert "<img src=x onerror=alert(document.domain)>" in shown
    assert "{{7*7}} ${7*7} <%= 7*7 %>" in shown
    assert panel.locator("#listing img, #listing b").count() == 0
    assert {path for path in asked if not path.startswith("/static/")} == {"/repositories/"}


def test_the_panel_works_without_javascript(site: Site) -> None:
    walk.authorized_connection(site)
    page = site.sign_in(site.open_context(java_script_enabled=False)).new_page()
    for _ in range(100):
        page.goto(site.url + "/repositories/?q=checkout")
        if rows(page).count() == CHECKOUTS and not page.locator("#catalogue progress").count():
            break
    page.get_by_label("Select web/shop/checkout/basket").check()
    page.get_by_label("Select web/shop/checkout/checkout-api").check()
    page.locator("[data-bulk]").get_by_role("button", name="Enable").click()

    expect(disable_buttons(page)).to_have_count(2)
    assert query_of(page)["q"] == ["checkout"]
