"""Whether a message holds markup, or a way out of a folder, in any spelling that a later reader would decode.

Looked at are the text itself and what becomes of it by NFKC (fullwidth and other compatible letters), HTML character
references, percent-encoding and the escapes of JavaScript, each undone up to three times over.

Refused as markup: a tag that HTML, SVG or MathML knows, or any tag with attributes; comments, declarations and
processing instructions; attributes that are event handlers; URLs of the kinds ``javascript:``, ``vbscript:`` and
``data:`` with markup. Passed: ``a < b``, ``Vec<u8>``, ``List<String>``, ``Map<String, int>``.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from typing import Final
from urllib.parse import unquote

from securecontext.types.errors import InvalidInput

_ROUNDS: Final = 3
_TAGS: Final = (
    "a|abbr|acronym|address|animate\\w*|annotation(?:-xml)?|applet|area|article|aside|audio|b|base|basefont|bdi|bdo|"
    "bgsound|big|blink|blockquote|body|br|button|canvas|caption|center|circle|cite|code|col|colgroup|content|data|"
    "datalist|dd|defs|del|desc|details|dfn|dialog|dir|discard|div|dl|dt|ellipse|em|embed|fieldset|figcaption|figure|"
    "filter|font|footer|foreignobject|form|frame|frameset|g|h[1-6]|handler|head|header|hgroup|hr|html|i|iframe|image|"
    "img|input|ins|isindex|kbd|keygen|label|layer|legend|li|line|link|listener|listing|main|map|mark|marker|marquee|"
    "mask|math|menu|menuitem|meta|meter|mglyph|mi|mn|mo|ms|mtext|multicol|nav|nextid|nobr|noembed|noframes|noscript|"
    "object|ol|optgroup|option|output|p|param|path|pattern|picture|plaintext|polygon|polyline|portal|pre|progress|q|"
    "rb|rect|rp|rt|rtc|ruby|s|samp|script|search|section|select|set|shadow|slot|small|source|spacer|span|stop|strike|"
    "strong|style|sub|summary|sup|svg|switch|symbol|table|tbody|td|template|text|textarea|textpath|tfoot|th|thead|"
    "time|title|tr|track|tspan|tt|u|ul|use|var|video|view|wbr|xmp"
)
_EVENTS: Final = (
    "abort|after\\w+|animation\\w+|auxclick|before\\w+|begin|blur|bounce|cancel|canplay\\w*|change|click|close|"
    "contextmenu|copy|cuechange|cut|dblclick|drag\\w*|drop|durationchange|emptied|end|ended|error|finish|focus\\w*|"
    "formdata|fullscreen\\w*|gotpointercapture|hashchange|input|invalid|key\\w+|languagechange|load\\w*|"
    "lostpointercapture|message\\w*|mouse\\w+|offline|online|page\\w+|paste|pause|play|playing|pointer\\w+|popstate|"
    "progress|ratechange|readystatechange|rejectionhandled|repeat|reset|resize|scroll\\w*|search|"
    "securitypolicyviolation|seeked|seeking|select\\w*|show|slotchange|stalled|start|storage|submit|suspend|"
    "timeupdate|toggle|touch\\w+|transition\\w+|unhandledrejection|unload|volumechange|waiting|webkit\\w+|wheel"
)
_SPACES: Final = r"[\s\x00-\x20]*"
_MARKUP: Final = re.compile(
    rf"</?(?:{_TAGS})(?=[\s/>\"'<]|$)"  # a known tag, closed or not
    r"|<[!?/%]"  # comments, declarations, instructions, closing tags, templates
    r"|<[a-z][^\s<>,/]*[\s/][^<>=]*="  # any tag with an attribute
    r"|<[a-z][\w.]*(?:-|:(?!:))"  # elements of somebody's own, and of other namespaces
    rf"|(?<![\w.-])on(?:{_EVENTS})\s*=(?!=)"
    rf"|{_SPACES.join('javascript')}{_SPACES}:"
    rf"|{_SPACES.join('vbscript')}{_SPACES}:"
    rf"|{_SPACES.join('data')}{_SPACES}:\s*(?:text/html|text/xml|application/xhtml|application/xml|image/svg)",
    re.IGNORECASE | re.ASCII,
)
_TRAVERSAL: Final = re.compile(r"(?<!\.)\.\.;?[/\\]|(?<!\.)\.{4,}[/\\]|[/\\]\.\.(?![.\w])")
_OVERLONG: Final = re.compile(r"%(?:c0|e0%80|f0%80%80|u00|u22)%?(?:ae|af|2e|2f|5c|15|9c)", re.IGNORECASE)
"""Dots and slashes in forms of UTF-8 that are longer than they may be, and in an escape that no standard knows."""
_LONG_NUMBER: Final = re.compile(r"&#(x?)0*([0-9a-f]{8,})", re.IGNORECASE)
_LEADING_ZEROS: Final = re.compile(r"&#(x?)0+(?=[0-9a-f])", re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|u([0-9a-f]{4})|x([0-9a-f]{2}))", re.IGNORECASE)


def refuse_markup(text: str, field: str) -> None:
    """Refuse a text with markup in it.

    Raises:
        InvalidInput: ``markup``.
    """
    if any(_MARKUP.search(view) for view in views(text)):
        raise InvalidInput(
            "markup",
            f"The {field} has HTML, an event handler or a URL that runs code.",
            "Say it in words, or leave the markup in a file and name the file.",
            field=field,
        )


def refuse_traversal(text: str, field: str) -> None:
    """Refuse a text with a path that leads up out of a folder.

    Raises:
        InvalidInput: ``traversal``.
    """
    if any(_TRAVERSAL.search(view) or _OVERLONG.search(view) for view in views(text)):
        raise InvalidInput(
            "traversal",
            f"The {field} has a path that leads up out of a folder.",
            "Name files from the project's top folder on, without `..`.",
            field=field,
        )


def views(text: str) -> list[str]:
    """Return a text and what later readers may make of it, each once."""
    found = [text]
    for _ in range(_ROUNDS):
        before = found[-1]
        after = _unescaped(unquote(_references(unicodedata.normalize("NFKC", before)), errors="replace"))
        if after == before:
            break
        found.append(after)
    return found


def _references(text: str) -> str:
    """Return the text with HTML's character references undone; a number that names no character is one already."""
    if "&" not in text:
        return text
    # A reference of thousands of digits is more than Python turns into a number.
    return unescape(_LONG_NUMBER.sub("\ufffd", _LEADING_ZEROS.sub(r"&#\1", text)))


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _character(int(found[1] or found[2] or found[3], 16)), text)


def _character(point: int) -> str:
    return chr(point) if point <= 0x10FFFF else "\ufffd"
