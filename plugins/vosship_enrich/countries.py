"""The country of an international number, for every calling code, from the table shipped with the package.

It does not strip or normalise numbers, and it does not make the table (`generate_countries` does).
"""

from __future__ import annotations

from importlib.resources import files

HEAD = 3
"""Digits looked at in one step: no calling code is longer (ITU-T E.164, section 6.2.1)."""

Branch = dict[str, object]


class Countries:
    """A lookup from the digits of a number to ISO 3166 alpha-2 (and libphonenumber's AC, TA and XK).

    Building one reads the shipped table and takes a few milliseconds.
    """

    def __init__(self) -> None:
        table: dict[str, str] = {}
        for line in files("vosship_enrich").joinpath("countries.txt").read_text(encoding="ascii").splitlines():
            country, *prefixes = line.split()
            if country != "#":
                table.update(dict.fromkeys(prefixes, country))
        self._heads: dict[str, str | Branch] = {}
        self._short = {prefix: country for prefix, country in table.items() if len(prefix) < HEAD}
        for prefix, country in sorted(table.items()):
            if len(prefix) < HEAD:
                for number in range(10 ** (HEAD - len(prefix))):
                    self._heads[f"{prefix}{number:0{HEAD - len(prefix)}}"] = country
            else:
                self._add(prefix, country)
        self.plain = {head: country for head, country in self._heads.items() if isinstance(country, str)}
        """The first three digits that tell a country by themselves, as nearly all do: a step instead of a call."""

    def of(self, number: str) -> str:
        """The country of a number given as digits; empty when none is known.

        Of a prefix, the country of every number that begins with it: no row of the table begins with another one.
        """
        found = self._heads.get(number[:HEAD])
        if found.__class__ is str:
            return found
        if found is None:
            return self._short.get(number, "") if len(number) < HEAD else ""
        country = ""
        branch: object = found
        for digit in number[HEAD:]:
            branch = branch.get(digit)  # type: ignore[attr-defined]  # a str ends the walk below
            if branch is None:
                return country
            if isinstance(branch, str):
                return branch
            country = branch.get("", country)  # type: ignore[attr-defined]  # nothing but branches is left
        return country

    def _add(self, prefix: str, country: str) -> None:
        head = self._heads
        path = [prefix[:HEAD], *prefix[HEAD:]]
        branch: Branch = head  # type: ignore[assignment]  # the heads are a branch whose steps are three digits
        for step in path[:-1]:
            below = branch.get(step)
            if not isinstance(below, dict):
                below = {} if below is None else {"": below}
                branch[step] = below
            branch = below
        last = branch.get(path[-1])
        if isinstance(last, dict):
            last[""] = country
        else:
            branch[path[-1]] = country
