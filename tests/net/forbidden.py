"""Ways to write hosts that must never be reached: spellings people or attackers type, and addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

# PORT is replaced by that of a listener on loopback, which must not receive a packet. Escapes are those of Python.
SPELLINGS = r"""
127.0.0.1:PORT
http://127.0.0.1:PORT
https://127.0.0.1:PORT/
127.0.0.1.:PORT
127.0.0.2:PORT
127.1:PORT
127.0.1:PORT
127.000.000.001:PORT
127.0.0.01:PORT
0127.0.0.1:PORT
0177.0.0.1:PORT
0177.0.0.01:PORT
0x7f.0.0.1:PORT
0x7f.1:PORT
0x7f000001:PORT
0X7F000001:PORT
0x7F.0x0.0x0.0x1:PORT
0x7f.0x000000001:PORT
127.0x1:PORT
2130706433:PORT
02130706433:PORT
017700000001:PORT
00000000177.0.0.1:PORT
4294967295:PORT
0:PORT
0.0.0.0:PORT
00:PORT
0x0:PORT
0.0:PORT
1:PORT
127.0.0.1.1:PORT
127.0.0.256:PORT
256.256.256.256:PORT
127.0.0.1%00:PORT
127.0.0.1%20:PORT
127%2e0%2e0%2e1:PORT
%31%32%37.0.0.1:PORT
127。0。0。1:PORT
１２７.0.0.1:PORT
①②⑦.⓪.⓪.①:PORT
⑫7.0.0.1:PORT
127.0.0.1:PORT
127.0.0.1:PORT?x
127.0.0.1:PORT#x
127.0.0.1:PORT/..
127.0.0.1:PORT/a/../b
127.0.0.1:PORT/a b
127.0.0.1:PORT;x
127.0.0.1,gitlab.example.com:PORT
127.0.0.1 gitlab.example.com:PORT
127.0.0.1\tgitlab.example.com:PORT
127.0.0.1\\gitlab.example.com:PORT
\\\\127.0.0.1:PORT
//127.0.0.1:PORT
///127.0.0.1:PORT
http:127.0.0.1:PORT
http:/127.0.0.1:PORT
http:///127.0.0.1:PORT
http:\\\\127.0.0.1:PORT
http://http://127.0.0.1:PORT
http://127.0.0.1:PORT:PORT
http://127.0.0.1:PORT@gitlab.example.com
http://gitlab.example.com@127.0.0.1:PORT
gitlab.example.com@127.0.0.1:PORT
gitlab@169.254.169.254:PORT
gitlab\\@127.0.0.1:PORT
gitlab:secret@127.0.0.1:PORT
@127.0.0.1:PORT
gitlab.example.com#@127.0.0.1:PORT
evil#@127.0.0.1:PORT
gitlab.example.com?@127.0.0.1:PORT
gitlab.example.com;@127.0.0.1:PORT
gitlab.example.com%40127.0.0.1:PORT
gitlab.example.com%23@127.0.0.1:PORT
localhost:PORT
LOCALHOST:PORT
LocalHost.:PORT
localhost.localdomain:PORT
ip6-localhost:PORT
ip6-loopback:PORT
loopback.example.com:PORT
localhost%00.example.com:PORT
localhost\x00.example.com:PORT
localhost%0d%0aHost:x:PORT
localhost\r\nHost: x:PORT
local\nhost:PORT
local\u00adhost:PORT
local\u200bhost:PORT
ⓛocalhost:PORT
ｌｏｃａｌｈｏｓｔ:PORT
ɡitlab.com
gitlab.com\u202e:PORT
gıtlab.com
xn--gtlab-wwa.com.
[::1]:PORT
[0:0:0:0:0:0:0:1]:PORT
[0000:0000:0000:0000:0000:0000:0000:0001]:PORT
[::]:PORT
[::127.0.0.1]:PORT
[::ffff:127.0.0.1]:PORT
[::FFFF:7F00:1]:PORT
[::ffff:0:127.0.0.1]:PORT
[0:0:0:0:0:ffff:127.0.0.1]:PORT
[::ffff:0177.0.0.1]:PORT
[::ffff:127.1]:PORT
[64:ff9b::127.0.0.1]:PORT
[64:ff9b::7f00:1]:PORT
[64:ff9b:1::7f00:1]:PORT
[2002:7f00:1::]:PORT
[fe80::1%lo]:PORT
[fe80::1%25lo]:PORT
[::1%lo]:PORT
[::1%25lo]:PORT
[::1
[::1]]:PORT
[[::1]]:PORT
[::1]PORT
[::1]x:PORT
[::1].example.com:PORT
[127.0.0.1]:PORT
[localhost]:PORT
[v1.127]:PORT
::1
::1:PORT
::ffff:127.0.0.1
1::
fe80::1
[]:PORT
:PORT
.:PORT
..:PORT
.localhost:PORT
localhost..:PORT
-localhost:PORT
127.0.0.1:0
127.0.0.1:00PORT
127.0.0.1:+PORT
127.0.0.1:-1
127.0.0.1:65536
127.0.0.1:99999999999
127.0.0.1:1e3
127.0.0.1:0x50
127.0.0.1:８０
127.0.0.1:
file:///etc/passwd
file://localhost/etc/passwd
gopher://127.0.0.1:PORT/_x
dict://127.0.0.1:PORT/
ftp://127.0.0.1:PORT/
ws://127.0.0.1:PORT/
unix:///var/run/docker.sock
http+unix://%2Fvar%2Frun%2Fdocker.sock
jar:http://127.0.0.1:PORT!/
javascript:alert(1)
data:text/html,x
about:blank
git://127.0.0.1:PORT/x
ssh://git@127.0.0.1:PORT/x
git@127.0.0.1:x.git
metadata.google.internal:PORT
metadata.goog:PORT
instance-data.ec2.internal:PORT
169.254.169.254:PORT
http://169.254.169.254:PORT/latest/meta-data
0xa9fea9fe:PORT
2852039166:PORT
0251.0376.0251.0376:PORT
169.254.43518:PORT
[::ffff:169.254.169.254]:PORT
[fd00:ec2::254]:PORT
100.100.100.200:PORT
168.63.129.16:PORT
192.0.0.192:PORT
255.255.255.255:PORT
224.0.0.1:PORT
host.with space:PORT
<script>alert(1)</script>
' OR 1=1 --:PORT
$(id):PORT
`id`:PORT
--upload-pack=x:PORT
-oProxyCommand=x:PORT
{{7*7}}:PORT
*:PORT
*.example.com:PORT
"""

# What a name server, ours or theirs, says about the names above; an address, or anything libc treats as one, needs
# none.
NAMES = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "ip6-loopback": ["::1"],
    "loopback.example.com": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata.goog": ["fd20:ce::254"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "xn--gtlab-wwa.com": ["127.0.0.1"],
}


def _words(text: str) -> list[str]:
    return text.split()


FORBIDDEN_V4 = _words(
    """
    127.0.0.0 127.0.0.1 127.0.0.53 127.1.2.3 127.255.255.255 0.0.0.0 0.0.0.1 0.255.255.255 169.254.0.0 169.254.0.1
    169.254.169.253 169.254.169.254 169.254.170.2 169.254.170.23 169.254.255.255 100.100.100.200 168.63.129.16
    192.0.0.0 192.0.0.1 192.0.0.8 192.0.0.170 192.0.0.192 192.0.0.255 192.0.2.1 198.51.100.1 203.0.113.1
    198.18.0.0 198.18.0.1 198.19.255.255 192.88.99.1 224.0.0.0 224.0.0.1 224.0.0.251 232.1.2.3 239.255.255.250
    239.255.255.255 240.0.0.0 240.0.0.1 250.1.2.3 255.255.255.254 255.255.255.255
    """
)

FORBIDDEN_V6 = _words(
    """
    :: ::1 fe80:: fe80::1 fe80::a9fe:a9fe febf:ffff::1 fec0::1 feff::1 ff00:: ff01::1 ff02::1 ff02::2 ff02::fb
    ff05::2 ff0e::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fd00:ec2::254 fd00:ec2::23 fd20:ce::254 100::1
    100:0:0:1::1 5f00::1 2001:db8::1 2001:db8:ffff::1 3fff::1 3fff:fff::1 2001:2::1 2001:10::1 2001:1f::1
    2001:20::1 2001:2f::1 200::1 400::1 800::1 1000::1 1fff:ffff::1 4000::1 6000::1 8000::1 a000::1 c000::1
    e000::1 f000::1 f800::1 fbff::1 fe00::1 fe7f::1 ::2 ::ffff ::1:0:0:0:0
    """
)

# Reserved ones of IPv4 that an IPv6 address may carry inside.
CARRIED = ["127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254", "169.254.1.1", "168.63.129.16", "224.0.0.1"]
CARRIED += ["100.100.100.200", "192.0.0.192", "240.0.0.1", "255.255.255.255", "192.0.2.1"]

PRIVATE = _words(
    """
    10.0.0.0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255 100.64.0.1
    100.127.255.255 fc00::1 fd00::1 fdff:ffff::1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::a00:1
    2002:a00:1:: fd12::5efe:808:808
    """
)

PUBLIC = _words(
    """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
    169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0
    223.255.255.255 2000::1 2606:4700:4700::1111 2a00:1450::1 2003::1 2001:4860:4860::8888 3ffe::1 ::ffff:8.8.8.8
    64:ff9b::808:808 64:ff9b:1::808:808 2002:808:808::1
    """
)


def spellings() -> list[str]:
    """Return the texts of the table as someone would type them."""
    lines = dict.fromkeys(line for line in SPELLINGS.split("\n") if line)
    return [line.encode("latin-1", "backslashreplace").decode("unicode_escape") for line in lines]


def forbidden_addresses() -> list[str]:
    """Return plain forbidden addresses and every IPv6 form that carries a forbidden IPv4 one."""
    carried = [form for inner in CARRIED for form in carriers(ipaddress.IPv4Address(inner))]
    return list(dict.fromkeys([*FORBIDDEN_V4, *FORBIDDEN_V6, *carried]))


def carriers(inner: ipaddress.IPv4Address) -> Iterator[str]:
    """Yield the IPv6 addresses that a packet to `inner` may be wrapped in."""
    number = int(inner)
    for prefix in ("::ffff:0:0", "::ffff:0:0:0", "::", "64:ff9b::", "64:ff9b:1::"):
        yield _ipv6(int(ipaddress.IPv6Address(prefix)) | number)
    local = int(ipaddress.IPv6Address("64:ff9b:1::"))
    yield _ipv6(local | (number >> 16) << 64 | (number & 0xFFFF) << 40)  # RFC 6052, a /48 prefix
    yield _ipv6(local | (number >> 24) << 64 | (number & 0xFFFFFF) << 32)  # /56
    yield _ipv6(local | number << 24)  # /64
    suffix = 0x08080808  # Translators ignore what follows; read as a /96 prefix it is a public address.
    if number >> 24:
        yield _ipv6(local | (number >> 16) << 64 | (number & 0xFFFF) << 40 | suffix)
    yield _ipv6(int(ipaddress.IPv6Address("2002::")) | number << 80)
    teredo = int(ipaddress.IPv6Address("2001::"))
    public = int(ipaddress.IPv4Address("8.8.8.8"))
    yield _ipv6(teredo | number << 64 | public ^ 0xFFFFFFFF)  # as the server
    yield _ipv6(teredo | public << 64 | number ^ 0xFFFFFFFF)  # as the client
    for prefix in ("2a00::5efe:0:0", "2a00::200:5efe:0:0"):
        yield _ipv6(int(ipaddress.IPv6Address(prefix)) | number)
    for prefix in ("fe80::5efe:808:808", "ff02::5efe:808:808", "fd00:ec2::5efe:808:808"):
        yield prefix  # the outside is forbidden, the inside is not


def _ipv6(number: int) -> str:
    return ipaddress.IPv6Address(number).compressed
