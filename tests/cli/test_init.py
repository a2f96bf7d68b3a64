"""`clarihook init`: a folder that `serve` can start in, and nothing of the user's lost."""

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.cli.init import SECRET_FILE, starter_files
from receiver.settings import load

REPOSITORY = Path(__file__).parents[2]
Clarihook = Callable[..., subprocess.CompletedProcess[str]]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_a_home_whose_settings_are_right_as_they_are(
    clarihook_here: Clarihook, tmp_path: Path
) -> None:
    result = clarihook_here("init", "hooks")
    home = tmp_path / "hooks"
    assert result.returncode == 0
    assert f"clarihook serve --home {home}" in result.stdout
    loaded = load(home, {})
    assert loaded.warnings == ()
    assert loaded.settings.sources["claribi"].secrets[0].reference == f"file:{SECRET_FILE}"
    assert clarihook_here("config", "check", "--home", "hooks").returncode == 0


def test_what_is_private_is_private(clarihook_here: Clarihook, tmp_path: Path) -> None:
    clarihook_here("init")
    assert mode(tmp_path / "data") == mode(tmp_path / "secrets") == 0o700
    assert mode(tmp_path / SECRET_FILE) == mode(tmp_path / "config/clarihook.toml") == 0o600
    assert "/secrets/" in (tmp_path / ".gitignore").read_text()


def test_every_home_has_a_secret_of_its_own(clarihook_here: Clarihook, tmp_path: Path) -> None:
    clarihook_here("init", "a")
    clarihook_here("init", "b")
    first, second = ((tmp_path / name / SECRET_FILE).read_text() for name in "ab")
    assert first != second
    assert len(bytes.fromhex(first)) == 32


def test_every_shipped_file_is_written(clarihook_here: Clarihook, tmp_path: Path) -> None:
    clarihook_here("init")
    shipped = list(starter_files())
    assert {"config/clarihook.toml", "config/templates/README.md"} <= {f.path for f in shipped}
    for file in shipped:
        assert (tmp_path / file.path).is_file()
        if file.path != "config/clarihook.toml":
            assert (tmp_path / file.path).read_text() == file.content
    handlers = {f.name for f in (REPOSITORY / "handlers").glob("*.py")}
    assert {f.name for f in (tmp_path / "handlers").glob("*.py")} == handlers


def test_an_installed_wheel_writes_what_a_clone_writes(
    clarihook_here: Clarihook, tmp_path: Path
) -> None:
    """The wheel has the starter files inside the package (pyproject.toml, force-include)."""
    site = tmp_path / "site"
    for package in ("receiver", "claribi"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, site / package, ignore=ignore)
    for folder in ("config", "handlers"):
        shutil.copytree(REPOSITORY / folder, site / "receiver/starter" / folder)
    clarihook_here("init", "clone")
    assert clarihook_here("init", "wheel", env={"PYTHONPATH": str(site)}).returncode == 0
    written = [
        {f.relative_to(home): f.read_bytes() for f in home.rglob("*") if f.is_file()}
        for home in (tmp_path / "clone", tmp_path / "wheel")
    ]
    for files in written:
        files.pop(Path(SECRET_FILE))
    assert written[0] == written[1]


def test_the_shipped_settings_are_right_with_secrets_in_the_environment() -> None:
    """A clone is a home too: its own config/ serves once the variable is set."""
    environ = {"CLARIBI_WEBHOOK_SECRET": "made-up-secret-for-tests"}
    assert load(REPOSITORY, environ).warnings == ()


def test_a_second_init_keeps_what_is_there_and_says_so(
    clarihook_here: Clarihook, tmp_path: Path
) -> None:
    clarihook_here("init")
    (tmp_path / "config/clarihook.toml").write_text("# mine\n")
    secret = (tmp_path / SECRET_FILE).read_text()
    result = clarihook_here("init")
    assert result.returncode == 0
    assert "kept   config/clarihook.toml" in result.stdout
    assert "Your settings were kept" in result.stdout
    assert (tmp_path / "config/clarihook.toml").read_text() == "# mine\n"
    assert (tmp_path / SECRET_FILE).read_text() == secret


def test_force_writes_the_settings_anew_but_never_the_secret(
    clarihook_here: Clarihook, tmp_path: Path
) -> None:
    clarihook_here("init")
    (tmp_path / "config/clarihook.toml").write_text("# mine\n")
    secret = (tmp_path / SECRET_FILE).read_text()
    assert "wrote  config/clarihook.toml" in clarihook_here("init", "--force").stdout
    assert "[sources.claribi]" in (tmp_path / "config/clarihook.toml").read_text()
    assert (tmp_path / SECRET_FILE).read_text() == secret


def test_no_temporary_file_stays(clarihook_here: Clarihook, tmp_path: Path) -> None:
    clarihook_here("init")
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("arguments", [["hooks"], ["--home", "hooks"]])
def test_the_folder_can_be_an_argument_or_the_home(
    arguments: list[str], clarihook_here: Clarihook, tmp_path: Path
) -> None:
    clarihook_here("init", *arguments)
    assert (tmp_path / "hooks/config/clarihook.toml").is_file()


def test_a_folder_that_can_not_be_made_is_a_clear_error(
    clarihook_here: Clarihook, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = clarihook_here("init", "file/inside")
    assert result.returncode == 2
    assert result.stderr.endswith("name a folder that you can write to\n")
