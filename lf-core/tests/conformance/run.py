#!/usr/bin/env python3
"""Runs the cases of the Autobahn WebSocket test suite against an echo server, by means of kosoku from PyPI.

    run.py ws://127.0.0.1:9001              the whole suite, 517 cases
    run.py ws://127.0.0.1:9001 '1.*' 7.1.5  some of it
    run.py ./server                         a program that serves at the address which it gets as its argument
    run.py --prepare                        only installs what is needed

The server must send every message back as it came, of up to 16 MiB (the cases 9.*), in up to 65,536 fragments.

Fails unless every case is OK. INFORMATIONAL, which judges nothing, passes; NON-STRICT does not. UNIMPLEMENTED, which is
what the cases of compression (12.* and 13.*) say of a server without it, passes if the server has not agreed to compress.

Ends with 0 if all passed, 1 if not, and 77 if the suite cannot be installed.
"""

import argparse
import asyncio
import collections
import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import venv

KOSOKU = "kosoku==0.1.0"
ROOT = pathlib.Path(__file__).resolve().parents[3]
HOME = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute() / "conformance"
PYTHON = HOME / "venv" / "bin" / "python"
# What make and other programs that run tests take for "skipped".
CANNOT_RUN = 77
# Seconds that a program has until it serves.
START_S = 20
# Failed cases that are told of at length; the others are named.
EXPLAINED_MAX = 20
CATEGORIES = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "9": "limits, performance",
    "10": "automatic fragmentation",
    "12": "compression, defaults",
    "13": "compression, parameters",
}


class NoVerdictError(Exception):
    """The cases could not be run to their end."""


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", nargs="?", help="ws://HOST:PORT/PATH, or a program")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a case or a pattern such as '6.*' (default: all)")
    parser.add_argument("-x", "--exclude", action="append", default=[], metavar="CASE", help="leave these out")
    parser.add_argument("-p", "--parallel", type=int, default=4, metavar="N", help="cases at a time (default: 4)")
    parser.add_argument("-t", "--within", type=float, default=300, metavar="S", help="seconds for all (default: 300)")
    parser.add_argument("-o", "--report", metavar="DIR", help="write the suite's pages about each case there")
    parser.add_argument("--prepare", action="store_true", help="install the suite, and no more")
    args = parser.parse_intermixed_args()
    if not args.server and not args.prepare:
        parser.error("which server?")
    return args


def inside_venv():
    """Goes on in an environment that has kosoku, which is made the first time."""
    if pathlib.Path(sys.prefix) == PYTHON.parents[1]:
        return
    try:
        if subprocess.run([PYTHON, "-c", "import kosoku"], capture_output=True).returncode != 0:
            raise FileNotFoundError
    except FileNotFoundError:
        print(f"installing {KOSOKU} into {PYTHON.parents[1]}", file=sys.stderr)
        try:
            venv.create(PYTHON.parents[1], clear=True, with_pip=True)
            quick = ["--quiet", "--disable-pip-version-check", "--retries=1"]
            subprocess.run([PYTHON, "-m", "pip", "install", *quick, KOSOKU], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"cannot set up {KOSOKU}: {error}\nneeded: python3-venv, and PyPI or a mirror of it", file=sys.stderr)
            sys.exit(CANNOT_RUN)
    os.execv(PYTHON, [PYTHON, *sys.argv])


def leave(code):
    """Ends the process at once: threads of kosoku 0.1.0 that are still running abort an interpreter that shuts down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def serving(server):
    """The URL of the server, which is started and ended here if it is a program."""
    if server.startswith("ws://"):
        yield server
        return
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
    program = subprocess.Popen([server, f"{host}:{port}"])
    try:
        until_serves(program, host, port)
        yield f"ws://{host}:{port}"
    finally:
        program.terminate()
        program.wait()


def until_serves(program, host, port):
    deadline = time.monotonic() + START_S
    while program.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((host, port)).close()
            return
        time.sleep(0.01)
    raise NoVerdictError(f"{program.args[0]} does not serve at {host}:{port}")


def run(args, url):
    import kosoku

    async def all_cases():
        done = kosoku.run_fuzzingclient(url, args.cases or None, args.exclude or None, concurrency=args.parallel)
        return await asyncio.wait_for(done, args.within)

    try:
        return asyncio.run(all_cases())
    except kosoku.FailureError as failure:
        return failure.results
    except TimeoutError:
        late = f"not done within {args.within:g} s; a case waits for the server, or --within is too short"
        raise NoVerdictError(late) from None
    except ValueError as error:
        raise NoVerdictError(error) from None


def passes(result):
    behavior, close = result.behavior.value, result.behavior_close.value
    declined = result.case_id.startswith(("12.", "13.")) and "permessage-deflate" not in result.http_response.lower()
    ok = behavior in ("OK", "INFORMATIONAL") or (behavior == "UNIMPLEMENTED" and declined)
    return ok and close in ("OK", "INFORMATIONAL")


def verdict(result):
    behavior, close = result.behavior.value, result.behavior_close.value
    return behavior if behavior == close or close == "OK" else f"{behavior}, close {close}"


def summarise(results, seconds):
    groups = collections.defaultdict(collections.Counter)
    for result in results:
        groups[result.case_id.split(".")[0]][verdict(result)] += 1
    for group, verdicts in sorted(groups.items(), key=lambda item: int(item[0])):
        counts = ", ".join(f"{count} {what}" for what, count in verdicts.most_common())
        print(f"{group:>3}  {CATEGORIES.get(group, ''):<24} {counts}")
    failed = [result for result in results if not passes(result)]
    for result in failed[:EXPLAINED_MAX]:
        print(f"\n{result.case_id}: {verdict(result)}; close code {result.remote_close_code}")
        for text in (result.description, result.expectation, result.result, result.result_close):
            if text:
                print("    " + " ".join(re.sub("<[^>]*>", " ", text).split()))
    if failed[EXPLAINED_MAX:]:
        print("\nfailed as well:", *(result.case_id for result in failed[EXPLAINED_MAX:]))
    agent = results[0].agent if results else "nobody"
    print(f"\n{agent}: {len(results) - len(failed)} of {len(results)} cases passed in {seconds:.1f} s")
    return failed


def main():
    args = arguments()
    inside_venv()
    if args.prepare:
        return
    begun = time.monotonic()
    try:
        with serving(args.server) as url:
            results = run(args, url)
    except (NoVerdictError, OSError) as error:
        print(error, file=sys.stderr)
        leave(1)
    failed = summarise(results, time.monotonic() - begun)
    if args.report:
        from kosoku._report import write_reports

        write_reports(results, args.report)
        print(f"about each case: {args.report}/index.html")
    leave(1 if failed or not results else 0)


if __name__ == "__main__":
    main()
