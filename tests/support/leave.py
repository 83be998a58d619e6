#!/usr/bin/env python3
"""Ends a Python program with its exit code as soon as its work is done.

    leave.py PROGRAM [ARGUMENT...]

Threads of pyarrow and DuckDB may still be on their way back into Python while the interpreter goes down. Then, now and
then, the process aborts ("terminate called without an active exception", apache/arrow#34314), after everything has been
read and printed, which says nothing of what was read. So what has been printed is flushed, and the interpreter does not go
down. Exceptions, exit codes and messages of `sys.exit` are what they would be without this; `atexit` is not run.
"""

import os
import runpy
import sys
import traceback


def leave(main):
    """Runs `main`, whose answer is an exit code or None, and ends the process."""
    try:
        code = main()
    except SystemExit as asked:
        code = asked.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def program():
    """The program that the command line names, with the rest as its own."""
    del sys.argv[0]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    leave(program)
