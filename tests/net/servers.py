"""Real servers on loopback that misbehave by script."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from typing import Self

Script = Callable[["Peer"], None]
DRIP_SECONDS = 0.1


class Peer:
    """One connection of a client, as its script sees it."""

    def __init__(self, sock: socket.socket, server: Server) -> None:
        self.sock = sock
        self.server = server

    def read_request(self) -> bytes:
        """Return one request, body included; nothing if the client closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        wanted = int(header_of(head, "content-length") or 0)
        while len(body) < wanted:
            body += self.sock.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return head

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """Send one byte at a time, then blanks forever."""
        for number in range(10**6):
            if self.server.stopped.wait(DRIP_SECONDS):
                return
            self.send(data[number : number + 1] or b" ")


class Server:
    """Listens on loopback; every connection is played by `script` in its own thread."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0):
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self.names: list[str | None] = []
        self.stopped = threading.Event()
        self.hung_up = threading.Semaphore(0)
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda sock, name, context: self.names.append(name)  # type: ignore[assignment]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._peers: list[socket.socket] = []
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for peer in self._peers:
            peer.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(sock)
            thread = threading.Thread(target=self._play, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _play(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._peers.append(sock)
            self.script(Peer(sock, self))
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            self.hung_up.release()


def header_of(head: bytes, name: str) -> str:
    """Return one header of a request; empty if it has none."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


def response(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    """Return a well-formed answer; a header named `content_length` replaces the right one."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items() if value != "-")]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(*answers: bytes) -> Script:
    """Answer requests with these, then keep repeating the last one, on one connection after the other."""
    remaining = list(answers)

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(remaining.pop(0) if len(remaining) > 1 else remaining[0])

    return script


def then_close(answer: bytes) -> Script:
    """Answer one request, and hang up."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)

    return script


def tunnelling_to(port: int, refused: tuple[str, ...] = ()) -> Script:
    """Play a forward proxy that reaches one server on loopback, whatever address is requested."""

    def script(peer: Peer) -> None:
        head = peer.read_request()
        if any(one.encode() in head for one in refused):
            peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\nsecret")
            return
        with socket.create_connection(("127.0.0.1", port)) as onward:
            peer.send(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, peer.sock))
            back.start()
            pump(peer.sock, onward)
            # Who is gone waits for nothing, but the server behind would keep the connection open for its next request.
            with contextlib.suppress(OSError):
                onward.shutdown(socket.SHUT_RDWR)
            back.join()

    return script


def guarding(port: int, header: str, value: str) -> Script:
    """Play a gateway in front of a server on loopback that lets a request through only with a header."""

    def script(peer: Peer) -> None:
        while head := peer.read_request():
            if header_of(head, header.lower()) != value:
                peer.send(response(b"<html>no way</html>", "403 Forbidden", content_type="text/html"))
                continue
            line, _, rest = peer.server.requests[-1].partition(b"\r\n")
            with socket.create_connection(("127.0.0.1", port)) as onward:
                onward.sendall(line + b"\r\nConnection: close\r\n" + rest)
                pump(onward, peer.sock)

    return script


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on everything until the source ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def silent(peer: Peer) -> None:
    """Accept, and never send anything."""
    peer.server.stopped.wait(30)


def zeros_gzipped(mebibytes: int) -> bytes:
    """Return a gzip bomb of this many MiB of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1024 * 1024)
    return b"".join(packer.compress(block) for _ in range(mebibytes)) + packer.flush()
