"""Sockets connected within the time that is left: TCP to a checked address, TLS over it."""

from __future__ import annotations

import socket
import ssl

import structlog

from portal.errors import Layer
from portal.net import tls
from portal.net.deadline import current
from portal.net.embedded import IPAddress
from portal.net.errors import ConnectFailed, DeadlinePassed, TLSFailed
from portal.net.guard import stamped_as_ours

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def connect_first(found: list[IPAddress], port: int) -> socket.socket:
    """Connect to the first address that answers; each gets its share of the time, so that a dead one does not use it
    all.

    Raises:
        ConnectFailed: none accepts. DeadlinePassed: none answered.
    """
    current().layer = Layer.TCP
    for tried, ip in enumerate(found):
        try:
            # A literal address and its family: nothing here can resolve a name.
            sock = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.settimeout(current().left() / (len(found) - tried))
                with stamped_as_ours():
                    sock.connect((str(ip), port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BaseException:
                sock.close()
                raise
        except OSError:  # A timeout is one, too.
            continue
        return sock
    current().left()
    raise ConnectFailed


def handshake(sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> ssl.SSLSocket:
    """Wrap a socket in TLS; the name, not the address, is sent and checked.

    Raises:
        TLSFailed: no handshake; nothing of HTTP was sent. DeadlinePassed: it took too long, even if bytes kept
            arriving.
    """
    current().layer = Layer.TLS
    try:
        sock.settimeout(current().left())
        # A peer that ends without a TLS closing message may have been cut off by someone in between: that is an error.
        return context.wrap_socket(sock, server_hostname=server_hostname, suppress_ragged_eofs=False)
    except TimeoutError:
        sock.close()
        raise current().passed() from None
    except ssl.SSLError as error:
        sock.close()
        raise _noted(tls.translate(error), server_hostname) from None
    except (OSError, ValueError):
        sock.close()
        raise _noted(TLSFailed("failed"), server_hostname) from None
    except DeadlinePassed:
        sock.close()
        raise


def _noted(failure: TLSFailed, host: str) -> TLSFailed:
    # A certificate that suddenly changes may mean someone in between.
    log.warning("security_event", kind="tls_failed", host=host, layer=failure.layer, error_code=failure.code)
    return failure
