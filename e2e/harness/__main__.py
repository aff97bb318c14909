"""Command line of the cluster: `python -m harness build|image|up|exec|down|hold`; for `make cluster` and `make e2e`."""

import argparse
import os
import sys
import time
from pathlib import Path

from harness import daemon
from harness.checks import check_machine, install_missing
from harness.errors import HarnessError
from harness.release import PRODUCTS, build_image
from harness.settings import DEFAULT_MINOR, OUTPUT, Settings, minors, switches
from harness.tools import cache_folder, tools

# On a terminal, what was said last is written over.
CLEAR = "\r\x1b[K" if sys.stderr.isatty() else ""
SHELL = ("bash", "--norc", "-i")
PROMPT = r"\[\e[1m\]e2e-node\[\e[0m\]:\w\$ "
USAGE = """
Kubernetes {minor}, one node, in namespaces of its own. In this shell kubectl, helm and ctr know it:
  kubectl get nodes,pods -A
  kubectl run -it --rm --image=e2e.local/busybox:1 --image-pull-policy=Never try -- sh
The GPU driver is a few lines away: "Try the driver" in docs/dev/e2e.md.
Its logs are in {logs}. Leaving the shell does not end it; `make cluster` opens another one,
`make cluster-down` ends it and leaves nothing."""


def say(text: str) -> None:
    """Tell the user how far it is; on a terminal in one line that is written over."""
    if sys.stderr.isatty():
        print(
            CLEAR + f"e2e: {text}"[:120], end="\n" if text.endswith(".") else "", file=sys.stderr, flush=True
        )
    else:
        print(f"e2e: {text}", file=sys.stderr, flush=True)


def settings(options: argparse.Namespace) -> Settings:
    """Check the machine, get the tools, and give the settings of a cluster."""
    switched = switches(options.gates), switches(options.served)
    check_machine()
    built = tools(options.k8s, say)
    return Settings(built.programs, built.images, options.logs, *switched)


def build(options: argparse.Namespace) -> int:
    """Install and build what is needed and not there."""
    install_missing(say)
    check_machine()
    start = time.monotonic()
    before = set(cache_folder().glob("*"))
    folder = tools(options.k8s, say).folder
    if folder not in before:
        say(f"built {folder} in {time.monotonic() - start:.0f} s.")
    return 0


def image(_: argparse.Namespace) -> int:
    """Build the drivers' images if they are not there."""
    for product in PRODUCTS:
        say(f"the image of {product.package} is {build_image(product)}.")
    return 0


def hold(options: argparse.Namespace) -> int:
    """Be the owner of a cluster until a signal."""
    daemon.hold(settings(options), options.k8s, options.state)
    return 0


def up(options: argparse.Namespace) -> int:
    """Make a cluster if there is none, and open a shell in it, or run what was said."""
    found = daemon.running(options.state)
    if found is None:
        install_missing(say)
        settings(options)
        start = time.monotonic()
        say("starting the cluster")
        found = daemon.up(_same(options), options.state)
        say(f"the node is Ready after {time.monotonic() - start:.1f} s.")
    elif options.asked and options.k8s != found.minor:
        raise HarnessError(
            f"a cluster of Kubernetes {found.minor} is running", cure="end it with `make cluster-down`"
        )
    if options.command:
        return daemon.execute(found, options.command)
    print(USAGE.format(minor=found.minor, logs=options.logs), file=sys.stderr)
    if not sys.stdin.isatty():
        return 0
    found.environment["PS1"] = PROMPT
    return daemon.execute(found, SHELL)


def _same(options: argparse.Namespace) -> list[str]:
    names = ("k8s", "gates", "served", "logs", "state")
    return [f"--{name}={getattr(options, name)}" for name in names]


def execute(options: argparse.Namespace) -> int:
    """Run a program in the cluster that is there."""
    found = daemon.running(options.state)
    if found is None:
        raise HarnessError("no cluster is running", cure="start one with `make cluster`")
    return daemon.execute(found, options.command or SHELL)


def down(options: argparse.Namespace) -> int:
    """End the cluster that is there."""
    say("the cluster is gone." if daemon.down(options.state) else "no cluster was running.")
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    commands = {"build": build, "image": image, "up": up, "exec": execute, "down": down, "hold": hold}
    described = argparse.ArgumentParser(
        prog="harness",
        description=__doc__,
        usage="harness ACTION [--name=value …] [what up and exec run in the cluster]",
    )
    described.add_argument("action", choices=commands)
    described.add_argument("--k8s", default=os.environ.get("K8S"), help=", ".join(minors()))
    described.add_argument("--gates", default=os.environ.get("GATES", ""), help="NAME=true,NAME=false")
    described.add_argument("--served", default=os.environ.get("SERVED", ""), help="GROUP/VERSION=true,…")
    described.add_argument("--logs", type=Path, default=OUTPUT / "logs")
    described.add_argument(
        "--state", type=Path, default=daemon.STATE, help="file that says where the cluster is"
    )
    described.set_defaults(actions=commands)
    return described


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Part our own words (an action, options as --name=value) from a command for the cluster, whatever it is."""
    ends = (index for index, word in enumerate(words) if index and (word == "--" or not word.startswith("-")))
    end = next(ends, len(words))
    rest = words[end:]
    return words[:end], rest[1:] if rest[:1] == ["--"] else rest


def main() -> int:
    """Return the exit code; what can go wrong is one line."""
    words, command = split(sys.argv[1:])
    options = parser().parse_args(words, argparse.Namespace(command=command))
    options.asked, options.k8s = bool(options.k8s), options.k8s or DEFAULT_MINOR
    try:
        code: int = options.actions[options.action](options)
    except HarnessError as error:
        print(f"{CLEAR}e2e: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
