"""The vector selectors of a PromQL expression, to ask for the age of what it rests on. Pure.

`timestamp()` tells a sample's time for a plain selector only; of an expression such as
`sum(rate(x[1m]))` it tells when it was evaluated.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
  | (?P<number>(?:\d[\d.]*(?:e[+-]?\d+)?|\.\d+)[a-z0-9]*)
  | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<other>\S)
    """,
    re.VERBOSE,
)
_LABEL_LISTS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_BEFORE_OPERAND = frozenset({"(", "by", "without"})
_WORDS = frozenset({"and", "or", "unless", "bool", "atan2", "inf", "nan", "offset"})

_Token = tuple[str, str]


def selectors(promql: str) -> tuple[str, ...]:
    """Each once, with its matchers and its offset or `@`, without its range; in order.

    Of text that is not PromQL the result is meaningless, but there is one.
    """
    tokens = [
        (match.lastgroup or "", match.group())
        for match in _TOKEN.finditer(promql)
        if match.lastgroup != "comment"
    ]
    return tuple(dict.fromkeys(_found(tokens)))


def _found(tokens: list[_Token]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        at += 1
        if kind == "word":
            followed = tokens[at][1] if at < len(tokens) else ""
            if text.lower() in _LABEL_LISTS:
                at = _closed(tokens, at) if followed == "(" else at
                continue
            if followed.lower() in _BEFORE_OPERAND or text.lower() in _WORDS:
                continue
            matchers = ""
            if followed == "{":
                end = _closed(tokens, at)
                matchers, at = _joined(tokens[at:end]), end
        elif text == "{":
            end = _closed(tokens, at - 1)
            text, matchers, at = "", _joined(tokens[at - 1 : end]), end
        elif text == "[":
            at = _closed(tokens, at - 1)
            continue
        else:
            continue
        modifiers, at = _modifiers(tokens, at)
        yield text + matchers + modifiers


def _modifiers(tokens: list[_Token], at: int) -> tuple[str, int]:
    """A range is passed over; offsets and `@` are kept, because they move the time."""
    kept = ""
    while at < len(tokens):
        text = tokens[at][1]
        if text == "[":
            at = _closed(tokens, at)
        elif text in {"offset", "@"}:
            end = at + 2
            if end <= len(tokens) and tokens[end - 1][1] == "-":
                end += 1
            if tokens[at + 1 : at + 2] and tokens[at + 1][1] in {"start", "end"}:
                end = _closed(tokens, at + 2)
            kept += " " + text + " " + _joined(tokens[at + 1 : end])
            at = end
        else:
            break
    return kept, at


def _closed(tokens: list[_Token], at: int) -> int:
    """Behind the bracket that closes the one at `at`."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    opening = tokens[at][1] if at < len(tokens) else "("
    closing, depth = pairs.get(opening, ")"), 0
    for position in range(at, len(tokens)):
        kind, text = tokens[position]
        if kind != "other":
            continue
        depth += (text == opening) - (text == closing)
        if depth == 0:
            return position + 1
    return len(tokens)


def _joined(tokens: list[_Token]) -> str:
    return "".join(text for _, text in tokens)
