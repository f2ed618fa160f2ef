"""The letter a judge means, in prose: for judges that cannot be forced to choose. Pure."""

from __future__ import annotations

import re

_READ = 20_000  # characters; a judge may write 200 tokens

# LETTER is one of the labels alone, in any decoration. "A better answer would be B" means B: an
# A or I before a word is a word itself, save where the rule says how it goes on.
_OPEN, _CLOSE = r"[*_`'\"(\[{]*", r"[*_`'\")\]}]*"
_ALONE = r"(?<![\w'])"
_NOUN = r"(?:answer|option|candidate|response)"
_VERB = r"(?:is|was|would\s+be|[:=])"
_SAYS = rf"(?:answer|choice|winner|best|verdict|vote|letter|option|candidate|response)\s*{_VERB}"
_PICKS = r"i\s+(?:choose|pick|select|prefer|vote\s+for)"

# In this order; of each rule the last finding counts, since a judge may change its mind.
_RULES = (
    rf"(?i:\b(?:{_SAYS}|{_PICKS})\s*(?:{_NOUN}\s+)?)LETTER",  # "the best answer would be **B**"
    rf"{_ALONE}BARE\s+(?i:(?:is|was)\s+(?:\w+\s+)?(?:better|best)\b)",  # "A is the best"
    r"(?m:^)[ \t]*LETTER[ \t]*[.:)!]?[ \t]*(?m:$)",  # a line of its own
    r"(?m:^)[ \t]*BARE[.:)]",  # "B. Because"
    r"(?:\*\*|[(\[`\"])LETTER(?:\*\*|[)\]`\"])",
    rf"(?i:\b{_NOUN}\s+)LETTER",
)


def read_letter(text: str, labels: str) -> str | None:
    """Return which of *labels* the judge chose, or None where it is not clear."""
    text = text[:_READ]
    whole = text.strip().strip("*_`'\"()[]{}<>.:! ")
    if len(whole) == 1 and whole.upper() in labels:
        return whole.upper()
    for rule in _RULES:
        if found := _found(rule, text, labels):
            return found[-1]
    alone = set(_found(rf"{_ALONE}(?:LETTER|BARE(?=\s+(?:or|and)\b))", text, labels))
    return alone.pop() if len(alone) == 1 else None


def _found(rule: str, text: str, labels: str) -> list[str]:
    bare = f"{_OPEN}([{labels}]){_CLOSE}(?![\\w'-])"
    pattern = rule.replace("LETTER", bare + r"(?!(?<=[AI])\s+[a-z])").replace("BARE", bare)
    return [match[match.lastindex or 0] for match in re.finditer(pattern, text)]
