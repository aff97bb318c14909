"""The command line, the same for every driver: ``main(definition)`` is a driver's whole ``__main__``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, TyperException

from dra_common.cli import (
    cdi,
    claims,
    cleanup,
    compatibility,
    config,
    devices,
    policies,
    run,
    simulate,
    slices,
    version,
)
from dra_common.definition import Definition
from dra_common.errors import DraError, SettingsError

__all__ = ["create", "main"]

_BAD_USAGE, _FAILED = 2, 1


def create(definition: Definition) -> typer.Typer:
    """Return the command line of one driver."""
    cli = typer.Typer(
        name=definition.program,
        help=definition.title,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in (run, devices, slices, config, claims, cdi, simulate, cleanup, version):
        module.register(cli, definition)
    return cli


def main(definition: Definition, arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 = it failed, 2 = bad flag, variable or setting.

    Whatever goes wrong is one line on standard error.
    """
    given, ignored = compatibility.strip_ignored(sys.argv[1:] if arguments is None else arguments)
    ignored += compatibility.ignored_variables(os.environ) if given[:1] == ["run"] else []
    given = compatibility.plain_switches(given, policies.switches(definition))
    if ignored:
        _say(definition, f"warning: {compatibility.warning(ignored)}")
    try:
        return create(definition)(given, prog_name=definition.program, standalone_mode=False) or 0
    except TyperException as error:
        return _fail(definition, _usage(error), _BAD_USAGE)
    except DraError as error:
        return _fail(definition, str(error), _BAD_USAGE if isinstance(error, SettingsError) else _FAILED)
    except (Abort, KeyboardInterrupt):
        return _fail(definition, "interrupted", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing more can be said to it, not even by the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OSError as error:
        # Standard output is a full disk, most likely; what the product itself opens it explains itself.
        return _fail(definition, f"cannot go on: {error.strerror or error}", _FAILED)


def _usage(error: TyperException) -> str:
    """Return what is wrong with the command line, and where to read what is allowed."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    return f"{message.rstrip('.')} (see {context.command_path} --help)" if message and context else message


def _fail(definition: Definition, message: str, code: int) -> int:
    if message:
        _say(definition, " ".join(message.split()))
    return code


def _say(definition: Definition, line: str) -> None:
    print(f"{definition.program}: {line}", file=sys.stderr)  # noqa: T201 - the command line speaks here
