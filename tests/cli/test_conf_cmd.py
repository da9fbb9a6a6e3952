"""``dcm conf``."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from dcm.conf import EXAMPLE
from tests.cli.runner import run_dcm, run_on_terminal


def editor(tmp_path: Path, text: str) -> dict[str, str]:
    """An editor that puts a text at the end of the file."""
    script = tmp_path / "editor.py"
    script.write_text(f"import sys\nwith open(sys.argv[1], 'a') as file:\n    file.write({text!r})\n")
    return {"VISUAL": "", "EDITOR": f"{sys.executable} {script}"}


def test_path_show_and_show_default_are_data(isolated_config: Path) -> None:
    done = run_dcm("conf", "--path")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{isolated_config}\n", "")
    done = run_dcm("conf", "--show-default")
    assert (done.returncode, done.stdout, done.stderr) == (0, EXAMPLE, "")
    done = run_dcm("conf", "--show")
    assert done.returncode == 0
    assert "There is no configuration file" in done.stderr
    assert "--dir-format" in done.stdout
    assert not isolated_config.exists()
    isolated_config.write_text('[local_dirs."Größe"]\npath = "/x"\n[static_routes]\nr = "Größe"\n')
    done = run_dcm("conf", "--show")
    assert (done.returncode, done.stderr) == (0, "")
    assert '[local_dirs."Größe"]' in done.stdout
    assert "# to /x by copy, proxy" in done.stdout


def test_what_options_do_is_shown_and_nothing_else_takes_them(isolated_config: Path) -> None:
    isolated_config.write_text('[static_routes]\nr = "./out"\n')
    done = run_dcm("conf", "--show", "-e", "PatientID=ANON1", "--dir-format", "{PatientID}/{SOPInstanceUID}")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'filt = [{ edit = { PatientID = "ANON1" } }]' in done.stdout
    for args in (["-e", "PatientID=X"], ["--path", "--no-index"], ["--show-default", "-m", "link"]):
        done = run_dcm("conf", *args, env={"VISUAL": "", "EDITOR": "false"})
        assert done.returncode == 2
        assert "go with --show" in done.stderr


def test_what_is_wrong_in_a_route_is_said_after_the_editor(tmp_path: Path, isolated_config: Path) -> None:
    for text, message in (
        (
            '[static_routes]\nr = "nowhere"\n',
            "[static_routes.r] dests: no node, directory or repository called 'nowhere'",
        ),
        ('[selectors]\ns = "StudyDat == 20200101"\n', "[selectors.s]: there is no attribute 'StudyDat'"),
    ):
        isolated_config.write_text("")
        done = run_dcm("conf", env=editor(tmp_path, text))
        assert done.returncode == 2
        assert message in done.stderr


def test_the_option_wins_over_the_environment(tmp_path: Path) -> None:
    assert run_dcm("--config", tmp_path / "mine.toml", "conf", "--path").stdout == f"{tmp_path / 'mine.toml'}\n"


def test_the_first_edit_makes_the_file_for_its_owner_only(tmp_path: Path, isolated_config: Path) -> None:
    done = run_dcm("conf", env=editor(tmp_path, '[remote_nodes.mypacs]\nhost = "h"\n'))
    assert (done.returncode, done.stdout) == (0, "")
    assert f"A new file with examples: {isolated_config}" in done.stderr
    assert f"{isolated_config} is good: 0 local and 1 remote nodes, 0 directories, 0 routes." in done.stderr
    assert isolated_config.read_text() == EXAMPLE + '[remote_nodes.mypacs]\nhost = "h"\n'
    assert stat.S_IMODE(isolated_config.stat().st_mode) == 0o600


def test_a_file_with_a_mistake_is_left_as_it_is_and_exits_with_2(tmp_path: Path, isolated_config: Path) -> None:
    isolated_config.write_text("# mine\n")
    done = run_dcm("conf", env=editor(tmp_path, '[remote_nodes.mypacs]\nhots = "h"\n'))
    assert done.returncode == 2
    assert "[remote_nodes.mypacs] has no setting 'hots'" in done.stderr
    assert "did you mean 'host'?" in done.stderr
    assert isolated_config.read_text() == '# mine\n[remote_nodes.mypacs]\nhots = "h"\n'


def test_on_a_terminal_a_mistake_can_be_mended_at_once(tmp_path: Path, isolated_config: Path) -> None:
    isolated_config.write_text("")
    env = editor(tmp_path, "[local]\n")  # once is good, twice is a mistake
    assert run_on_terminal("conf", env=env)[0] == 0
    code, shown = run_on_terminal("conf", env=env, answer="n\n")
    assert code == 2
    assert "Edit it again? [Y/n]" in shown


def test_without_a_terminal_there_must_be_an_editor(isolated_config: Path) -> None:
    done = run_dcm("conf", env={"VISUAL": "", "EDITOR": ""})
    assert done.returncode == 2
    assert "no EDITOR is set" in done.stderr
    assert not isolated_config.exists()


@pytest.mark.parametrize("broken", ["/no/such/editor", "false"])
def test_an_editor_that_fails_is_an_error(broken: str, isolated_config: Path) -> None:
    done = run_dcm("conf", env={"VISUAL": "", "EDITOR": broken})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2].startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_every_command_says_what_is_wrong_with_the_file(isolated_config: Path) -> None:
    isolated_config.write_text("[remote_nodes.mypacs]\nport = 'x'\n")
    for command in ("echo", "query"):
        done = run_dcm(command, "mypacs")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"Error: {isolated_config}: [remote_nodes.mypacs]")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    done = run_dcm("--config", tmp_path / "none.toml", "echo", "mypacs")
    assert done.returncode == 2
    assert "cannot read the configuration file" in done.stderr


def test_show_says_who_may_call(isolated_config: Path) -> None:
    isolated_config.write_text('[local_nodes.default]\nae_title = "ME"\n')
    done = run_dcm("conf", "--show", "--allow-ae", "CT1", "--allow-address", "10.0.0.0/8", "--max-assoc", "7")
    assert done.returncode == 0, done.stderr
    for line in ('allowed_ae_titles = ["CT1"]', 'allowed_addresses = ["10.0.0.0/8"]', "max_assoc = 7"):
        assert line in done.stdout
