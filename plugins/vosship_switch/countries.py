"""The destinations of the simulated traffic: country prefixes, plausible national numbers, weights and rates.

It is no numbering plan: a few dozen of the routes wholesale carriers sell, enough to make country look-ups meaningful.
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """One destination: `leads` begin its national numbers, `digits` is their whole length after the prefix.

    `weight` is its share of the calls relative to the others; `rate_micros` a minute's price in millionths.
    """

    iso: str
    prefix: str
    leads: tuple[str, ...]
    digits: int
    weight: int
    rate_micros: int


COUNTRIES: tuple[Country, ...] = (
    # Prefixes: ITU-T E.164 assignments. Leads and lengths: mobile ranges of the national plans. Weights and rates: chosen,
    # with the weight where wholesale termination traffic is (South Asia, the Gulf, West Africa).
    Country("BD", "880", ("171", "181", "191", "161", "155", "131"), 10, 180, 9_200),
    Country("IN", "91", ("98", "97", "90", "88", "70", "63"), 10, 150, 7_100),
    Country("PK", "92", ("300", "321", "333", "345"), 10, 120, 21_000),
    Country("NP", "977", ("984", "980", "986"), 10, 50, 95_000),
    Country("LK", "94", ("71", "77", "76"), 9, 35, 88_000),
    Country("AF", "93", ("70", "77", "79"), 9, 30, 210_000),
    Country("AE", "971", ("50", "55", "52"), 9, 60, 170_000),
    Country("SA", "966", ("50", "53", "55"), 9, 60, 120_000),
    Country("QA", "974", ("33", "55", "66"), 8, 20, 190_000),
    Country("KW", "965", ("50", "66", "99"), 8, 20, 78_000),
    Country("OM", "968", ("91", "92", "99"), 8, 20, 160_000),
    Country("MY", "60", ("12", "13", "16", "19"), 9, 35, 14_000),
    Country("SG", "65", ("81", "91", "96"), 8, 20, 11_000),
    Country("ID", "62", ("811", "812", "852"), 10, 30, 29_000),
    Country("PH", "63", ("917", "918", "905"), 10, 35, 98_000),
    Country("VN", "84", ("90", "91", "98"), 9, 25, 39_000),
    Country("CN", "86", ("138", "139", "150", "186"), 11, 45, 12_000),
    Country("HK", "852", ("51", "62", "91"), 8, 15, 22_000),
    Country("NG", "234", ("803", "806", "701", "810"), 10, 55, 68_000),
    Country("GH", "233", ("24", "54", "20"), 9, 25, 180_000),
    Country("SN", "221", ("77", "78", "70"), 9, 15, 310_000),
    Country("ML", "223", ("66", "76"), 8, 10, 290_000),
    Country("MR", "222", ("22", "36", "46"), 8, 8, 520_000),
    Country("KE", "254", ("710", "722", "733"), 9, 20, 130_000),
    Country("ET", "251", ("91", "92"), 9, 15, 240_000),
    Country("EG", "20", ("100", "111", "122"), 10, 35, 110_000),
    Country("MA", "212", ("61", "66"), 9, 15, 370_000),
    Country("GB", "44", ("7700", "7911", "20"), 10, 30, 6_000),
    Country("DE", "49", ("151", "160", "171"), 10, 15, 12_000),
    Country("FR", "33", ("6", "7"), 9, 15, 9_000),
    Country("TR", "90", ("532", "542", "555"), 10, 20, 89_000),
    Country("US", "1", ("212", "310", "646", "702"), 10, 40, 3_000),
    Country("MX", "52", ("55", "81", "33"), 10, 15, 8_000),
    Country("CU", "53", ("5",), 8, 6, 730_000),
    Country("BR", "55", ("11", "21", "31"), 11, 15, 19_000),
    Country("RU", "7", ("903", "916", "926"), 10, 12, 58_000),
)
"""Weights add up to 1,500 or so; only their proportions matter."""
