"""A configuration made into unopened plugin instances: what every command starts from.

It opens nothing, runs nothing and moves no position: that is `daemon`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from vosship import config as configuration
from vosship.config import Config, InputCommon, OutputCommon, PluginConfig, split
from vosship.errors import ConfigError
from vosship.forecast import check_parameters
from vosship.plugin import Conceals, Context, Kind, Loads, Notice, Notices, Searches, load, make, nearest
from vosship.schema import Schema
from vosship.telemetry import Telemetry
from vosship.window import Guard

DEFAULT_STORE = "store"
"""Name of the output whose files lie in `<data_dir>/store/`; others get `store-<name>/`."""


class InputEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One configured input with the options common to all inputs resolved."""

    name: str
    plugin: Any
    switch: str
    timezone: str
    channel: str
    keep_original: bool


class OutputEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One configured output with the options common to all outputs."""

    name: str
    type: str
    plugin: Any
    common: OutputCommon


class Application:
    """Every configured plugin, built but not opened, and the schema they share.

    Raises ConfigError for anything that keeps the configuration from being used.
    """

    def __init__(self, config: Config, now: Callable[[], float] = time.time) -> None:
        self.config = config
        self.telemetry = Telemetry()
        self._now = now
        Guard(config)  # a limit that cannot be understood stops the start, not the first search
        check_parameters(config.switch_parameters)
        for item in config.detectors:
            self._class("detector", item)
        declared = [(item.path, self._declared(item)) for item in config.processors]
        declared += [(item.path, self._class("input", item).fields) for item in config.inputs]
        self.schema = Schema(declared)
        self.inputs: dict[str, InputEntry] = {item.name: self._input(item) for item in config.inputs}
        self.outputs: dict[str, OutputEntry] = {item.name: self._output(item) for item in config.outputs}
        self._refuse_mixed_families()
        # An option that is wrong beside the others stops every command; what was built to find out is used first.
        self._built = {entry.name: self._chain(entry) for entry in self.inputs.values()}
        self._first = self._built[next(iter(self.inputs))]
        self._refuse_concealed_too_early()

    @classmethod
    def load(cls, path: str | None) -> Application:
        """Read the configuration named by `-c`, the environment or the search path."""
        file = configuration.find(path)
        try:
            return cls(configuration.load(file))
        except ConfigError as error:
            error.file = error.file or str(file)
            raise

    def processors(self, entry: InputEntry) -> list[Any]:
        """A loaded chain of the configured processors for one pipeline of that input, never handed out twice.

        Raises ConfigError for a table that cannot be used.
        """
        chain = self._built.pop(entry.name, None) or self._chain(entry)
        for item, plugin in zip(self.config.processors, chain, strict=True):
            if isinstance(plugin, Loads):
                try:
                    plugin.load()
                except ConfigError as error:
                    error.path = ".".join(part for part in (item.path, error.path) if part)
                    error.file = error.file or self.config.file
                    raise
        return chain

    def examined(self) -> list[tuple[str, Any]]:
        """One chain of the configured processors, not loaded, each with its part of the configuration: not for records."""
        return [(f"processors.{item.name}", plugin) for item, plugin in zip(self.config.processors, self._first, strict=True)]

    def concealed(self, line: bytes) -> bytes:
        """The line as it may be shown: every configured privacy rule applied. The same for every input."""
        for plugin in self._first:
            if isinstance(plugin, Conceals):
                line = plugin.conceal(line)
        return line

    def notices(self) -> list[tuple[str, Notice]]:
        """What the processors noticed, each with its part of the configuration; no agent need be running."""
        return [(part, notice) for part, plugin in self.examined() if isinstance(plugin, Notices) for notice in plugin.notices()]

    def _chain(self, entry: InputEntry) -> list[Any]:
        return [make("processor", item.type, item.options, self.context(item, entry), item.path) for item in self.config.processors]

    def pipelines(self) -> Iterator[tuple[str, InputEntry, OutputEntry]]:
        """Each (input, output) pair with its name `input>output`."""
        for output in self.outputs.values():
            for entry in self.inputs.values():
                if output.common.inputs is None or entry.name in output.common.inputs:
                    yield f"{entry.name}>{output.name}", entry, output

    def searchable(self, name: str | None) -> tuple[str, Searches]:
        """The output to search: `name`, or the only one that can be searched. Raises ConfigError when that is unclear."""
        able = {key: entry.plugin for key, entry in self.outputs.items() if isinstance(entry.plugin, Searches)}
        if name is not None:
            if name not in able:
                raise ConfigError(f"no searchable output {name!r} is configured", path="outputs", hint=nearest(name, able))
            return name, able[name]
        if len(able) != 1:
            what = "several outputs can be searched" if able else "no configured output can be searched"
            raise ConfigError(
                what, path="outputs", hint=f"--output NAME, one of: {', '.join(able)}" if able else "add `type: sqlite`"
            )
        return next(iter(able.items()))

    def context(self, item: PluginConfig, entry: InputEntry | None = None) -> Context:
        """What the plugin configured as `item` is told of the world; `entry` is the input a processor works for."""
        return Context(
            name=item.name,
            switch=entry.switch if entry else self.config.switch,
            timezone=entry.timezone if entry else self.config.timezone,
            channel=entry.channel if entry else "file",
            schema=getattr(self, "schema", None) or Schema(()),
            log=logging.getLogger(f"vosship.{item.type}"),
            metrics=self.telemetry,
            data_dir=self._data_dir(item),
            base_dir=self.config.base_dir,
            now=self._now,
            switch_parameters=self.config.switch_parameters,
        )

    @staticmethod
    def _class(kind: Kind, item: PluginConfig) -> Any:
        try:
            return load(kind, item.type)
        except ConfigError as error:
            error.path = item.path
            raise

    def _declared(self, item: PluginConfig) -> Any:
        # A processor may declare fields that depend on its options (an operator's columns), so an instance is asked.
        return make("processor", item.type, item.options, self.context(item), item.path).fields

    def _data_dir(self, item: PluginConfig) -> Path:
        section = item.path.split(".", 1)[0]
        if section == "outputs":
            return self.config.data_dir / (DEFAULT_STORE if item.name == DEFAULT_STORE else f"{DEFAULT_STORE}-{item.name}")
        if section == "inputs":
            return self.config.data_dir / "spool" / item.name
        return self.config.data_dir / item.name

    def _input(self, item: PluginConfig) -> InputEntry:
        common, options = split(item.options, InputCommon, item.path)
        cls = self._class("input", item)
        entry = InputEntry(
            name=item.name,
            plugin=None,
            switch=common.switch or self.config.switch,
            timezone=common.timezone or self.config.timezone,
            channel=common.channel or cls.channel,
            keep_original=common.keep_original,
        )
        configuration.check_timezone(entry.timezone, f"{item.path}.timezone")
        return msgspec.structs.replace(entry, plugin=make("input", item.type, options, self.context(item, entry), item.path))

    def _output(self, item: PluginConfig) -> OutputEntry:
        common, options = split(item.options, OutputCommon, item.path)
        for name in common.inputs or ():
            if name not in self.inputs:
                raise ConfigError(f"there is no input {name!r}", path=f"{item.path}.inputs", hint=nearest(name, self.inputs))
        return OutputEntry(
            name=item.name, type=item.type, common=common, plugin=make("output", item.type, options, self.context(item), item.path)
        )

    def _refuse_concealed_too_early(self) -> None:
        """What is set after the rules were applied would leave the machine as it is."""
        for place, plugin in enumerate(self._first):
            conceals = getattr(plugin, "conceals", ())
            for item, later in zip(self.config.processors[place + 1 :], self._first[place + 1 :], strict=True):
                for field in later.fields:
                    if field.name in conceals:
                        raise ConfigError(
                            f"it has a rule for {field.name!r}, which {item.type!r} sets after it",
                            path=self.config.processors[place].path,
                            hint=f"put it behind {item.type!r}",
                        )

    def _refuse_mixed_families(self) -> None:
        """Two file families of one switch hold the same calls: in one index every call would stand twice."""
        seen: dict[tuple[str, str, str], tuple[str, str]] = {}
        for _, entry, output in self.pipelines():
            family = getattr(entry.plugin, "family", None)
            if family is None:
                continue
            other, other_name = seen.setdefault((output.name, entry.switch, entry.channel), (family, entry.name))
            if other != family:
                raise ConfigError(
                    f"{other_name!r} reads {other} files and {entry.name!r} {family} files of one switch: "
                    f"the same calls twice in {output.name!r}",
                    path=f"inputs.{entry.name}",
                    hint="give one of them its own `channel`, for instance channel: csv, or each output its `inputs`",
                )
