"""``dcm`` itself: its help, its commands, its options."""

from __future__ import annotations

import importlib
import re
import shlex

import click
import pytest

from dcm import __version__
from dcm.cli._root import COMMANDS, root
from tests.cli.runner import run_dcm


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_loaded_and_has_the_summary_that_help_shows(name: str) -> None:
    command = importlib.import_module(f"dcm.cli.{name}_cmd").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(200) == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_crisp_help(name: str) -> None:
    done = run_dcm(name, "--help", env={"COLUMNS": "100"})
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith(f"Usage: dcm {name}")
    assert f"  dcm {name}" in done.stdout or name == "version"
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_on_lines_of_their_own_and_parse(name: str) -> None:
    epilog = importlib.import_module(f"dcm.cli.{name}_cmd").command.epilog or ""
    typed = [line.partition("  ")[2] for line in epilog.splitlines() if line.startswith("  dcm")]
    assert bool(typed) is (name != "version")
    assert all(f" {name}" in line for line in typed)
    for line in typed:
        for part in line.split(">")[0].split(" | "):
            program, *args = shlex.split(part)
            assert program == "dcm"
            context = root.make_context("dcm", args.copy())
            own_name = next(arg for arg in args if arg in COMMANDS)
            own = args[args.index(own_name) + 1 :]
            importlib.import_module(f"dcm.cli.{own_name}_cmd").command.make_context(own_name, own, parent=context)


def test_help_names_all_commands_and_exit_codes() -> None:
    done = run_dcm("--help")
    assert done.returncode == 0
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", done.stdout, re.MULTILINE)
    for code in ("0", "1", "2", "3", "4", "5", "130"):
        assert re.search(rf"^ +{code} +\w", done.stdout, re.MULTILINE)
    assert run_dcm("-h").stdout == done.stdout


def test_the_version_is_data() -> None:
    assert run_dcm("--version").stdout == f"dcm {__version__}\n"
    done = run_dcm("version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"dcm {__version__}\npydicom 3.")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ehco"], "No such command 'ehco'. Did you mean 'echo'?"),
        (["zzz"], "No such command 'zzz'."),
        (["--nope"], "No such option"),
        (["echo", "--nope"], "No such option"),
        (["echo", "x.org", "-v"], "Error: -v goes before the command: dcm -v echo\n"),
        (["spool", "ls", "--quiet"], "Error: --quiet goes before the command: dcm --quiet spool ls\n"),
        (["echo"], "Missing argument 'REMOTE'"),
        (["query", "x.org", "--level", "study", "--level", "organ"], "'organ' is not one of"),
        (["--quiet", "--verbose", "version"], "--quiet cannot go with"),
        (["--file-log-level", "loud", "version"], "'loud' is not one of"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_prints_nothing_on_stdout(args: list[str], message: str) -> None:
    done = run_dcm(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_shows_the_help() -> None:
    done = run_dcm()  # click changed its mind on whether that is an error
    assert "Commands:" in done.stdout + done.stderr


def test_shell_completion_works() -> None:
    done = run_dcm(env={"_DCM_COMPLETE": "bash_complete", "COMP_WORDS": "dcm ec", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["plain,echo"]
