"""All outbound HTTP: address policy, pinned resolution, TLS, deadlines, caps. Nothing else opens a connection."""

from portal.net.address import Address, AddressRefused, is_same_address, origin_of, parse_address
from portal.net.budget import RequestBudgets
from portal.net.client import Answer, HostSession, OutboundClient, Route
from portal.net.errors import (
    AddressForbidden,
    AnswerBroken,
    AnswerEncoded,
    AnswerTooLarge,
    ConnectFailed,
    DeadlinePassed,
    NameNotResolved,
    OutboundError,
    ProxyFailed,
    RedirectRefused,
    TLSFailed,
)
from portal.net.examination import Examination
from portal.net.policy import NetworkPolicy
from portal.net.proxy import ProxyExceptions, parse_proxy
from portal.net.tls import CertificateInfo, CertificateRefused, Gateway, parse_certificates
from portal.net.usage import Purpose

__all__ = [
    "Address",
    "AddressForbidden",
    "AddressRefused",
    "Answer",
    "AnswerBroken",
    "AnswerEncoded",
    "AnswerTooLarge",
    "CertificateInfo",
    "CertificateRefused",
    "ConnectFailed",
    "DeadlinePassed",
    "Examination",
    "Gateway",
    "HostSession",
    "NameNotResolved",
    "NetworkPolicy",
    "OutboundClient",
    "OutboundError",
    "ProxyExceptions",
    "ProxyFailed",
    "Purpose",
    "RedirectRefused",
    "RequestBudgets",
    "Route",
    "TLSFailed",
    "is_same_address",
    "origin_of",
    "parse_address",
    "parse_certificates",
    "parse_proxy",
]
