"""Whether a text speaks to the model that reads it: patterns in five classes, told and never taken out.

Looked at is what a model would make of the text: NFKC, without characters that show nothing, letters that pass for
Latin ones as those, marks of emphasis as spaces; once with its lines, once as one line. A pattern that is found is a warning to the reader;
that none is found says nothing. How much each class finds, and how often it is wrong: docs/reference/injections.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_LIKE: Final = dict(
    zip(
        "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d"
        "\u03b1\u03b2\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f2\u0131\u0261",
        "abekmhopctyxijshdqw" + "abeikvoptuxc" + "ig",
        strict=True,
    )
)
"""Letters of Cyrillic and Greek that pass for Latin ones by their looks."""
_AS_LATIN: Final = {ord(letter): latin for letter, latin in _LIKE.items()}
_NOT_SHOWN: Final = ("Zs", "Cf", "Mn", "Me")
_EMPHASIS: Final = re.compile(r"[*_`~\\]+")
_SPACE: Final = re.compile(r"[ \t\f\v]+")
_LINES: Final = re.compile(r"[ \r]?\n[ \r\n]*")
_FEW: Final = r"(?:\s+[\w'-]+){0,4}?\s+"
_THINGS: Final = (
    r"(?:instructions?|prompts?|directions?|directives?|rules?|guidelines?|orders?|commands?|constraints?|"
    r"restrictions?|training|programming|messages?|polic(?:y|ies)|guardrails?)"
)
_DROP: Final = (
    r"(?:ignore|disregard|forget|override|overrule|bypass|discard|neglect|skip|abandon|(?:stop|quit) (?:following|obeying)|"
    r"do not (?:follow|obey)|don't (?:follow|obey)|pay no (?:attention|heed) to|set aside|throw (?:out|away))"
)
_EARLIER: Final = r"(?:previous|prior|earlier|above|preceding|former|foregoing|existing|original|initial|system|past|your|safety)"
_TEXT: Final = (
    r"(?:page|content|document|text|message|source|site|website|file|data|context|input|article|section)"
)
_LINE: Final = r"(?:^|\n)\s*[#>=\-\[<({/:! ]*"
CLASSES: Final[dict[str, re.Pattern[str]]] = {
    "instruction_override": re.compile(
        rf"\b{_DROP}(?:{_FEW}|\s+){_EARLIER}\b(?:\s+[\w'-]+){{0,2}}?\s+{_THINGS}\b"
        rf"|\b{_DROP}\s+(?:all|any|every)\s+{_THINGS}\s+(?:above|before|so far|given|you)"
        rf"|\b(?:ignore|disregard|forget)\s+(?:everything|all|anything|what(?:ever)?)\s+"
        rf"(?:(?:that\s+)?(?:you\s+(?:were|have been|are)\s+told|you\s+know|was\s+said)|above|before|prior)\b"
        rf"|\[\s*ignore (?:the )?above\s*\]|\bignore the above and\b"
        rf"|\byour (?:new|real|actual|true|only) (?:instructions?|task|goal|objective|orders?|mission) (?:is|are)\b"
        rf"|\bnew (?:system )?instructions? (?:for (?:you|the (?:ai|assistant|model|agent)))\b"
    ),
    "role_override": re.compile(
        r"\bsystem (?:prompt )?override\b|<\|(?:im start|im end|system|assistant|endoftext)\|>|\[/?inst\]|<<\s*/?sys\s*>>"
        rf"|{_LINE}system(?: message| prompt)?\s*[\])>}}]*\s*:\s*(?:you\b|new\b|the assistant\b|ignore\b)"
        r"|\byou are (?:now|no longer) (?:an? |the |in |bound |restricted |free |my |dan\b|claude\b|[\w-]*admin)"
        r"|\bfrom (?:now|here|this (?:point|moment)) on,? you (?:are|will|must|shall|act|answer|obey)\b"
        r"|\b(?:enter|enable|activate|switch (?:to|into)|go into) (?:the )?(?:developer|debug|god|admin|root|jailbreak|dan|"
        r"unrestricted|maintenance) mode\b.{0,80}\b(?:you|your|assistant|restrictions?|limits?|safety)\b"
        r"|\b(?:act|behave|respond|answer) as (?:if you (?:were|are)|though you (?:were|are)|an? unrestricted|the system|"
        r"an? (?:ai|assistant|model) (?:without|with no))"
        r"|\bpretend (?:that )?(?:to be|you are|you're) (?:an? |the )?(?:unrestricted|admin\w*|root|system|developer|"
        r"operator|ai|assistant|model|dan)\b"
    ),
    "trust_label_bypass": re.compile(
        r"\b(?:external|untrusted|safety|security|injection|trust|unverified)[\]\s-]*"
        r"(?:content |source |data )?(?:label|marker|tag|warning|notice|banner|prefix|fence|flag|mark)s?\b"
        r"(?:\s+[\w',-]+){0,6}?\s+(?:(?:is|are|was|were) (?:only |just |merely |simply )?(?:an? )?"
        r"(?:\w+ )?(?:artefacts?|artifacts?|bugs?|mistakes?|errors?|glitch(?:es)?|false positives?|formality|leftovers?|wrong|"
        r"outdated|incorrect|obsolete|meaningless)|(?:can|should|may|must) (?:safely )?be (?:safely )?(?:ignored|disregarded|removed)|"
        r"(?:does|do) not apply)"
        r"|\b(?:ignore|disregard|remove|strip|drop|discount) (?:the |any |that |this |all )?[\[\"']?(?:external|untrusted|"
        r"unverified)[\]\"']?(?: \w+)? ?(?:label|marker|tag|warning|notice|banner|prefix|fence|flag|mark)s?\b"
        rf"|\bthis {_TEXT} (?:is|was) (?:wrongly|mistakenly|incorrectly|falsely|accidentally) (?:marked|labell?ed|flagged|"
        r"tagged|classified) (?:as )?(?:external|untrusted|unsafe|suspicious|injection)"
        r"|\b(?:fence|delimiters?|brackets?) (?:around|about|surrounding) (?:this|the) "
        rf"{_TEXT} (?:is|are|can|should|may|does|do)\b.{{0,40}}\b(?:decorative|ignored?|meaningless|nothing|no meaning)"
    ),
    "trust_escalation": re.compile(
        rf"\bthis {_TEXT} (?:is|comes|has been|was|should be|must be) (?:\w+ ){{0,2}}?(?:trusted|pre-?approved|authori[sz]ed|"
        r"authoritative|whitelisted|allowlisted|considered safe|vetted)\b(?! (?:by|in|at|for) (?:our (?:readers|users)|the court))"
        rf"|\b(?:treat|consider|regard|handle) (?:this|the following|these|the above)(?: {_TEXT}s?| instructions?| text below)? "
        r"(?:as|to be) (?:\w+ )?(?:trusted|a system|system|authoritative|instructions|commands|coming from|your (?:own|operator)|"
        r"if (?:it|they) (?:came|were))"
        r"|\b(?:the|your) (?:user|operator|owner|developers?|administrators?|admin) (?:has|have) (?:already |explicitly |fully |"
        r"previously )?(?:approved|authori[sz]ed|allowed|consented|granted|confirmed|pre-?approved|agreed) "
        r"(?:this|these|you|all|any|the following|to (?:this|these|all|everything))"
        r"|\b(?:no|without) (?:further |any |additional |user |human )*(?:confirmation|approval|permission|consent)s? (?:from "
        r"the (?:user|operator) )?(?:is |are )?(?:needed|required|necessary)\b.{0,60}\b(?:run|execute|proceed|you|command|send)"
        r"|\bwithout (?:asking|telling|informing|notifying|alerting) the (?:user|operator|human)\b"
        r"|\b(?:do not|don't|never) (?:ask|tell|inform|notify|mention (?:this|it) to|alert|warn) the (?:user|operator|human)\b"
        r"|\bthis (?:message|text|notice|request) (?:comes|is) (?:directly )?from (?:anthropic|openai|your (?:developers?|"
        r"operator|creators?|administrators?)|the (?:system|developers?) (?:team|administrator|itself))"
    ),
    "context_boundary": re.compile(
        r"(?:^|\n)[\s#>=\-\[<({/*:!]*(?:end|close) (?:of )?(?:the )?(?:context|external|untrusted|user input|fetched|web ?page|"
        r"retrieved|quoted|tool (?:output|result)|data|document content|system prompt|conversation)"
        r"(?: (?:content|data|section|document|block|text|context))?[\s=#\-\])>}/*.:!]*(?:\n|$|now\b|you\b)"
        r"|</(?:context|external|untrusted|document content|user input|tool result|function results?|system|fetched|data fence|"
        r"untrusted content|web page)>"
        r"|\b(?:begin|start)(?:ning)?(?: of)? (?:the )?(?:real|actual|true|new|trusted|system|hidden) "
        r"(?:instructions?|prompt|commands?|message|context)\b"
        r"|\bthe (?:real|actual|true) (?:instructions?|prompt|task|commands?)(?: \w+)? (?:begins?|starts?|follows?|"
        r"(?:is|are) (?:below|as follows|these|the following|to))"
        r"|\b(?:everything|all (?:the )?(?:text|content)|anything) (?:above|before|up to)(?: this(?: line| point)?| here)? "
        r"(?:was|is) (?:just |only |merely )?(?:an? )?(?:example|test|sample|data|untrusted|dummy|placeholder)\b"
        r"|\byou (?:have|'ve) (?:now )?(?:left|reached the end of|exited) (?:the )?(?:context|external|untrusted|fence|document|"
        r"web ?page|quoted)"
    ),
}
"""Of each class what is looked for, in a text as `view` makes it."""
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "instruction_override": (
        "ignore", "disregard", "forget", "override", "overrule", "bypass", "discard", "neglect", "skip", "abandon",
        " following", " obeying", "not follow", "not obey", "don't follow", "don't obey", "pay no ", "set aside",
        "throw out", "throw away", "your new ", "your real ", "your actual ", "your true ", "your only ",
        "new instruction", "new system instruction",
    ),
    "role_override": (
        "override", "<|", "inst]", "<<", "system", "you are no", "from now ", "from here ", "from this ", " mode",
        "as if you", "as though you", "unrestricted", "as an ", "as a ", "pretend ",
    ),
    "trust_label_bypass": (
        "external", "trust", "safety", "security", "injection", "unverified", "wrongly", "mistakenly", "incorrectly",
        "falsely", "accidentally", "fence", "delimiter", "bracket",
    ),
    "trust_escalation": (
        "trusted", "approved", "authori", "whitelisted", "allowlisted", "considered safe", "vetted", "treat th",
        "consider th", "regard th", "handle th", "allowed ", "consented ", "granted ", "confirmed ", "agreed ",
        "confirmation", "approval", "permission", "consent", "without ", "ask the ", "tell the ", "inform the ",
        "notify the ", "mention ", "alert the ", "warn the ", "from anthropic", "from openai", "from your ", "from the ",
    ),
    "context_boundary": (
        "end ", "close ", "</", "begin", "start", "the real ", "the actual ", "the true ", "everything ", "all ",
        "anything ", "you have ", "you 've ",
    ),
}  # fmt: skip
"""Of each class words, of which one is in whatever its pattern finds: far from them no pattern is tried."""
STRETCH: Final = 4_096
"""Characters that are looked through at once: other threads have their turn in between."""
BEFORE: Final = 256
"""Characters by which what is found may begin before the first of its words."""
LONGEST: Final = 768
"""Characters of the longest finding that is sure to be found."""


def view(text: str) -> str:
    """Return what patterns are looked for in; lines stay lines."""
    plain = unicodedata.normalize("NFKC", text)
    if not plain.isascii():
        plain = unicodedata.normalize("NFD", plain)
        kinds = {c: unicodedata.category(c) for c in set(plain)}
        shown = {ord(c): " " if kind == "Zs" else "" for c, kind in kinds.items() if kind in _NOT_SHOWN}
        plain = plain.translate(shown)
    plain = plain.casefold().translate(_AS_LATIN).replace("\u2019", "'")
    return _LINES.sub("\n", _SPACE.sub(" ", _EMPHASIS.sub(" ", plain)))


def _near(words: tuple[str, ...], text: str) -> Iterator[tuple[int, int]]:
    """Yield the parts of a text, in their order, in which there is one of the words."""
    places: list[int] = []
    for word in words:
        at = text.find(word)
        while at >= 0:
            places.append(at)
            at = text.find(word, at + 1)
    start = end = 0
    for place in sorted(places):
        if place - BEFORE > end:
            if end:
                yield start, end
            start = place - BEFORE
        end = place + LONGEST
    if end:
        yield max(start, 0), min(end, len(text))


def _count(name: str, text: str) -> int:
    pattern = CLASSES[name]
    found = 0
    for at, end in _near(WORDS[name], text):
        while at < end:
            border = min(at + STRETCH, end)
            match = pattern.search(text, at, min(border + LONGEST, end))
            if match and match.start() < border:
                found, at = found + 1, match.end()
            else:
                at = border
    return found


def flags(text: str) -> dict[str, int]:
    """Return how often each class of injection is found in a text; a class that is not found is left out."""
    lines = view(text)
    one_line = lines.replace(
        "\n", " "
    )  # a sentence goes on in the next line; a boundary stands on one of its own
    counted = {name: max(_count(name, lines), _count(name, one_line)) for name in CLASSES}
    return {name: count for name, count in counted.items() if count}
