"""Writes the reference from the program itself: its commands (also as man pages) and its configuration keys.

reference.py docs FOLDER    commands.md and configuration.md
reference.py man FOLDER     mountfs.1 and one page for each command
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from mountfs import __version__
from mountfs.cli.exit_codes import MEANINGS
from mountfs.cli.main import program
from mountfs.daemon.config.file import ConfigFile

GENERATED: Final = "Written by `scripts/reference`; a test compares it with the program.\n"

Named = tuple[str, click.Command]


def commands() -> Iterator[Named]:
    """Yield every command with its full name, in the order of the help."""
    yield from _below("mountfs", program)


def _below(name: str, group: click.Group) -> Iterator[Named]:
    context = click.Context(group, info_name=name)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if command.hidden:
            continue
        yield f"{name} {word}", command
        if isinstance(command, click.Group):
            yield from _below(f"{name} {word}", command)


def _usage(name: str, command: click.Command) -> str:
    parts = command.collect_usage_pieces(click.Context(command, info_name=name))
    return " ".join([name, *parts])


def _paragraphs(command: click.Command) -> list[tuple[str, bool]]:
    """Return the text of the help: each paragraph, and whether its lines are to stay as they are."""
    found = []
    for block in inspect.cleandoc(command.help or "").split("\n\n"):
        kept = block.startswith("\b\n")
        found.append((block.removeprefix("\b\n") if kept else " ".join(block.split()), kept))
    return [each for each in found if each[0]]


def _options(name: str, command: click.Command) -> list[tuple[str, str]]:
    context = click.Context(command, info_name=name)
    records = (each.get_help_record(context) for each in command.params if isinstance(each, click.Option))
    return [record for record in records if record is not None]


def commands_page() -> str:
    lines = ["# Commands\n", GENERATED]
    for name, command in commands():
        lines.append(f"## {name}\n")
        lines.append(f"    {_usage(name, command)}\n")
        for text, kept in _paragraphs(command):
            lines.append((re.sub("^", "    ", text, flags=re.MULTILINE) if kept else text) + "\n")
        options = [f"- `{option}`: {text}" for option, text in _options(name, command)]
        if options:
            lines.append("\n".join(options) + "\n")
    lines.append("## Exit codes\n")
    lines.append("| code | means |\n|---|---|")
    lines += [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    schema = ConfigFile.model_json_schema()
    rows = ["| key | takes | default | means |", "|---|---|---|---|"]
    for key, field in ConfigFile.model_fields.items():
        default = "" if field.default is None else f"`{_toml(field.default)}`"
        rows.append(
            f"| `{key}` | {_takes(schema['properties'][key], schema)} | {default} | {field.description} |"
        )
    return "\n".join(["# Configuration keys\n", GENERATED, *rows]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _takes(told: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in told:
        told = schema["$defs"][told["$ref"].rpartition("/")[2]]
    if "anyOf" in told:
        return " or ".join(_takes(each, schema) for each in told["anyOf"] if each.get("type") != "null")
    if "enum" in told:
        return ", ".join(f'`"{each}"`' for each in told["enum"])
    words = {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "`true`, `false`",
        "array": "a list",
        "object": "tables",
    }
    bounds = [f"from {told['minimum']:.0f}"] if "minimum" in told else []
    bounds += [f"to {told['maximum']:.0f}"] if "maximum" in told else []
    return " ".join([words[told["type"]], *bounds])


# Man pages.


def man_pages() -> dict[str, str]:
    """Return the pages by the name of their files."""
    all_commands = list(commands())
    pages = {"mountfs.1": _main_page(all_commands)}
    for name, command in all_commands:
        pages[f"{name.replace(' ', '-')}.1"] = _command_page(name, command)
    return pages


def _main_page(all_commands: list[Named]) -> str:
    lines = [
        *_head("mountfs", program.get_short_help_str(200), "mountfs COMMAND [ARGS]..."),
        ".SH COMMANDS",
    ]
    for name, command in all_commands:
        lines += [".TP", f".BR {_roff(name.replace(' ', '-'))} (1)", _roff(command.get_short_help_str(200))]
    lines.append(".SH EXIT STATUS")
    for code, meaning in MEANINGS.items():
        lines += [".TP", f".B {code.value}", _roff(meaning)]
    return "\n".join(lines) + "\n"


def _command_page(name: str, command: click.Command) -> str:
    lines = _head(name, command.get_short_help_str(200), _usage(name, command))
    lines.append(".SH DESCRIPTION")
    for text, kept in _paragraphs(command):
        lines += [".PP", ".nf", _roff(text), ".fi"] if kept else [".PP", _roff(text)]
    options = _options(name, command)
    lines += [".SH OPTIONS"] if options else []
    for option, text in options:
        lines += [".TP", f".B {_roff(option)}", _roff(text)]
    lines += [".SH SEE ALSO", ".BR mountfs (1)"]
    return "\n".join(lines) + "\n"


def _head(name: str, short: str, usage: str) -> list[str]:
    title = name.replace(" ", "-")
    return [
        f'.TH "{title.upper()}" "1" "" "mountfs {__version__}" "mountfs"',
        ".SH NAME",
        f"{_roff(title)} \\- {_roff(short)}",
        ".SH SYNOPSIS",
        f".B {_roff(usage)}",
    ]


def _roff(text: str) -> str:
    """Return the text so that nothing in it is taken for a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def main(kind: str, folder: str) -> None:
    pages = man_pages()
    if kind == "docs":
        pages = {"commands.md": commands_page(), "configuration.md": configuration_page()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (Path(folder) / name).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
