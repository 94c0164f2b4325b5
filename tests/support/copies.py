"""The ways in which people copy or restore a portal's database; each must end in a portal that waits."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.installation import place
from portal.settings import Settings
from tests.support.postgresql import Cluster, copied_server, run_client, running_cluster

VOLUME_BYTES = 32 << 20
Way = Callable[["Original"], AbstractContextManager[Settings]]


@dataclass(frozen=True)
class Original:
    """A portal that was started, and is not running now.

    Attributes:
        settings: its own.
        aside: an empty folder, on the same file system as its data folder.
        elsewhere: an empty folder, on another file system if there is one.
        refresh: renews its token pair.
        cluster: its server, if it has one.
        volume: the image of its data folder's volume, if it has one.
    """

    settings: Settings
    aside: Path
    elsewhere: Path
    refresh: Callable[[], object]
    cluster: Cluster | None = None
    volume: Path | None = None

    @property
    def folder(self) -> Path:
        return self.settings.data_dir

    @property
    def file(self) -> Path:
        return self.folder / "gatehouse.db"

    @property
    def server(self) -> Cluster:
        assert self.cluster is not None
        return self.cluster

    def at(self, folder: Path, database_url: str = "") -> Settings:
        """Return its settings for another place; the key ring is where it was."""
        key_file = self.settings.resolved_key_file
        if not key_file.exists():
            key_file = folder / key_file.name
        url = database_url or self.settings.database_url
        return self.settings.model_copy(update={"data_dir": folder, "key_file": key_file, "database_url": url})


ON_SQLITE: dict[str, Way] = {}
ON_POSTGRESQL: dict[str, Way] = {}
# Those that need the right to mount.
ON_VOLUMES: dict[str, Way] = {}
# Those that need their own server.
WITH_A_SERVER: dict[str, Way] = {}


def way(ways: dict[str, Way], name: str) -> Callable[[Callable[[Original], Iterator[Settings]]], None]:
    """Register a way under the name that is printed."""

    def enter(function: Callable[[Original], Iterator[Settings]]) -> None:
        ways[name] = contextmanager(function)

    return enter


@way(ON_SQLITE, "cp of the database file to another data folder")
def _cp_file(original: Original) -> Iterator[Settings]:
    (original.aside / "var").mkdir()
    run("cp", original.file, original.aside / "var" / "gatehouse.db")
    yield original.at(original.aside / "var")


@way(ON_SQLITE, "cp -a of the data folder")
def _cp_folder(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    yield original.at(original.aside / "var")


@way(ON_SQLITE, "tar (as rsync -a) of the data folder to another disk")
def _tar_folder(original: Original) -> Iterator[Settings]:
    archive = original.aside / "var.tar"
    run("tar", "--create", f"--file={archive}", f"--directory={original.folder}", ".")
    run("tar", "--extract", f"--file={archive}", f"--directory={original.elsewhere}")
    yield original.at(original.elsewhere)


@way(ON_SQLITE, "mv of the data folder to another folder")
def _mv_folder(original: Original) -> Iterator[Settings]:
    run("mv", original.folder, original.aside / "var")
    yield original.at(original.aside / "var")


@way(ON_SQLITE, "mv of the data folder to another disk")
def _mv_disk(original: Original) -> Iterator[Settings]:
    run("mv", original.folder, original.elsewhere / "var")
    yield original.at(original.elsewhere / "var")


@way(ON_SQLITE, "the data folder removed and created again from its copy, at the same path")
def _made_again(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    run("rm", "-r", original.folder)
    run("cp", "-a", original.aside / "var", original.folder)
    yield original.settings


@way(ON_SQLITE, "last night's file restored with cp over the current one (same inode)")
def _put_back(original: Original) -> Iterator[Settings]:
    run("cp", original.file, original.aside / "gatehouse.db")
    original.refresh()
    run("cp", original.aside / "gatehouse.db", original.file)
    yield original.settings


@way(ON_SQLITE, "last night's backup loaded into the current file with sqlite3 .restore (same inode)")
def _load_back(original: Original) -> Iterator[Settings]:
    copy(original.file, original.aside / "backup.db")
    original.refresh()
    copy(original.aside / "backup.db", original.file)
    yield original.settings


@way(ON_SQLITE, "sqlite3 .backup to another data folder")
def _backup(original: Original) -> Iterator[Settings]:
    (original.aside / "var").mkdir()
    copy(original.file, original.aside / "var" / "gatehouse.db")
    yield original.at(original.aside / "var")


@way(ON_SQLITE, "the database without its data folder")
def _without_folder(original: Original) -> Iterator[Settings]:
    for item in original.folder.iterdir():
        if item not in {original.file, original.settings.resolved_key_file}:
            run("rm", "-r", item)
    yield original.settings


@way(ON_SQLITE, "last night's data folder without its database")
def _without_database(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    original.refresh()
    run("rm", original.aside / "var" / "gatehouse.db")
    settings = original.at(original.aside / "var", f"sqlite:///{original.file.resolve()}")
    yield settings


@way(ON_SQLITE, "a second machine with a snapshot of the volume")
def _second_machine(original: Original) -> Iterator[Settings]:
    with another_machine(original.aside):
        yield original.settings


@way(ON_VOLUMES, "the files on a new volume at the same path (same inodes)")
def _fresh_volume(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    with mounted(fresh_volume(original.aside / "fresh.img"), original.folder.parent):
        run("cp", "-a", original.aside / "var", original.folder)
        yield original.settings


@way(ON_VOLUMES, "a snapshot of the volume, block by block, at the same path")
def _volume_snapshot(original: Original) -> Iterator[Settings]:
    run("sync")
    run("cp", original.volume, original.aside / "snapshot.img")
    with mounted(original.aside / "snapshot.img", original.folder.parent):
        yield original.settings


@way(ON_POSTGRESQL, "pg_dump, pg_restore into a new database")
def _dump_to_new(original: Original) -> Iterator[Settings]:
    url = original.server.create_database()
    run_client("pg_restore", url, "--no-owner", f"--dbname={name_of(url)}", dumped(original))
    yield original.at(fresh_folder(original), url)
    original.server.drop_database(url)


@way(ON_POSTGRESQL, "pg_restore --clean over the current database")
def _dump_over(original: Original) -> Iterator[Settings]:
    url, dump = original.settings.database_url, dumped(original)
    run_client("pg_restore", url, "--no-owner", "--clean", "--if-exists", f"--dbname={name_of(url)}", dump)
    yield original.at(fresh_folder(original))


@way(ON_POSTGRESQL, "dropdb, createdb, pg_restore under the same name")
def _dump_same_name(original: Original) -> Iterator[Settings]:
    url, dump = original.settings.database_url, dumped(original)
    run_client("dropdb", url, "--force", name_of(url))
    run_client("createdb", url, name_of(url))
    run_client("pg_restore", url, "--no-owner", f"--dbname={name_of(url)}", dump)
    yield original.at(fresh_folder(original))


@way(ON_POSTGRESQL, "CREATE DATABASE ... TEMPLATE")
def _template(original: Original) -> Iterator[Settings]:
    url = original.server.create_database(template=original.settings.database_url)
    yield original.at(fresh_folder(original), url)
    original.server.drop_database(url)


@way(ON_POSTGRESQL, "last night's data folder without its database")
def _folder_alone(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    original.refresh()
    yield original.at(original.aside / "var")


@way(ON_POSTGRESQL, "the data folder removed and created again from its copy, at the same path")
def _folder_again(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    run("rm", "-r", original.folder)
    run("cp", "-a", original.aside / "var", original.folder)
    yield original.settings


@way(ON_POSTGRESQL, "a second machine with a snapshot of the data folder")
def _second_machine_of_server(original: Original) -> Iterator[Settings]:
    with another_machine(original.aside):
        yield original.settings


@way(WITH_A_SERVER, "pg_dump, pg_restore on another server")
def _dump_to_server(original: Original) -> Iterator[Settings]:
    dump = dumped(original)
    with running_cluster() as other:
        url = other.create_database()
        run_client("pg_restore", url, "--no-owner", f"--dbname={name_of(url)}", dump)
        yield original.at(fresh_folder(original), url)


@way(WITH_A_SERVER, "pg_basebackup started as a second server (same system identifier)")
def _base_backup(original: Original) -> Iterator[Settings]:
    with copied_server(original.server) as other:
        yield original.at(fresh_folder(original), other.url(name_of(original.settings.database_url)))


@way(WITH_A_SERVER, "pg_basebackup recovered to a new timeline and promoted, as a second server")
def _promoted(original: Original) -> Iterator[Settings]:
    with copied_server(original.server, is_promoted=True) as other:
        yield original.at(fresh_folder(original), other.url(name_of(original.settings.database_url)))


@way(WITH_A_SERVER, "last night's snapshot of the server restored in its place, under the same address")
def _older_server(original: Original) -> Iterator[Settings]:
    with copied_server(original.server, in_its_place=original.refresh):
        yield original.settings


@way(WITH_A_SERVER, "server and data folder cloned to a second host, under the same address")
def _whole_clone(original: Original) -> Iterator[Settings]:
    run("cp", "-a", original.folder, original.aside / "var")
    with copied_server(original.server, in_its_place=lambda: None):
        yield original.at(original.aside / "var")


def run(*command: object) -> None:
    """Run one program as an operator does."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def copy(source: Path, target: Path) -> None:
    """Do what `.backup` and `.restore` of the sqlite3 program do."""
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


