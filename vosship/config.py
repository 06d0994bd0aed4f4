"""YAML into typed configuration, `${ENV}` filled in, and the one sentence a bad file gets.

It does not load plugins: their options stay raw here and are converted by `plugin.make`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import yaml
from msgspec import Meta

from vosship.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

SEARCH_PATH = (Path("vosship.yaml"), Path("/etc/vosship/vosship.yaml"))
"""Where a configuration is looked for when neither `-c` nor `$VOSSHIP_CONFIG` names one."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_AT = re.compile(r" - at `\$([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_NO_CHOICE = re.compile(r"Invalid enum value (.*)", re.DOTALL)


class PluginConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One configured plugin: its type and its options as written."""

    name: str
    type: str
    options: dict[str, Any]
    path: str
    """Where in the file it stands, for messages (`outputs.search`)."""


class InputCommon(msgspec.Struct, frozen=True, kw_only=True):
    """Options every input takes beside its plugin's own."""

    switch: Annotated[str, Meta(description="overrides the file's `switch` for this input")] = ""
    timezone: Annotated[str, Meta(description="overrides the file's `timezone` for this input (IANA name)")] = ""
    channel: Annotated[str, Meta(description="overrides the plugin's channel (`file`, `forward`)")] = ""
    keep_original: Annotated[bool, Meta(description="keep the line itself in `event.original`")] = False


class OutputCommon(msgspec.Struct, frozen=True, kw_only=True):
    """Options every output takes beside its plugin's own."""

    inputs: Annotated[list[str] | None, Meta(description="take only these inputs (default: all)")] = None
    batch_records: Annotated[int, Meta(description="send when this many lines are gathered", ge=1, le=50_000)] = 2000
    batch_bytes: Annotated[int, Meta(description="send when lines and bodies come to this much", ge=1024)] = 8 << 20
    batch_age_s: Annotated[float, Meta(description="send what is gathered after this long", gt=0)] = 1.0
    in_flight: Annotated[int, Meta(description="batches travelling at once (2 measured as the knee)", ge=1, le=16)] = 2
    give_up_s: Annotated[float, Meta(description="`run --once` fails after the output was unreachable this long", gt=0)] = 300.0
    retry_max_s: Annotated[float, Meta(description="longest wait between two attempts", gt=0)] = 30.0
    max_dead: Annotated[int, Meta(description="halt rather than set aside more dead lines than this", ge=1)] = 100_000
    max_dead_bytes: Annotated[int, Meta(description="likewise, in bytes of the lines", ge=1024)] = 256 << 20


Hour = Annotated[int, Meta(ge=0, le=23)]


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Guard rails of the searching commands; `switch_parameters` fill in what is not given here."""

    max_days: Annotated[int, Meta(description="longest window of one `search`, inclusive days", ge=1)] | None = None
    deny_hours: Annotated[list[Annotated[int, Meta(ge=0, le=23)]], Meta(description="whole hours of the switch's clock")] | None = (
        None
    )
    page_size: Annotated[int, Meta(description="documents asked of a store at a time", ge=1, le=200_000)] = 10_000
    max_results: Annotated[int, Meta(description="more than this is an error, never a silent cut", ge=1)] | None = None


class MetricsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Prometheus listener."""

    listen: Annotated[str, Meta(description="HOST:PORT for /metrics, /healthz and /readyz; empty: none")] = ""


class _Loader(yaml.SafeLoader):
    """YAML as PyYAML reads it safely, but a key written twice is an error and not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the parent does; keys that a merge (`<<`) brings may be overridden."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands here twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    switch: Annotated[str, Meta(min_length=1)]
    timezone: str
    data_dir: str = "/var/lib/vosship"
    switch_parameters: dict[str, str | int | float | bool] = {}
    inputs: dict[str, dict[str, Any]]
    processors: list[str | dict[str, Any]] = msgspec.field(default_factory=lambda: ["cdr", "codes"])
    detectors: list[str | dict[str, Any]] = []
    outputs: dict[str, dict[str, Any]] = msgspec.field(default_factory=lambda: {"store": {"type": "sqlite"}})
    search: SearchOptions = SearchOptions()
    metrics: MetricsOptions = MetricsOptions()
    drain_s: Annotated[float, Meta(gt=0)] = 20.0
    queue_bytes: Annotated[int, Meta(ge=65536)] = 4 << 20


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration, every plugin's options still raw.

    `drain_s`: how long after SIGTERM what is on the way may take to settle. `queue_bytes` bounds what is read ahead
    a pipeline.
    """

    file: str
    base_dir: Path
    switch: str
    timezone: str
    data_dir: Path
    switch_parameters: dict[str, str | int]
    inputs: tuple[PluginConfig, ...]
    processors: tuple[PluginConfig, ...]
    detectors: tuple[PluginConfig, ...]
    outputs: tuple[PluginConfig, ...]
    search: SearchOptions
    metrics: MetricsOptions
    drain_s: float
    queue_bytes: int


def find(named: str | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The configuration file to use: `named`, else `$VOSSHIP_CONFIG`, else the first of SEARCH_PATH that exists."""
    chosen = named or environ.get("VOSSHIP_CONFIG")
    if chosen:
        return Path(chosen)
    for path in SEARCH_PATH:
        if path.exists():
            return path
    looked = " nor ".join(str(path) for path in SEARCH_PATH)
    raise ConfigError(f"no configuration: neither {looked} exists", hint="`vosship init` writes one; -c FILE names one")


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check one configuration file. Raises ConfigError with file, path and one sentence."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read the configuration: {reason}", file=str(path), hint="`vosship init` writes one") from error
    try:
        return parse(text, file=str(path), base_dir=path.resolve().parent, environ=environ)
    except ConfigError as error:
        error.file = error.file or str(path)
        raise


def parse(text: str, *, file: str = "", base_dir: Path = Path(), environ: Mapping[str, str] = os.environ) -> Config:
    """Like `load`, from the text itself."""
    try:
        raw = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"not valid YAML: {getattr(error, 'problem', None) or error}", path=where, file=file) from error
    except ValueError as error:  # an impossible date or a control character, which PyYAML lets through as ValueError
        raise ConfigError(f"not valid YAML: {error}", file=file) from error
    if not isinstance(raw, dict):
        raise ConfigError("the file holds no mapping of options", file=file, hint="`vosship init` writes a commented one")
    raw = _fill(raw, environ, "")
    top = convert(raw, _File, "")
    check_timezone(top.timezone, "timezone")
    _check_listen(top.metrics.listen)
    if not top.inputs:
        raise ConfigError("no input is configured", path="inputs", hint="for instance: inputs: {cdr: {type: files, paths: [...]}}")
    if not top.outputs:
        raise ConfigError("no output is configured", path="outputs", hint="leave `outputs` out for the embedded store")
    return Config(
        file=file,
        base_dir=base_dir,
        switch=top.switch,
        timezone=top.timezone,
        data_dir=base_dir / top.data_dir,
        switch_parameters={key: _parameter(value) for key, value in top.switch_parameters.items()},
        inputs=tuple(_named("inputs", top.inputs)),
        processors=tuple(_listed("processors", top.processors)),
        detectors=tuple(_listed("detectors", top.detectors)),
        outputs=tuple(_named("outputs", top.outputs)),
        search=top.search,
        metrics=top.metrics,
        drain_s=top.drain_s,
        queue_bytes=top.queue_bytes,
    )


def convert(raw: Any, kind: type[T], path: str) -> T:
    """Convert plain data into a typed struct. Raises ConfigError whose path is below `path`."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise _sentence(str(error), kind, path) from error


def split(raw: Mapping[str, Any], common: type[T], path: str) -> tuple[T, dict[str, Any]]:
    """Part the options every input or output takes (`common`) from its plugin's own."""
    names = {field.encode_name for field in msgspec.structs.fields(common)}
    mine = {key: value for key, value in raw.items() if key in names}
    return convert(mine, common, path), {key: value for key, value in raw.items() if key not in names}


def check_timezone(name: str, path: str) -> ZoneInfo:
    """The zone of that IANA name. Raises ConfigError when there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigError(f"{name!r} is no time zone", path=path, hint="an IANA name such as Asia/Dhaka or UTC") from error


def _check_listen(listen: str) -> None:
    host, colon, port = listen.rpartition(":")
    if listen and not (colon and port.isascii() and port.isdigit() and int(port) <= 65535 and " " not in host):
        raise ConfigError(f"{listen!r} is no address to listen on", path="metrics.listen", hint="HOST:PORT, such as 127.0.0.1:9273")


def _sentence(text: str, kind: type[msgspec.Struct], path: str) -> ConfigError:
    at = _AT.search(text)
    below = at.group(1).replace("[...]", "").lstrip(".") if at else ""
    where = ".".join(part for part in (path, below) if part)
    text = _AT.sub("", text)
    unknown, missing, no_choice = _UNKNOWN.search(text), _MISSING.search(text), _NO_CHOICE.search(text)
    if unknown:
        known = [field.encode_name for node in _at_path(kind, below) for field in getattr(node, "fields", ())]
        close = get_close_matches(unknown.group(1), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}" if known else ""
        return ConfigError(f"unknown option {unknown.group(1)!r}", path=where, hint=hint)
    if missing:
        return ConfigError(f"the option {missing.group(1)!r} is missing", path=where)
    if no_choice:
        words = [str(word) for node in _at_path(kind, below) for word in getattr(node, "values", ())]
        return ConfigError(
            f"{no_choice.group(1)} is not known here", path=where, hint=f"one of: {', '.join(words)}" if words else ""
        )
    return ConfigError(text[:1].lower() + text[1:], path=where)


def _at_path(kind: type[msgspec.Struct], below: str) -> list[msgspec.inspect.Type]:
    """What may stand at that place of a struct; nothing where the path leads through a key of the operator's own."""
    nodes = _alternatives(msgspec.inspect.type_info(kind))
    for part in filter(None, re.split(r"\.|(?=\[)", below)):
        inner: list[msgspec.inspect.Type] = []
        for node in nodes:
            if part.startswith("["):
                inner += _alternatives(getattr(node, "item_type", None))
            else:
                inner += [each for f in getattr(node, "fields", ()) if f.encode_name == part for each in _alternatives(f.type)]
                inner += _alternatives(getattr(node, "value_type", None)) if isinstance(node, msgspec.inspect.DictType) else []
        nodes = inner
    return nodes


def _alternatives(node: msgspec.inspect.Type | None) -> list[msgspec.inspect.Type]:
    if node is None:
        return []
    if isinstance(node, msgspec.inspect.Metadata):
        return _alternatives(node.type)
    return [each for one in node.types for each in _alternatives(one)] if isinstance(node, msgspec.inspect.UnionType) else [node]


def _fill(value: Any, environ: Mapping[str, str], path: str) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"the key {key!r} is not a word", path=path, hint="put it in quotes")
        return {key: _fill(item, environ, f"{path}.{key}" if path else key) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, str):
        return _VARIABLE.sub(_substitute(environ, path), value)
    return value


def _substitute(environ: Mapping[str, str], path: str) -> Callable[[re.Match[str]], str]:
    def one(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        value = environ.get(name, default)
        if value is None:
            raise ConfigError(
                f"the environment variable {name} is not set", path=path, hint=f"export {name}=… or use ${{{name}:-default}}"
            )
        return value

    return one


def _parameter(value: str | int | float | bool) -> str | int:
    """A switch parameter as the switch shows it: YAML reads an unquoted On or Off as a truth value."""
    if isinstance(value, bool):
        return "On" if value else "Off"
    return value if isinstance(value, (str, int)) else str(value)


def _named(section: str, raw: Mapping[str, dict[str, Any]]) -> list[PluginConfig]:
    found = []
    for name, options in raw.items():
        path = f"{section}.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ConfigError(f"{name!r} cannot be a name", path=section, hint="letters, digits, '_', '-' and '.'")
        found.append(PluginConfig(name=name, path=path, **_typed(options, path)))
    return found


def _listed(section: str, raw: list[str | dict[str, Any]]) -> list[PluginConfig]:
    found: list[PluginConfig] = []
    for number, item in enumerate(raw):
        path = f"{section}[{number}]"
        typed = _typed({"type": item} if isinstance(item, str) else item, path)
        found.append(PluginConfig(name=typed["type"], path=path, **typed))
    return found


def _typed(options: Mapping[str, Any], path: str) -> dict[str, Any]:
    kind = options.get("type")
    if not isinstance(kind, str):
        raise ConfigError("the option 'type' is missing", path=path, hint="`vosship plugins` lists the types there are")
    return {"type": kind, "options": {key: value for key, value in options.items() if key != "type"}}
