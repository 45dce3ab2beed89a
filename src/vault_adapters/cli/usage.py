"""Describes errors in the arguments without repeating any argument.

A user may have put a secret into the wrong argument, and standard error often ends up in logs. So names of parameters
and commands in a message come from the program, never from the arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from cyclopts import App
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)


def explain(app: App, error: CycloptsError, arguments: list[str]) -> str:
    """Return one line that describes the error and names the help page."""
    command = _command(app, arguments)
    # The program and a group of commands take parameters only if they are commands themselves, as the group `audit` is.
    collection = () if command.default_command is None else command.assemble_argument_collection()
    names = [name for argument in collection for name in argument.names]
    path = _path(app, arguments)
    return f"{_problem(error, command, names, arguments[len(path) - 1 :])}; see `{' '.join(path)} --help`"


def _problem(error: CycloptsError, command: App, names: list[str], arguments: list[str]) -> str:
    match error:
        case UnknownCommandError():
            return "there is no such command" + _suggestion(arguments[:1], _commands(command))
        case UnknownOptionError():
            options = [name for name in names if name.startswith("--")]
            unknown = [text.partition("=")[0] for text in arguments if text.startswith("-")]
            return "there is no such option" + _suggestion([text for text in unknown if text not in names], options)
        case UnusedCliTokensError():
            return "too many arguments (a secret is read from standard input, never from an argument)"
        case MissingArgumentError():
            name = _name(error)
            return f"{name} needs a value" if name.startswith("-") else f"{name} is missing"
        case RepeatArgumentError():
            return f"{_name(error)} was given more than once"
        case CoercionError():
            return f"{_name(error)} {_rule(error)}"
        case _:
            return "the arguments cannot be read"


def _name(error: CycloptsError) -> str:
    return error.argument.names[0] if error.argument is not None and error.argument.names else "an argument"


def _rule(error: CycloptsError) -> str:
    hint: Any = None if error.argument is None else error.argument.hint
    kinds = {hint, *get_args(hint)}
    if int in kinds:
        return "must be a whole number"
    if bool in kinds:
        return "takes no value"
    choices = [choice for choice in get_args(hint) if isinstance(choice, str)] or [
        choice for kind in kinds for choice in get_args(kind) if isinstance(choice, str)
    ]
    return f"must be one of {', '.join(choices)}" if choices else "cannot be read"


def _suggestion(typed: list[str], known: Iterable[str]) -> str:
    close = difflib.get_close_matches(typed[0], list(known), n=1) if typed else []
    return f" (did you mean {close[0]}?)" if close else ""


def _commands(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _path(app: App, arguments: list[str]) -> list[str]:
    path, here = [app.name[0]], app
    for text in arguments:
        if text not in _commands(here):
            break
        here = here[text]
        path.append(text)
    return path


def _command(app: App, arguments: list[str]) -> App:
    for name in _path(app, arguments)[1:]:
        app = app[name]
    return app
