"""The pictures of the documentation, made from the running portal: `make pictures`."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from playwright.sync_api import expect, sync_playwright
from werkzeug.serving import make_server

from bench.pages import signed_in_cookie
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.sandbox_process import sandbox_of
from portal import create_app
from portal.repositories.catalogue.run import read_catalogue

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
SHOTS = {"selection": "/repositories/"}
PORT = 8000


def main() -> None:
    """Make every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sandbox_of(60) as served, fresh_runtime(served.url) as runtime:
        connection_id = authorized_connection(runtime, served.url, served.token)
        read_catalogue(runtime, connection_id, "pictures", lambda done, total, message: None)
        app = create_app(runtime=runtime)
        name, value = signed_in_cookie(runtime, app)
        server = make_server("127.0.0.1", PORT, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-background-networking"]
            )
            context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
            context.add_cookies([{"name": name, "value": value, "url": f"http://127.0.0.1:{PORT}"}])
            page = context.new_page()
            for shot, path in SHOTS.items():
                page.goto(f"http://127.0.0.1:{PORT}{path}")
                if shot == "selection":
                    for number in range(1, 4):
                        page.locator("#listing tbody button[aria-label^='Enable ']").first.click()
                        expect(page.locator("#listing tbody button[aria-label^='Disable ']")).to_have_count(number)
                    page.locator("[data-dismiss-toast]").click()
                page.screenshot(path=FOLDER / f"{shot}.png")
            browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
