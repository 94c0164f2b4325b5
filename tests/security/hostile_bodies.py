"""Bodies that none of our pages sends, by what is wrong with them; each with its status, the same everywhere."""

from __future__ import annotations

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def part(disposition: str, value: bytes = b"x", more: str = "") -> bytes:
    return f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + value + b"\r\n"


def field(name: str, value: bytes = b"x", more: str = "") -> bytes:
    return part(f'form-data; name="{name}"', value, more)


END = b"--b--\r\n"
JSON = "application/json"
# Content type, body, status.
BODIES: dict[str, tuple[str, bytes, int]] = {
    "file instead of a field": (MULTIPART, part('form-data; name="{field}"; filename="a.txt"') + END, 400),
    "file beside the fields": (MULTIPART, part('form-data; name="f"; filename=""', b"") + END, 400),
    "file with a name in UTF-8": (MULTIPART, part("form-data; name=\"{field}\"; filename*=utf-8''a") + END, 400),
    "part without a name": (MULTIPART, part("form-data") + END, 400),
    "part without a disposition": (MULTIPART, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, 400),
    "no end": (MULTIPART, field("{field}"), 400),
    "no part at all": (MULTIPART, b"x" * 100, 400),
    "another boundary": ("multipart/form-data; boundary=c", field("{field}") + END, 400),
    "no boundary": ("multipart/form-data", field("{field}") + END, 400),
    "boundary in other letters": ("multipart/form-data; boundary=bäß", field("{field}") + END, 400),
    "boundary of 10 kB": ("multipart/form-data; boundary=" + "b" * 10_000, field("{field}") + END, 400),
    "bytes of another charset": (MULTIPART, field("{field}", "ä".encode("latin-1")) + END, 400),
    "charset that does not exist": (
        MULTIPART,
        field("{field}", b"\xff", "Content-Type: text/plain; charset=no\r\n") + END,
        400,
    ),
    "UTF-16": (f"{URLENCODED}; charset=utf-16", "{field}=x".encode("utf-16"), 400),
    "bytes that are not UTF-8": (URLENCODED, b"{field}=%ff%fe", 400),
    "raw bytes that are not UTF-8": (URLENCODED, b"{field}=\xff\xfe", 400),
    "lone surrogate": (URLENCODED, b"{field}=%ed%a0%80", 400),
    "overlong NUL": (URLENCODED, b"{field}=%c0%80", 400),
    "NUL": (URLENCODED, b"{field}=%00", 400),
    "NUL in a name": (URLENCODED, b"{field}%00=x", 400),
    "percent without digits": (URLENCODED, b"{field}=%zz&%=%", 400),
    "field twice": (URLENCODED, b"{field}=a&{field}=b", 400),
    "token twice": (URLENCODED, b"csrf_token=a&csrf_token=b", 403),
    "5,000 fields": (URLENCODED, b"&".join(b"f%d=" % number for number in range(5_000)), 400),
    "deep names": (URLENCODED, b"{field}" + b"[a]" * 1_000 + b"=x", 400),
    "JSON": (JSON, b'{"{field}": "x"}', 400),
    "deep JSON": (JSON, b"[" * 100_000, 400),
    "XML": ("application/xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 400),
    "text": ("text/plain", b"{field}=x", 400),
    "no type": ("", b"{field}=x", 400),
    "type that is none": ("application", b"{field}=x", 400),
    "type in letters of another alphabet": ("тип/form", b"{field}=x", 400),
}
