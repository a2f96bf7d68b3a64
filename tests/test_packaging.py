"""What the wheel and the sdist carry: an installed clarihook starts from the same files as a clone.

They are built here as `pip install .` builds them, in the same process and without a network.
"""

import tarfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import receiver

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    builder = WheelBuilder(str(REPOSITORY))
    (path,) = builder.build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> tarfile.TarFile:
    builder = SdistBuilder(str(REPOSITORY))
    (path,) = builder.build(directory=str(tmp_path_factory.mktemp("sdist")), versions=["standard"])
    return tarfile.open(path)


def files_of(*folders: str) -> list[str]:
    """Every file in these folders, relative to the repository."""
    return [
        path.relative_to(REPOSITORY).as_posix()
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    ]


@pytest.mark.parametrize("folder", ["handlers", "config"])
def test_the_wheel_carries_the_starter_files(wheel: zipfile.ZipFile, folder: str) -> None:
    for name in files_of(folder):
        assert wheel.read(f"receiver/starter/{name}") == (REPOSITORY / name).read_bytes()


def test_the_wheel_has_every_file_of_both_packages_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    starter = {f"receiver/starter/{name}" for name in files_of("handlers", "config")}
    assert names == {*files_of("receiver", "claribi"), *starter}


def test_the_metadata_is_ours(wheel: zipfile.ZipFile) -> None:
    folder = f"clarihook-{receiver.__version__}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert metadata["Version"] == receiver.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert "clarihook = receiver.cli:script" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()


def test_the_sdist_has_what_its_own_tests_need(sdist: tarfile.TarFile) -> None:
    root = f"clarihook-{receiver.__version__}/"
    names = {name.removeprefix(root) for name in sdist.getnames()}
    wanted = files_of("receiver", "claribi", "handlers", "config", "tests", "benchmarks", "docs")
    assert not {*wanted, "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} - names


def test_no_archive_has_what_a_run_leaves_behind(
    wheel: zipfile.ZipFile, sdist: tarfile.TarFile
) -> None:
    leftovers: Sequence[str] = (".pyc", ".db", ".db-wal", ".db-shm", ".jsonl", ".env")
    for name in [*wheel.namelist(), *sdist.getnames()]:
        assert not name.endswith(tuple(leftovers)), name
        assert "__pycache__" not in name