def fresh_volume(image: Path) -> Path:
    """Make an image with an empty file system."""
    run("truncate", f"--size={VOLUME_BYTES}", image)
    run("mkfs.ext4", "-q", image)
    return image


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """Mount an image while the block runs."""
    run("mount", "-o", "loop", image, folder)
    try:
        yield
    finally:
        run("umount", "--lazy", folder)


def dumped(original: Original) -> Path:
    path = original.aside / "dump"
    run_client("pg_dump", original.settings.database_url, "--format=custom", f"--file={path}")
    return path


def fresh_folder(original: Original) -> Path:
    """Return a new data folder; the key ring stays where it was."""
    folder = original.aside / "fresh"
    folder.mkdir()
    return folder


def name_of(url: str) -> str:
    return url.removeprefix("postgresql://portal@/").partition("?")[0]


@contextmanager
def outside_of_containers(folder: Path, machine_id: str, *cards: str) -> Iterator[None]:
    """Make this a machine with this id and these network cards; in a container it has neither."""
    system = folder / f"system-{machine_id}"
    for number, address in enumerate(cards):
        card = system / f"net/eth{number}"
        (card / "device").mkdir(parents=True)
        (card / "address").write_text(f"{address}\n")
    system.mkdir(exist_ok=True)
    (system / "machine-id").write_text(f"{machine_id}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "CONTAINER_MARKS", ())
        patch.setattr(place, "CONTAINER_VARIABLES", ())
        patch.setattr(place, "MACHINE_ID", system / "machine-id")
        patch.setattr(place, "NETWORK_CARDS", system / "net")
        yield


@contextmanager
def another_machine(folder: Path) -> Iterator[None]:
    """Switch to a different machine; the previous one is that of `outside_of_containers`."""
    with outside_of_containers(folder, "b" * 32, "02:00:00:00:00:0b"):
        yield
