from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from portal.net import AnswerBroken, AnswerEncoded, AnswerTooLarge, DeadlinePassed, OutboundError
from portal.net.deadline import LATE_SECONDS, exchange
from portal.net.transport import decoded
from tests.net.lines import HOST, line_to
from tests.net.servers import Peer, Server, always, header_of, response, silent, then_close

DOCUMENT = json.dumps([{"id": number, "name": "x" * (number % 50)} for number in range(2000)]).encode()


def test_request_carries_method_sub_path_query_headers_and_body_as_told() -> None:
    with Server(always(response())) as server, line_to(server, path="/gitlab") as line:
        answer = line.fetch("PUT", "/api/v4/projects/a%2Fb", query={"q": "ä b"}, headers={"X-A": "1"}, json={"n": 1})

    request = server.requests[0]
    assert request.startswith(b"PUT /gitlab/api/v4/projects/a%2Fb?q=%C3%A4+b HTTP/1.1\r\n") or request.startswith(
        b"PUT /gitlab/api/v4/projects/a%2Fb?q=%C3%A4%20b HTTP/1.1\r\n"
    )
    assert request.endswith(b'\r\n\r\n{"n": 1}')
    assert header_of(request, "x-a") == "1"
    assert header_of(request, "content-type") == "application/json"
    assert answer.url == f"http://{HOST}:{server.port}/gitlab/api/v4/projects/a%2Fb"


def test_form_and_raw_content_are_sent_as_they_are() -> None:
    with Server(always(response())) as server, line_to(server) as line:
        line.fetch("POST", "/f", form={"a": "1 2", "b": "ü"})
        line.fetch("POST", "/c", content=b"raw")

    assert server.requests[0].endswith(b"a=1+2&b=%C3%BC")
    assert header_of(server.requests[0], "content-type") == "application/x-www-form-urlencoded"
    assert server.requests[1].endswith(b"\r\n\r\nraw")


@pytest.mark.parametrize("path", ["@evil.test/", "evil", "", ".evil.test/", ":80/"])
def test_path_that_would_change_the_host_is_a_programming_error(path: str) -> None:
    with Server(always(response())) as server, line_to(server) as line, pytest.raises(ValueError, match="begins"):
        line.fetch("GET", path)

    assert server.connections == 0


def test_gzipped_answer_is_decoded_and_no_longer_claims_to_be_encoded() -> None:
    packed = response(gzip.compress(DOCUMENT), content_encoding="gzip")
    with Server(always(packed)) as server, line_to(server) as line:
        answer = line.fetch("GET", "/")

    assert answer.content == DOCUMENT
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["content-TYPE"] == "application/json"
    assert header_of(server.requests[0], "accept-encoding") == "gzip"


def test_gzip_cut_anywhere_is_a_broken_answer() -> None:
    packed = gzip.compress(DOCUMENT)
    cuts = [*range(1, len(packed), 1000), len(packed) - 8, len(packed) - 1]
    answers = [response(packed[:cut], content_encoding="gzip") for cut in cuts]
    with Server(always(*answers)) as server, line_to(server) as line:
        for _ in cuts:
            with pytest.raises(AnswerBroken) as caught:
                line.fetch("GET", "/")
            assert caught.value.may_have_been_processed


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(gzip.compress(DOCUMENT)), "gzip, gzip"),
        (zlib.compress(DOCUMENT), "deflate"),
        (DOCUMENT, "br"),
        (DOCUMENT, "gzip"),
        (gzip.compress(DOCUMENT) + b"trailing", "gzip"),
        (gzip.compress(DOCUMENT) * 2, "gzip"),
    ],
)
def test_any_other_encoding_and_bytes_behind_the_end_are_refused(body: bytes, encoding: str) -> None:
    with (
        Server(always(response(body, content_encoding=encoding))) as server,
        line_to(server) as line,
        pytest.raises((AnswerBroken, AnswerEncoded)) as caught,
    ):
        line.fetch("GET", "/")

    assert caught.value.code == ("answer_broken" if encoding == "gzip" else "answer_encoding")


def test_endless_bytes_behind_a_gzip_are_not_collected() -> None:
    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}"))
        while not peer.server.stopped.is_set():
            peer.send(bytes(65536))

    with Server(endless) as server, line_to(server) as line, pytest.raises(AnswerBroken):
        line.fetch("GET", "/", deadline_seconds=5)


def test_answer_without_a_body_may_name_an_encoding() -> None:
    empty = response(b"", "204 No Content", content_encoding="gzip", content_length="-")
    with Server(always(empty)) as server, line_to(server) as line:
        assert line.fetch("DELETE", "/").content == b""


