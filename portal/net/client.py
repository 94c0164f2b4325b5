"""The only way for requests to leave this process."""

from __future__ import annotations

from collections.abc import Callable

from portal.net.address import Address
from portal.net.budget import RequestBudgets
from portal.net.host_session import HostSession
from portal.net.policy import NetworkPolicy
from portal.net.resolver import Resolve, system_resolve


class OutboundClient:
    """Opens sessions under the operator's policy."""

    def __init__(
        self, policy: NetworkPolicy, resolve: Resolve = system_resolve, budgets: RequestBudgets | None = None
    ) -> None:
        self.policy = policy
        self._budgets = budgets
        self._resolve = resolve

    def session(
        self,
        address: Address,
        *,
        ca_certificate: str | None = None,
        proxy: str | None = None,
        recall: Callable[[], None] | None = None,
        is_background: bool = False,
    ) -> HostSession:
        """Return a session with one address; use it as a context manager.

        Args:
            address: where to.
            ca_certificate: PEM; if given, nothing else is trusted.
            proxy: `host:port` of an HTTP proxy that tunnels.
            is_background: let people's requests go first.
            recall: called once, before the peer's answer is read: it registers the secrets that the answer may repeat.

        Raises:
            CertificateRefused: the CA certificate cannot be read. AddressRefused: the proxy cannot.
        """
        return HostSession(
            self.policy,
            address,
            ca_certificate=ca_certificate or None,
            proxy=proxy or None,
            resolve=self._resolve,
            recall=recall,
            share=self._budgets.share_of(address.origin) if self._budgets else None,
            is_background=is_background,
        )
