"""The `bongsu` command: dead letters, topology, new functions, and what the rooms add through entry points."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path

import click

import functions
from functions import scaffold
from functions.broker import Broker, QueueDiffers
from functions.cli_check import check
from functions.cli_dead import dead
from functions.command import in_one_line, with_broker
from functions.event import encode, utc_now
from functions.function import load_function
from functions.hook import one_each, show_hooks
from functions.schedule import due_of_job, show_schedules, tick
from functions.settings import load
from functions.topology import MOTION, queue, queues

_HELP_NAMES = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    require_own_package()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["help"]:
        given[0] = "--help"
    sys.exit(run_command(bongsu, given, "bongsu"))


def run_command(command: click.Command, arguments: Sequence[str], name: str | None = None) -> int:
    """Run a command as `bongsu` does.

    Args:
        command: `bongsu`, or a room's command.
        arguments: the command line after the command's name.
        name: what the command is called in usage and errors; None: `bongsu` and its own name.

    Returns:
        The exit status: 0, 1 if it failed, 2 for wrong usage. Messages are printed on stderr.
    """
    try:
        status = command.main(list(arguments), prog_name=name or f"bongsu {command.name}", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        print(f"bongsu: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    except click.Abort:
        return 130
    return status or 0


def require_own_package() -> None:
    """Exit with one line if another distribution has overwritten this package, whose name is a common word."""
    if getattr(getattr(functions, "on", None), "__module__", None) != "functions.function":
        others = sorted({*packages_distributions().get("functions", ())} - {"bongsu"})
        sys.exit(
            f"bongsu: the package 'functions' in {Path(__file__).parent} was overwritten by "
            f"{', '.join(others) or 'another distribution'}: install bongsu in its own virtual environment"
        )


class _Commands(click.Group):
    """Our own commands, and those of the rooms, which are imported only when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_rooms()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        room = _rooms().get(cmd_name)
        return _load(room) if own is None and room is not None else own

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            names = ", ".join(self.list_commands(ctx))
            raise click.ClickException(f"no command {args[0]!r}: choose one of {names}")
        return super().resolve_command(ctx, args)


def _rooms() -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group="bongsu.commands")}


def _load(room: EntryPoint) -> click.Command:
    """A room's command; if it cannot be imported, as in another room's image, a command that says so."""
    try:
        command = room.load()
    except ImportError as error:
        reason = str(error)
    else:
        assert isinstance(command, click.Command), f"{room.value} must be a command of click"
        return command

    def refuse(arguments: Sequence[str]) -> None:
        raise click.ClickException(
            f"{room.name} needs what is not installed here ({reason}): pip install 'bongsu[all]'"
        )

    return click.Command(
        room.name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        short_help="Not installed here: see bongsu[all].",
    )


def _version() -> str:
    try:
        return version("bongsu")
    except PackageNotFoundError:
        return "unknown: run from a checkout that is not installed"


@click.group(cls=_Commands, context_settings={"help_option_names": _HELP_NAMES})
@click.version_option(_version(), prog_name="bongsu", message="%(prog)s %(version)s")
def bongsu() -> None:
    """Watch CCTV for hazards, and alert people."""


bongsu.add_command(dead)


@bongsu.group()
def topology() -> None:
    """Declare the queues of functions."""


@topology.command("apply")
@click.argument("given", metavar="QUEUE_OR_FUNCTION...", nargs=-1, required=True)
@in_one_line
def _topology_apply(given: tuple[str, ...]) -> int:
    """Declare queues (fire.map) or those of functions (notify.map, ./hospital.py).

    Existing queues are kept; those that differ are listed.
    """
    names: list[str] = []
    for name in given:
        try:
            names.append(queue(name).name)
        except ValueError:
            names += load_function(name).queues
        else:
            # `notify.map` may also be a queue of type "notify": a module of that name goes first, but not for `motion`.
            path = Path(*name.split("."))
            if name != MOTION and (path.is_dir() or path.with_suffix(".py").is_file()):
                names[-1:] = load_function(name).needs
    if MOTION in names:
        names += [f"{MOTION}.{region}" for region in load().region_names]

    async def declare(broker: Broker) -> int:
        try:
            await broker.declare(queues(names))
        except QueueDiffers as error:
            # Changing a queue means deleting it with its messages: the operator decides that.
            print(f"bongsu: kept as they are: {error}", file=sys.stderr)
            print("To change one: stop its publishers, let it drain, delete it, apply again", file=sys.stderr)
            return 1
        print("\n".join(dict.fromkeys(names)))
        return 0

    return with_broker(declare)


@bongsu.group()
def function() -> None:
    """Write functions, and what others need to know of them."""


@function.command("new")
@click.argument("name")
@click.option("--on", "types", metavar="TYPE", multiple=True, help="Event type; may be repeated.")
@click.option("--http", "path", metavar="/hooks/NAME", help="Have it answer requests at this path of the API.")
@click.option("--schedule", "cron", metavar="CRON", help="Have it called at these times, as in '0 6 * * *'.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="A checkout, or a folder of your own (default: here).",
)
@in_one_line
def _function_new(name: str, types: tuple[str, ...], path: str | None, cron: str | None, into: Path) -> int:
    """Write a function, its manifest and a test.

    NAME is lower case, such as hospital.
    """
    if sum(map(bool, (types, path, cron))) != 1:
        raise click.UsageError("say what it takes: --on TYPE, --http /hooks/NAME or --schedule CRON")
    written = scaffold.write_function(into, name, types, path=path, cron=cron)
    for file in written:
        print(f"wrote {file.absolute()}")
    if scaffold.is_checkout(into):
        print(f"next: edit notify/{name}.py, run its test (make test), then `make run` scales it like the others")
        print(
            "for a cluster: list the manifest in keda/Kustomization, write the types that it publishes into it"
            " (bongsu/publishes),"
        )
        print("then run make generate, which writes its queues, its broker user and that user's rights")
    else:
        print(f"next: edit {name}.py, run its test there (python -m pytest), then `bongsu run` there scales it too")
    return 0


function.add_command(check)


@function.command("hooks")
@click.argument("targets", metavar="FUNCTION...", nargs=-1, required=True)
@in_one_line
def _function_hooks(targets: tuple[str, ...]) -> int:
    """Print the hooks of functions (notify.report, ./report.py) as BONGSU_HOOKS has them."""
    print(show_hooks(one_each(hook for target in targets for hook in load_function(target).hooks)))
    return 0


@function.command("schedules")
@click.argument("targets", metavar="FUNCTION...", nargs=-1, required=True)
@in_one_line
def _function_schedules(targets: tuple[str, ...]) -> int:
    """Print the schedules of functions (notify.report, ./report.py) as JSON."""
    print(show_schedules(one for target in targets for one in load_function(target).schedules))
    return 0


@function.command("tick")
@click.argument("name")
@click.option("--at", metavar="TIME", help="When it was due, as 2026-11-27T06:00+09:00 (default: this minute).")
@click.option("--job", metavar="NAME", help="The Job of a CronJob, whose name ends in its time.")
@in_one_line
def _function_tick(name: str, at: str | None, job: str | None) -> int:
    """Publish a tick of a schedule: what its CronJob runs on a cluster.

    The same time gives the same event id, so that a function can tell a repeat.
    """
    due_at = due_of_job(job) if job else datetime.fromisoformat(at).astimezone() if at else utc_now()
    event = tick(name, due_at)

    async def publish(broker: Broker) -> int:
        await broker.publish(encode(event))
        print(event.id)
        return 0

    return with_broker(publish)


if __name__ == "__main__":
    main()
