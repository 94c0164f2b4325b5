"""A minimal mail server: it accepts or refuses every message, and stores the accepted ones (RFC 5321)."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass
class Mailbox:
    """What came in. While `refuses` is true, every recipient is temporarily refused; those in `unknown` always are.

    `offers` are the extensions it names besides its usual ones; `heard` is every line except those of messages.
    """

    port: int = 0
    offers: tuple[str, ...] = ()
    heard: list[bytes] = field(default_factory=list)
    refuses: bool = False
    unknown: set[str] = field(default_factory=set)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(content, policy=default) for content in self.raw]  # type: ignore[misc]

    @property
    def subjects(self) -> list[str]:
        # Long ones are folded before their first word; every reader takes that blank for none.
        return [str(message["Subject"]).strip() for message in self.messages]


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined]
        self._say("220 mailbox")
        while line := self.rfile.readline().strip():
            verb = line.split(b" ")[0].upper()
            box.heard.append(line)
            if verb == b"DATA":
                self._say("354 continue")
                box.raw.append(self._read_message())
                self._say("250 taken")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            elif verb == b"RCPT" and box.refuses:
                self._say("451 not now")
            elif verb == b"RCPT" and _address_in(line) in box.unknown:
                self._say("550 no one of this name")
            elif verb == b"EHLO":
                extensions = (*box.offers, "8BITMIME", "SMTPUTF8")
                self._say("\r\n".join(["250-mailbox", *(f"250-{name}" for name in extensions), "250 HELP"]))
            elif verb == b"STARTTLS":
                self._say("454 not now")
            elif verb == b"AUTH":
                self._say("235 welcome")
            else:
                if verb == b"RCPT":
                    box.recipients.append(_address_in(line))
                self._say("250 ok")

    def _read_message(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


def _address_in(line: bytes) -> str:
    return line.decode().partition("<")[2].partition(">")[0]


@contextmanager
def running_mailbox() -> Iterator[Mailbox]:
    """Run a mail server on a free port of this machine while the block runs."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Session) as server:
        server.daemon_threads = True
        box = Mailbox(server.server_address[1])
        server.box = box  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield box
        finally:
            server.shutdown()