@pytest.mark.parametrize(
    "broken",
    [
        response(b"{}", content_length="500"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
        b"HTTP/1.1 20",
        b"-ERR unknown command 'GET'\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"\x00" * 4096,
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000,
        b"HTTP/1.1 999999 Odd\r\n\r\n",
    ],
)
def test_answer_that_breaks_or_is_not_http_is_told_by_a_fixed_sentence(broken: bytes) -> None:
    with Server(then_close(broken)) as server, line_to(server) as line, pytest.raises(AnswerBroken) as caught:
        line.fetch("GET", "/")

    assert caught.value.sentence == AnswerBroken().sentence
    assert str(caught.value) == AnswerBroken().sentence
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(("encoding", "told"), [("br", "compressed as “br”"), ("x-secret", "compressed in a way")])
def test_encoding_that_was_not_asked_for_is_said_to_be_that(encoding: str, told: str) -> None:
    answer = response(b"...", content_encoding=encoding)
    with Server(then_close(answer)) as server, line_to(server) as line, pytest.raises(AnswerEncoded) as caught:
        line.fetch("GET", "/")

    assert told in caught.value.sentence
    assert "secret" not in str(caught.value.card())


def test_answer_cut_at_any_kilobyte_is_broken() -> None:
    whole = response(DOCUMENT)
    head = len(whole) - len(DOCUMENT)
    for cut in range(head, len(whole), 16 * 1024):
        with Server(then_close(whole[:cut])) as server, line_to(server) as line, pytest.raises(AnswerBroken):
            line.fetch("GET", "/")


def test_declared_length_above_the_cap_is_refused_before_reading() -> None:
    with Server(then_close(response(b"", content_length="99999999999999999999"))) as server:  # noqa: SIM117
        with line_to(server) as line, pytest.raises(AnswerTooLarge):
            line.fetch("GET", "/")


def test_error_answers_have_a_smaller_cap() -> None:
    big = b"x" * (65 * 1024)
    with Server(always(response(big, "500 Oops"), response(big))) as server, line_to(server) as line:
        with pytest.raises(AnswerTooLarge):
            line.fetch("GET", "/")
        assert line.fetch("GET", "/").content == big


def test_cookies_are_not_kept() -> None:
    with Server(always(response(set_cookie="_gitlab_session=abc; Path=/"))) as server, line_to(server) as line:
        line.fetch("GET", "/")
        line.fetch("GET", "/")

    assert not header_of(server.requests[1], "cookie")


def test_connections_are_reused_by_threads_and_limited() -> None:
    with Server(always(response())) as server, line_to(server) as line:
        with ThreadPoolExecutor(30) as pool:
            statuses = list(pool.map(lambda _: line.fetch("GET", "/").status, range(60)))

        assert statuses == [200] * 60
        assert server.connections <= 10


def test_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    with Server(then_close(response())) as server, line_to(server) as line:
        for _ in range(3):
            assert line.fetch("GET", "/").status == 200
            assert server.hung_up.acquire(timeout=5)

    assert server.connections == 3


def test_connection_older_than_its_age_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.net.backend.MAX_AGE_SECONDS", -1.0)
    with Server(always(response())) as server, line_to(server) as line:
        line.fetch("GET", "/")
        line.fetch("GET", "/")

    assert server.connections == 2


def test_waiting_for_a_free_connection_ends_at_the_deadline_and_sent_nothing() -> None:
    arrived = threading.Semaphore(0)

    def busy(peer: Peer) -> None:
        peer.read_request()
        arrived.release()
        peer.server.stopped.wait(30)

    with Server(busy) as server, line_to(server) as line, ThreadPoolExecutor(10) as pool:
        others = [pool.submit(line.fetch, "POST", "/", deadline_seconds=2) for _ in range(10)]
        assert all(arrived.acquire(timeout=5) for _ in others)
        with pytest.raises(DeadlinePassed) as caught:
            line.fetch("POST", "/", deadline_seconds=0.1)

        assert not caught.value.may_have_been_processed
        assert all(isinstance(other.exception(), DeadlinePassed) for other in others)


def test_closed_port_says_so_and_that_nothing_was_sent() -> None:
    with Server(silent) as server:
        line = line_to(server)
    with line, pytest.raises(OutboundError) as caught:
        line.fetch("POST", "/")

    assert caught.value.code == "connect_failed"
    assert caught.value.layer == "Connection"
    assert not caught.value.may_have_been_processed


def test_nothing_leaves_without_a_deadline() -> None:
    with Server(always(response())) as server, line_to(server) as line, pytest.raises(RuntimeError, match="deadline"):
        line.transport.handle_request(httpx2.Request("GET", line.address.url))

    assert server.connections == 0


def test_inner_deadline_cannot_outlast_the_outer_one() -> None:
    with Server(silent) as server, line_to(server) as line, exchange(0.3) as outer, pytest.raises(DeadlinePassed):
        line.fetch("GET", "/", deadline_seconds=30)

    assert outer.ends_at > 0


def test_second_request_under_one_deadline_knows_that_it_was_not_sent() -> None:
    with Server(then_close(response())) as server:
        line = line_to(server)
        with line, line.deadline(5):
            line.fetch("GET", "/")
            server.__exit__()
            with pytest.raises(OutboundError) as caught:
                line.fetch("POST", "/")

    assert not caught.value.may_have_been_processed


def test_engine_asking_for_another_host_gets_no_connection() -> None:
    with (
        Server(always(response())) as server,
        line_to(server) as line,
        line.deadline(2),
        pytest.raises(OutboundError) as caught,
    ):
        line.transport.handle_request(httpx2.Request("GET", f"http://127.0.0.1:{server.port}/"))

    assert caught.value.code == "connect_failed"
    assert server.connections == 0


def test_inflating_stops_at_the_deadline_as_well() -> None:
    packed = gzip.compress(bytes(4 * 1024 * 1024))
    with exchange(5) as limits:
        chunks = decoded([packed], "gzip", 8 * 1024 * 1024)
        next(chunks)
        limits.ends_at = limits.late_since = time.monotonic() - LATE_SECONDS - 1

        with pytest.raises(DeadlinePassed):
            next(chunks)
