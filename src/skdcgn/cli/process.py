"""The process of the command line: its signals, its standard streams and its exit status.

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | doctor: something is broken; or the standard output, which alone holds the results, cannot be written |
| 2 | a mistake that the user can correct: one line says which |
| 128 + n | interrupted by signal n: the same command continues |
"""

import errno
import os
import signal
import sys
from collections.abc import Sequence

from skdcgn.base.ending import Interrupted, interruptible, run_at_success
from skdcgn.base.errors import UserError, as_line
from skdcgn.cli.streams import Sink, lasting_streams, limit_width

KEEP = ("run", "study", "reproduce")  # verbs that keep their results in a folder even without --out

HELP = {"--help", "-h", "--help-all", "--version"}


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 2, a signal in one line."""
    tokens = sys.argv[1:]
    limit_width()
    os.environ["MPLBACKEND"] = "agg"  # figures are files; a name that matplotlib does not have stops its import
    with lasting_streams() as output:
        try:
            with interruptible():
                status = _run(tokens)
                sys.stdout.flush()
                status = status or _unwritten(tokens, output)
                if status == 0:
                    run_at_success()
        except KeyboardInterrupt as interrupt:
            print("interrupted: run the same command again to continue", file=sys.stderr)
            status = 128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT)
    sys.exit(status)


def _run(tokens: Sequence[str]) -> int:
    """Run the verb; return the exit status."""
    if not _folder_exists() and not HELP & set(tokens):
        return _fail("the current folder was removed: go to another one and run the command again")
    from cyclopts import CycloptsError

    from skdcgn.cli.app import app

    try:
        status = app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(f"{error} See {' '.join((app.name[0], *(error.command_chain or ())))} --help.")
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(_os_error(error))
    return status or 0


def _folder_exists() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _fail(message: str) -> int:
    print("error: " + as_line(message), file=sys.stderr)
    return 2


def _os_error(error: OSError) -> str:
    """Return the line of an error that no stage has named: of another package, or of reading."""
    from skdcgn.base.files import MENDS

    reading = "check the path, its permissions and the connection"
    mend = reading if error.errno == errno.ENOENT else MENDS.get(error.errno or 0, reading)
    return ": ".join(str(part) for part in (error.filename, error.strerror or error, mend) if part)


def _unwritten(tokens: Sequence[str], output: Sink) -> int:
    """Return the status of a verb that has ended although its standard output was not written to the end."""
    if output.error is None:
        return 0
    verb = next((token for token in tokens if not token.startswith("-")), "")
    kept = verb in KEEP or any(token.split("=")[0] == "--out" for token in tokens)
    if output.error.errno != errno.EPIPE:  # a program that reads the output, as head, may end before
        level = "warning: the results are written, but" if kept else "error:"
        print(f"{level} the standard output cannot be written ({output.error.strerror})", file=sys.stderr)
    return 0 if kept else 1
