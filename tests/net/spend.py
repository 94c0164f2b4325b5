"""A child that sends requests to one server as fast as its budget allows, until it is killed or its input ends."""

from __future__ import annotations

import sys
import threading

from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient, RequestBudgets, parse_address

LANES = 4


def main(database_url: str, url: str) -> None:
    address = parse_address(url, allow_http=True)
    budgets = RequestBudgets(Database(database_url))
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            if http.fetch("GET", "/page").status == 429:
                ended.wait(0.01)

    with OutboundClient(NetworkPolicy(exempt=address), budgets=budgets).session(address, is_background=True) as http:
        lanes = [threading.Thread(target=ask) for _ in range(LANES)]
        for lane in lanes:
            lane.start()
        sys.stdin.read()
        ended.set()
        for lane in lanes:
            lane.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
