"""The parts that self-contained pages are made of: the frame, its style, tables and escaping.

It knows no report. A page asks no other host for anything: a content policy forbids the browser to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light}
body{font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;color:#1b1f24;background:#fff;
max-width:1060px;margin:2rem auto;padding:0 1.25rem}
h1{font-size:1.45rem;margin:0 0 .25rem}h2{font-size:1.05rem;margin:1.8rem 0 .5rem}
.quiet{color:#59636e}.verdict{border-left:6px solid;padding:.55rem .8rem;margin:1rem 0;font-size:1.08rem;background:#f6f8fa}
.equal{border-color:#009e73}.different{border-color:#d55e00}.cannot_judge{border-color:#e69f00}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.28rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}
th{font-weight:600;border-bottom:2px solid #8c959f}td.n,th.n{text-align:right;white-space:nowrap}
tr{break-inside:avoid}code,pre{font:12px/1.4 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f8fa;padding:.6rem .8rem;border:1px solid #d8dee4}
td{overflow-wrap:anywhere}td:first-child{overflow-wrap:break-word}
mark{background:#fff0c2;padding:0 .15em}svg{width:100%;height:auto}figure{margin:0}
.key{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em;vertical-align:-.05em}
@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}figure,pre{break-inside:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}@page{margin:14mm}}
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], figures: Sequence[int] = ()) -> str:
    """A table of texts; the columns in `figures` are set to the right."""
    numeric = frozenset(figures)
    head = "".join(_cell("th", at in numeric, text) for at, text in enumerate(titles))
    body = "\n".join("<tr>" + "".join(_cell("td", at in numeric, text) for at, text in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cell(tag: str, numeric: bool, text: str) -> str:
    kind = ' class="n"' if numeric else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
