"""Makes `countries.txt` from libphonenumber's metadata: `python -m vosship_enrich.generate_countries [--check]`.

It runs when the package is built, never in the agent: only this module needs `phonenumbers`.

A calling code of one country is one prefix. A shared code (+1, +7, +44, 212 ...) is split by the library's own rule: the
first region, in the library's order, that accepts the number has it; a region accepts what begins with its leading
digits or, where it has none, what matches one of its number patterns. One exception: behind a region with leading
digits a region without any would never get a number (Western Sahara's +212 5288 behind Morocco's 5 to 8), so there its
fixed line pattern goes first.
The patterns are read as regular languages, and the digits are walked until only
one region can still win: so every prefix is right for each number below it, and none is longer than it must be.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import phonenumbers

TARGET = Path(__file__).with_name("countries.txt")
LONGEST = 15
"""Digits of the longest international number (ITU-T E.164, section 6.1)."""

SHORTEST = {1: 11}
"""Digits below which a number cannot be reached from abroad, by calling code: the North American plan has ten national
digits throughout (ITU-T E.164.1 lists it as one plan); the metadata also knows Canada's seven-digit 310 numbers."""

NO_COUNTRY = "001"
"""What the library calls a code that belongs to no country (satellites, international freephone)."""

KINDS = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "pager", "uan", "voicemail",
)  # fmt: skip
"""The patterns that make a number valid, as in the library's `_number_type_helper`."""

DIGITS = "0123456789"

Language = tuple[Any, ...]
"""A regular language over digits: ("no"), ("end"), ("one", digits), ("cat", a, b), ("or", {a, b}), ("and", a, b), ("many", a)."""

NO: Language = ("no",)
END: Language = ("end",)


def cat(first: Language, then: Language) -> Language:
    """What begins with `first` and goes on with `then`."""
    if NO in (first, then):
        return NO
    if first == END:
        return then
    if then == END:
        return first
    if first[0] == "cat":  # to the right, so that equal languages look equal
        return cat(first[1], cat(first[2], then))
    return ("cat", first, then)


def either(*choices: Language) -> Language:
    """What is in any of them."""
    flat: set[Language] = set()
    for choice in choices:
        flat |= choice[1] if choice[0] == "or" else {choice}
    flat.discard(NO)
    if not flat:
        return NO
    return flat.pop() if len(flat) == 1 else ("or", frozenset(flat))


def both(first: Language, second: Language) -> Language:
    """What is in the one and in the other."""
    return NO if NO in (first, second) else ("and", first, second)


@functools.cache
def may_end(language: Language) -> bool:
    """Whether it holds the empty word."""
    match language:
        case ("end",) | ("many", _):
            return True
        case ("cat" | "and", first, then):
            return may_end(first) and may_end(then)
        case ("or", choices):
            return any(may_end(choice) for choice in choices)
    return False


@functools.cache
def after(language: Language, digit: str) -> Language:
    """What may follow `digit` (Brzozowski's derivative)."""
    match language:
        case ("one", digits):
            return END if digit in digits else NO
        case ("cat", first, then):
            rest = cat(after(first, digit), then)
            return either(rest, after(then, digit)) if may_end(first) else rest
        case ("or", choices):
            return either(*(after(choice, digit) for choice in choices))
        case ("and", first, second):
            return both(after(first, digit), after(second, digit))
        case ("many", inner):
            return cat(after(inner, digit), language)
    return NO


