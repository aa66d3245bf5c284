"""A page's bytes as text: HTML becomes Markdown, everything else stays as it is.

What a browser would not show at first is left out of HTML: nobody but a model would read it. Characters that no stored
text may hold become spaces, and how many those were is told; nothing else is changed.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

import html_to_markdown

from securecontext.types.errors import InvalidInput
from securecontext.types.pages import Page
from securecontext.validators.input import is_blank, mend
from securecontext.web.guard import HTML

_CHARSETS: Final = frozenset(
    {"utf-8", "ascii", "utf-16", "utf-16-le", "utf-16-be", "shift_jis", "euc_jp", "iso2022_jp", "gb2312",
     "gbk", "gb18030", "big5", "euc_kr", "koi8-r", "koi8-u", "mac-roman", "cp932", "cp949",
     *(f"iso8859-{part}" for part in range(1, 17) if part != 12), *(f"cp{page}" for page in range(1250, 1259))}
)  # fmt: skip
"""As Python names them; of its others some are no character sets, and some take too long."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")
)  # fmt: skip
_IN_HTML: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_SNIFFED: Final = 2_048
_OPTIONS: Final = html_to_markdown.ConversionOptions(
    hidden_content="drop", inline_data_media="alt_text_only", max_depth=500, extract_metadata=False
)


@dataclass(frozen=True, slots=True)
class Text:
    """What a page says.

    Attributes:
        text: its title as the heading, and its text.
        replaced: characters that became spaces.
    """

    text: str
    replaced: int


def as_text(page: Page) -> Text:
    """Return what a page says.

    Raises:
        InvalidInput: ``page_charset``, ``page_unreadable``, ``page_empty``.
    """
    said = _decoded(page)
    if page.content_type in HTML:
        said = _markdown(said)
    text, replaced = mend(said, multiline=True)
    text = text.strip()
    if is_blank(text):
        raise InvalidInput(
            "page_empty", "The page has no text: perhaps a script makes it.", "Name another page."
        )
    return Text(text, replaced)


def _decoded(page: Page) -> str:
    for mark, charset in _MARKS:
        if page.body.startswith(mark):
            return page.body.decode(charset, "replace")
    named = page.charset
    if not named and page.content_type in HTML:
        found = _IN_HTML.search(page.body[:_SNIFFED])
        named = found[1].decode("ascii") if found else ""
    try:
        name = codecs.lookup(named or "utf-8").name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise InvalidInput(
            "page_charset", "The page is in a character set that is not read.", "Name another page."
        )
    if name.startswith("utf-16") and not page.charset:
        name = "utf-8"  # a mark within the page that could be read says that it is not
    return page.body.decode(name, "replace")


def _markdown(html: str) -> str:
    try:
        made = html_to_markdown.convert(html.replace("\0", ""), _OPTIONS)
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            "page_unreadable", "The page's HTML cannot be made sense of.", "Name another page."
        ) from error
    return str(made.content or "")
