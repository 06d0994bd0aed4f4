"""One module a command, each with a click command named `command`; options that several share are in `options`."""
