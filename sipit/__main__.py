"""Where the command begins, as `python -m sipit` too: Ctrl-C while all is imported is answered as any later one."""

import sys


def main() -> None:
    """The entry point: the command line, or status 130 where it is interrupted before it can answer that itself."""
    try:
        from sipit.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.stderr.write("sipit: interrupted.\n")
        exec("")  # as at the end of the command line
        sys.exit(130)


if __name__ == "__main__":
    main()
