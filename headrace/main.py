"""The command line. Exit codes: 0 done, 1 failed, 2 bad input."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from headrace import __version__
from headrace.config_errors import BadInputError

# Modules are imported when their command is asked for: `check` needs no gRPC.
_COMMANDS = {
    "demo": ("headrace.demo.command", "everything on one machine, live"),
    "serve": ("headrace.serve", "the router, as Envoy's external processor"),
    "epp": ("headrace.epp", "the router in the place of the reference endpoint picker"),
    "check": ("headrace.check", "validate configuration files"),
    "webhook": ("headrace.webhook", "gate new pods until the capper has chosen their rack"),
    "sweep": ("headrace.sweep", "lift rack gates that nobody lifted in time"),
    "agent": ("headrace.agent", "the clocks and power limits of a node's GPUs, by leases"),
    "tune": ("headrace.tune", "find the GPU clock of the most tokens per joule by trying"),
    "explain": ("headrace.explain", "why requests go where they go"),
    "conformance": ("headrace.conformance.command", "try any picker against the protocol"),
    "envoy-config": ("headrace.envoy_command", "Envoy's bootstrap for a fleet file"),
    "fit": ("headrace.fit", "fit the simulated hardware to public measurements"),
    "simulate": ("headrace.simulate", "a scenario under one or more policies, simulated"),
    "smooth": ("headrace.smooth", "replicas over racks so that their peaks do not meet"),
    "bench": ("headrace.bench.command", "reproduce the figures of the documentation"),
}

_BAD_INPUT = 2
_INTERRUPTED = 130

# What the extra `sim` brings and only some commands need.
_SIM_MODULES = ("matplotlib", "numpy", "scipy")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = _with_command(list(sys.argv[1:] if argv is None else argv))
    try:
        args = _parser(arguments).parse_args(arguments)
        return int(args.run(args))
    except BadInputError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        return _INTERRUPTED


def _with_command(arguments: list[str]) -> list[str]:
    """Flags without a command are those of the reference picker, whose image was swapped."""
    first = arguments[0] if arguments else ""
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        arguments = ["epp", *arguments]
    if arguments[:1] == ["epp"]:
        from headrace.epp_flags import go_spelling  # noqa: PLC0415 - of this command alone

        arguments = go_spelling(arguments)
    return arguments


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """All commands by name; only the one asked for is imported and knows its options."""
    parser = argparse.ArgumentParser(
        prog="headrace", description="Power-aware routing of LLM requests behind Envoy."
    )
    parser.add_argument("--version", action="version", version=f"headrace {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module_name, summary) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name in arguments[:1]:
            module = _imported(module_name, command=name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _imported(module_name: str, *, command: str) -> ModuleType:
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _SIM_MODULES:
            raise BadInputError(
                f"headrace {command} needs {missing}: pip install 'headrace[sim]'."
            ) from error
        raise


if __name__ == "__main__":
    sys.exit(main())
