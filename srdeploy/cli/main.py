"""The ``srdeploy`` command: registration of commands, and errors as one sentence."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, Any

import typer

from srdeploy import __version__
from srdeploy.cli import (
    bench,
    bench_compare,
    bench_sparse,
    compare,
    deploy,
    doctor,
    explain,
    farm,
    fit,
    masks,
    networks,
    profile,
    prune,
    report,
    results,
    train,
    upscale,
    zoo,
)
from srdeploy.cli import run as line
from srdeploy.cli.help import CommandGroup, give
from srdeploy.cli.output import complain, say
from srdeploy.cli.typed import understood
from srdeploy.errors import SrdeployError
from srdeploy.util.terminal import plain

app = typer.Typer(
    name="srdeploy",
    cls=CommandGroup,
    help="Prune, compact, fine-tune, export and measure super-resolution networks.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The line: import, inspect, eval, prune, finetune, export, bench. "
    "Try it on the shipped network: `srdeploy inspect edsr-s-x2 --groups`.",
)


def _show_version(asked: bool) -> None:
    if asked:
        say(f"srdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Results and errors only; may follow the command, too."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="All columns and rows, what is read, written and done, libraries' warnings; may "
            "follow the command, too.",
        ),
    ] = False,
) -> None:
    from srdeploy.util.progress import set_quiet

    set_quiet(quiet)
    _set_verbose(verbose)


class _Plain(logging.Formatter):
    """A log's line, shown and not obeyed."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def _set_verbose(verbose: bool) -> None:
    import warnings

    from srdeploy.util.quiet import set_verbose

    set_verbose(verbose)
    logger = logging.getLogger("srdeploy")
    for handler in [h for h in logger.handlers if h.get_name() == "verbose"]:
        logger.removeHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    if verbose:
        handler = logging.StreamHandler()
        handler.set_name("verbose")
        handler.setFormatter(_Plain("%(relativeCreated)7d ms  %(message)s"))
        logger.addHandler(handler)
        warnings.simplefilter("default")
    elif not sys.warnoptions:  # what libraries warn of is for us to mend, not for users to read
        warnings.simplefilter("ignore")


networks.register(app)
prune.register(app)
train.register(app)
deploy.register(app)
bench.register(app)
bench_compare.register(app)
bench_sparse.register(app)
profile.register(app)
fit.register(app)
results.register(app)
report.register(app)
compare.register(app)
explain.register(app)
masks.register(app)
zoo.register(app)
line.register(app)
upscale.register(app)
farm.register(app)
doctor.register(app)
give(app)


_INTERRUPTED = (
    "Interrupted; what is finished stays and nothing is half written: repeat the command (`bench` "
    "goes on where it was if it has a --store)."
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; never returns.

    Exit codes: 0 done, 1 our fault, 2 the request's fault, 130 interrupted.
    """
    code = run(arguments)
    if (patience := sys.modules.get("srdeploy.runtime.patience")) is not None:
        patience.end_process(code)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    command: Any = typer.main.get_command(app)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        words = understood(command, arguments or ["--help"])
        result = command.main(words, prog_name="srdeploy", standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is told here, not by the interpreter's end
        if result == 130:  # typer's own answer to Ctrl-C, which says nothing
            return _fail(_INTERRUPTED, 130)
        return result if isinstance(result, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        return _fail(_INTERRUPTED, 130)
    except SrdeployError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except MemoryError:
        return _fail("Out of memory; use a smaller image, batch or patch.", 1)
    except OSError as error:
        return _fail(_failed_file(error), 1)
    except Exception as error:
        if (usage := getattr(error, "format_message", None)) is not None:  # typer's usage errors
            where = getattr(getattr(error, "ctx", None), "command_path", "srdeploy")
            return _fail(f"{usage().rstrip('.')}. See `{where} --help`.", 2)
        if os.environ.get("SRDEPLOY_DEBUG"):
            raise
        return _fail(
            f"Internal error ({type(error).__name__}: {_one_line(error)}); please report it with "
            "the traceback that SRDEPLOY_DEBUG=1 prints.",
            1,
        )


def _failed_file(error: OSError) -> str:
    import tempfile

    from srdeploy.util.files import is_full

    temporary = tempfile.gettempdir()
    if is_full(error, temporary):
        where = error.filename or f"the results or of temporary files ({temporary})"
        return f"There is no space left on the disk of {where}; free some and run again."
    return f"{error.strerror or error}" + (f": '{error.filename}'." if error.filename else ".")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _fail(sentence: str, code: int) -> int:
    rank = os.environ.get("RANK", "0")  # set by torchrun
    if rank == "0":
        complain(f"srdeploy: {' '.join(sentence.split())}")
    elif code != 130:  # all stop together, and the first one says so
        complain(f"srdeploy (process {rank}): {' '.join(sentence.split())}")
    return code


if __name__ == "__main__":
    main()
