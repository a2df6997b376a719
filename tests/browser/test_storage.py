"""The storage fails, or comes back as it was yesterday: the page says so in words and goes on by itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.nx_server import NxServer

from .conftest import Cast, Server


@pytest.fixture
def database() -> Iterator[NxServer]:
    with NxServer() as database:
        yield database


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server on a database of its own, where the test asks for one."""
    flags = ()
    if "database" in request.fixturenames:
        flags = (f"--mongo-url={request.getfixturevalue('database').url}",)
    server = Server(tmp_path / "data", *flags)
    server.start()
    yield server
    server.stop()


def test_a_frozen_database_is_waited_for(database: NxServer, cast: Cast) -> None:
    ann, bob = cast.user("ann"), cast.user("bob")
    room = ann.makes_room("Harbour", bob)
    ann.opens(room)
    bob.opens(room)
    ann.says("before")
    bob.hears("before")
    database.freeze()
    ann.says("while it was frozen")
    expect(ann.page.locator("#notice")).to_contain_text("The server cannot save at the moment")
    expect(ann.page.locator("#connection-words")).to_have_text("Connected, but the server cannot save")
    expect(ann.page.locator("#pending .text")).to_have_text("while it was frozen")
    ann.says("and one more")
    database.thaw()
    bob.hears("and one more")
    bob.hears("while it was frozen")
    expect(ann.page.locator("#pending .message")).to_have_count(0)
    expect(ann.page.locator("#notice")).to_be_hidden()
    ann.is_connected()
    assert ann.conversation() == bob.conversation() == ["before", "while it was frozen", "and one more"]


def test_a_store_set_back_to_an_older_day_is_read_anew(cast: Cast, server: Server, tmp_path: Path) -> None:
    """The server then knows less than the page: the page shows what the server has."""
    ann = cast.user("ann")
    room = ann.makes_room("Harbour")
    ann.opens(room)
    ann.says("yesterday")
    ann.sees_status("yesterday", "stored")
    server.stop()
    shutil.copytree(server.folder, tmp_path / "backup")
    server.start()
    ann.is_connected()
    ann.says("today")
    ann.says("today, later")
    ann.sees_status("today, later", "stored")
    server.stop()
    shutil.rmtree(server.folder)
    shutil.copytree(tmp_path / "backup", server.folder)
    server.start()
    ann.is_connected()
    expect(ann.message("today, later")).to_have_count(0)
    ann.says("a new today")
    ann.sees_status("a new today", "stored")
    assert ann.conversation() == ["yesterday", "a new today"]
