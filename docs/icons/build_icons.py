"""Build static/icons.svg from the icons named in names.txt.

Usage: python docs/icons/build_icons.py PATH/tabler-icons-3.51.0.tgz

The archive is the npm package @tabler/icons; it is not kept here. The product's own mark is gatehouse.svg.
An unknown name stops the build. The result is committed; a test compares it with names.txt and with the templates.
"""

from __future__ import annotations

import re
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
SPRITE = HERE.parent.parent / "static" / "icons.svg"
STROKED = 'fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"'
# Tabler puts an invisible 24 by 24 square into each icon; it only costs bytes.
NO_OP = re.compile(r'<path stroke="none" d="M0 0h24v24H0z" fill="none" ?/>')


def icon_names() -> list[str]:
    """Return the chosen names, sorted as in names.txt."""
    return (HERE / "names.txt").read_text(encoding="utf-8").split()


def body_of(svg: str) -> str:
    """Return what is inside the outer svg element, on one line."""
    inside = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    return re.sub(r"\s+", " ", NO_OP.sub("", inside)).replace("> <", "><").replace(" />", "/>").strip()


def build(archive: Path) -> str:
    """Return the sprite's text; KeyError names an icon the archive does not have."""
    symbols = [f'<symbol id="gatehouse" viewBox="0 0 24 24" fill="currentColor">{_own_mark()}</symbol>']
    with tarfile.open(archive) as tar:
        for name in icon_names():
            member = tar.extractfile(f"package/icons/outline/{name}.svg")
            assert member is not None, name
            symbols.append(
                f'<symbol id="{name}" viewBox="0 0 24 24" {STROKED}>{body_of(member.read().decode())}</symbol>'
            )
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def _own_mark() -> str:
    return body_of((HERE / "gatehouse.svg").read_text(encoding="utf-8"))


if __name__ == "__main__":
    SPRITE.write_text(build(Path(sys.argv[1])), encoding="utf-8")
    print(f"{SPRITE}: {len(icon_names())} icons and the mark, {SPRITE.stat().st_size} bytes")