class Pattern:
    """Reads the part of regular expressions that the metadata uses. Raises ValueError at anything else."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> Language:
        """The whole pattern as a language."""
        language = self._choices()
        if self._at != len(self._text):
            raise ValueError(f"cannot read {self._text!r} at {self._at}")
        return language

    def _take(self, word: str) -> bool:
        if self._text.startswith(word, self._at):
            self._at += len(word)
            return True
        return False

    def _choices(self) -> Language:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return either(*found)

    def _sequence(self) -> Language:
        parts = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        language = END
        for part in reversed(parts):
            language = cat(part, language)
        return language

    def _atom(self) -> Language:
        if self._take("(?:") or self._take("("):
            language = self._choices()
            if not self._take(")"):
                raise ValueError(f"a group without its end in {self._text!r}")
            return language
        if self._take("\\d"):
            return ("one", DIGITS)
        if self._take("["):
            end = self._text.index("]", self._at)
            chosen, self._at = self._text[self._at : end], end + 1
            return ("one", _class(chosen))
        digit = self._text[self._at]
        if digit not in DIGITS:
            raise ValueError(f"cannot read {self._text!r} at {self._at}")
        self._at += 1
        return ("one", digit)

    def _repeated(self, language: Language) -> Language:
        if self._take("?"):
            return either(END, language)
        if self._take("*"):
            return ("many", language)
        if self._take("+"):
            return cat(language, ("many", language))
        if not self._take("{"):
            return language
        end = self._text.index("}", self._at)
        low, _, high = self._text[self._at : end].partition(",")
        self._at = end + 1
        repeated = END
        for _ in range(int(high or low) - int(low)):
            repeated = either(END, cat(language, repeated))
        for _ in range(int(low)):
            repeated = cat(language, repeated)
        return repeated


def _class(text: str) -> str:
    chosen = ""
    while text:
        if text[1:2] == "-":
            chosen += DIGITS[DIGITS.index(text[0]) : DIGITS.index(text[2]) + 1]
            text = text[3:]
        else:
            chosen += DIGITS[DIGITS.index(text[0])]
            text = text[1:]
    return chosen


def claims(regions: tuple[str, ...]) -> Iterator[tuple[str, Language]]:
    """The regions of one calling code with the national numbers each has, if nobody before it has them."""
    hidden = False
    later = []
    for region in regions:
        metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region)
        patterns = {kind: getattr(metadata, kind) for kind in KINDS}
        read = {kind: Pattern(p.national_number_pattern).read() for kind, p in patterns.items() if p and p.national_number_pattern}
        if metadata.leading_digits is not None:
            hidden = True
            leading = cat(Pattern(metadata.leading_digits).read(), ("many", ("one", DIGITS)))
            later.append((region, both(leading, Pattern(metadata.general_desc.national_number_pattern).read())))
            continue
        if hidden:
            yield region, read.get("fixed_line", NO)
        later.append((region, either(*read.values())))
    yield from later


State = tuple[Language, ...]


def here(state: State, regions: tuple[str, ...]) -> str:
    """The region that has the number ending here, if any."""
    return next((region for region, language in zip(regions, state, strict=True) if may_end(language)), "")


@functools.cache
def winners(state: State, regions: tuple[str, ...], length: int, shortest: int) -> frozenset[str]:
    """Every region that has some number beginning with the `length` digits so far."""
    found = {here(state, regions)} - {""} if length >= shortest else set()
    if length < LONGEST and any(language != NO for language in state):
        for digit in DIGITS:
            found |= winners(tuple(after(language, digit) for language in state), regions, length + 1, shortest)
    return frozenset(found)


def split(prefix: str, state: State, regions: tuple[str, ...], shortest: int = 0) -> Iterator[tuple[str, str]]:
    """The fewest prefixes, from `prefix` on, below each of which one region has all the numbers."""
    possible = winners(state, regions, len(prefix), shortest)
    if len(possible) == 1:
        yield prefix, next(iter(possible))
        return
    if not possible:
        return
    if len(prefix) >= shortest and (region := here(state, regions)):
        yield prefix, region
    for digit in DIGITS:
        yield from split(prefix + digit, tuple(after(language, digit) for language in state), regions, shortest)


def prefixes() -> Iterator[tuple[str, str]]:
    """Every prefix with its region."""
    for code, regions in sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()):
        if regions == (NO_COUNTRY,):
            continue
        if len(regions) == 1:
            yield str(code), regions[0]
        else:
            claimants, state = zip(*claims(regions), strict=True)
            yield from split(str(code), state, claimants, SHORTEST.get(code, 0))


def text() -> str:
    """The whole file: one line a country, its prefixes in order."""
    by_region: dict[str, list[str]] = {}
    for prefix, region in prefixes():
        by_region.setdefault(region, []).append(prefix)
    lines = [f"# from phonenumbers {phonenumbers.__version__} by python -m vosship_enrich.generate_countries"]
    lines += [f"{region} {' '.join(sorted(found))}" for region, found in sorted(by_region.items())]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file; with `--check` only say whether it is what would be written (1 when it is not).

    Made from another release of the metadata than the installed one it cannot be judged: said, and 0.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args(arguments).check
    if not check:
        TARGET.write_text(text(), encoding="ascii")
        return 0
    present = TARGET.read_text(encoding="ascii")
    if present.partition("\n")[0] != text().partition("\n")[0]:
        print(f"{TARGET.name}: made from another release than {phonenumbers.__version__}, not compared", file=sys.stderr)
        return 0
    if present == text():
        return 0
    print(f"{TARGET.name} is not fresh: run python -m vosship_enrich.generate_countries", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
