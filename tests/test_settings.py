"""Settings: three sources, one table, and errors that say what would have been right."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from heartlink.errors import StartupFailure
from heartlink.settings import Settings, entries, help_text, is_loopback, markdown_table, read_settings

SECRET = "s3cr3t-of-the-house-which-is-long-enough"


def refusal(*flags: str, **environment: str) -> str:
    with pytest.raises(StartupFailure) as caught:
        read_settings(flags, environment)
    return str(caught.value)


def in_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "heartlink.toml"
    path.write_text(text, encoding="utf-8")
    return f"--config={path}"


def test_the_defaults_are_those_of_the_protocol() -> None:
    settings = read_settings([], {})
    assert settings == Settings()
    assert (settings.port, settings.host, settings.data_dir) == (8000, "127.0.0.1", Path("data"))
    assert (settings.messages_per_second, settings.message_burst, settings.frame_bytes) == (20, 40, 65536)
    assert (settings.registrations_per_minute, settings.upload_bytes) == (100, 26214400)
    assert (settings.connections_per_address, settings.connections_per_user) == (1000, 20)
    assert (settings.mongo_url, settings.demo, settings.log_format) == ("", False, "text")
    assert repr(settings.heartbeat_seconds) == "30"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("flags", [["--port=9000"], ["--port", "9000"], ["--port=1", "--port=9000"]])
def test_a_flag_can_be_written_in_the_usual_ways(flags: list[str]) -> None:
    assert read_settings(flags, {}).port == 9000


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("--demo", True), ("--demo=yes", True), ("--demo=true", True), ("--demo=off", False), ("--demo=0", False)],
)
def test_a_switch_needs_no_value(flag: str, expected: bool) -> None:
    assert read_settings([flag], {}).demo is expected


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    config = in_file(tmp_path, 'port = 1001\nhost = "localhost"\nmessage_burst = 3\n')
    environment = {"HEARTLINK_PORT": "1002", "HEARTLINK_HOST": "::1", "HEARTLINK_CONFIG": config[9:]}
    settings = read_settings(["--port=1003"], environment)
    assert (settings.port, settings.host, settings.message_burst) == (1003, "::1", 3)


def test_a_file_holds_every_kind_of_setting(tmp_path: Path) -> None:
    text = """
        port = 0
        demo = true
        heartbeat_seconds = 0.5
        data_dir = "here/数据"
        log_format = "json"
        ice_servers = ["stun:a.example:3478", "turn:b.example|ann|of her own"]
    """
    settings = read_settings([in_file(tmp_path, text)], {})
    assert (settings.port, settings.demo, settings.heartbeat_seconds) == (0, True, 0.5)
    assert (settings.data_dir, settings.log_format) == (Path("here/数据"), "json")
    assert settings.ice_servers == ("stun:a.example:3478", "turn:b.example|ann|of her own")


def test_lists_are_separated_by_commas() -> None:
    settings = read_settings(["--allowed-hosts=a.example, b.example,"], {})
    assert settings.allowed_hosts == ("a.example", "b.example")


def test_other_names_in_the_environment_are_left_alone() -> None:
    environment = {"PATH": "/bin", "HEARTLINK_TEST_STORE": "mongo", "HEARTLINK_PORT": ""}
    assert read_settings([], environment) == Settings()


BAD_FLAGS = [
    ("--prot=8000", "There is no flag '--prot'. Did you mean --port?"),
    ("--mongo_url=x", "There is no flag '--mongo_url'. Did you mean --mongo-url?"),
    ("--dmeo", "There is no flag '--dmeo'. Did you mean --demo?"),
    ("-port=1", "There is no flag '-port'. Did you mean --port?"),
    ("--xyzzy", "There is no flag '--xyzzy'. See --help for all of them."),
    ("--", "There is no flag '--'. See --help for all of them."),
    ("8000", "'8000' is not a flag. Settings are written --name=value; see --help."),
    ("", "'' is not a flag. Settings are written --name=value; see --help."),
    ("--port", "--port has no value. Write --port=8000."),
    ("--config", "--config has no value. Write --config=heartlink.toml."),
    ("--port=", "--port is '', which is not a whole number."),
    ("--port=http", "--port is 'http', which is not a whole number."),
    ("--port=80.5", "--port is '80.5', which is not a whole number."),
    ("--port=8_000", "--port is '8_000', which is not a whole number."),
    ("--port=８０００", "--port is '８０００', which is not a whole number."),
    ("--port=" + "9" * 5000, "which is not a whole number. Give a whole number from 0 to 65535"),
    ("--port=-1", "--port is '-1', which is less than 0. Give a whole number from 0 to 65535, for example"),
    ("--port=65536", "--port is '65536', which is more than 65535."),
    ("--port=8000\nroot", r"--port is '8000\nroot', which is not a whole number."),
    ("--heartbeat-seconds=nan", "which is not a number. Give a number from 0.1 to 3600"),
    ("--heartbeat-seconds=inf", "which is not a number."),
    ("--heartbeat-seconds=1e999", "which is not a number."),
    ("--drain-seconds=60", "--drain-seconds is '60', which is more than 6."),
    ("--frame-bytes=-5", "--frame-bytes is '-5', which is less than 0."),
    ("--message-chars=0", "--message-chars is '0', which is less than 1."),
    ("--demo=perhaps", "--demo is 'perhaps', which is not true or false."),
    ("--log-format=xml", "--log-format is 'xml', which is unknown. Give one of text, json"),
    ("--log-level=loud", "Give one of debug, info, warning, error, for example --log-level=info."),
    ("--host=", "--host cannot be used: it is empty. Write 127.0.0.1 for this machine only"),
    ("--data-dir=", "--data-dir is '', which is not a path. Give a path, for example --data-dir=data."),
    ("--mongo-url=localhost:27017", "it is no MongoDB address. Write mongodb://host:27017/database."),
    ("--secret=short", "it is shorter than 32 bytes. Make one with: openssl rand -base64 48."),
    ("--allowed-origins=chat.example.org", "'chat.example.org' is no origin"),
    ("--allowed-origins=https://a.example/path", "is no origin. Write https://chat.example.org, without a path."),
    ("--allowed-origins=https://[::1", "is no origin"),
    ("--allowed-hosts=https://a.example", "'https://a.example' is no host name. Write chat.example.org."),
    ("--trusted-proxies=10.0.0.0/8", "'10.0.0.0/8' is no IP address."),
    ("--ice-servers=http://a.example", "'http://a.example' is no ICE server."),
    ("--ice-servers=turn:a.example|joe", "'turn:a.example' has a user name without a credential."),
    ("--ice-servers=turn:a.example", "The TURN server 'turn:a.example' has no credentials"),
    ("--config=/does/not/exist", "cannot be read: No such file or directory."),
    ("--config=.", "cannot be read: Is a directory."),
]


@pytest.mark.parametrize(("flag", "line"), BAD_FLAGS, ids=[flag[:40] for flag, _ in BAD_FLAGS])
def test_a_bad_flag_is_answered_with_what_would_have_been_right(flag: str, line: str) -> None:
    said = refusal(flag)
    assert line in said
    assert "\n" not in said
    assert len(said) < 300
    assert read_settings(["--port=8001"], {}).port == 8001


BAD_FILES = [
    ("prot = 1", "There is no setting in", "Did you mean port?"),
    ("config = 'x'", "There is no setting in", "'config'"),
    ("[heartlink]\nport = 1", "There is no setting in", "'heartlink'"),
    ("port = '8000'", "port in", "is '8000', which is not a whole number. Give a whole number from 0 to 65535"),
    ("port = true", "port in", "is True, which is not a whole number."),
    ("port = 1.5", "port in", "for example port = 8000."),
    ("demo = 1", "demo in", "is 1, which is not true or false."),
    ("host = 5", "host in", 'for example host = "127.0.0.1".'),
    ("heartbeat_seconds = nan", "heartbeat_seconds in", "is nan, which is not a number."),
    ("allowed_hosts = 'a'", "allowed_hosts in", "which is not a list of texts."),
    ("allowed_hosts = [1]", "allowed_hosts in", "for example allowed_hosts = […]."),
    ("port = ", "cannot be read: it is not TOML", "Write one setting a line"),
    ("port = 1\nport = 2", "cannot be read: it is not TOML", "Write one setting a line"),
]


@pytest.mark.parametrize(("text", "line", "fix"), BAD_FILES, ids=[row[0] for row in BAD_FILES])
def test_a_bad_file_is_answered_with_what_would_have_been_right(tmp_path: Path, text: str, line: str, fix: str) -> None:
    said = refusal(in_file(tmp_path, text))
    assert line in said
    assert fix in said


def test_a_file_that_is_no_text_or_far_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "heartlink.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not TOML" in refusal(f"--config={path}")
    path.write_bytes(b"#" * (1 << 21))
    assert "larger than 1 MiB" in refusal(f"--config={path}")


def test_unknown_names_in_the_environment_are_refused() -> None:
    said = refusal(HEARTLINK_PROT="1")
    assert said == "There is no environment variable 'HEARTLINK_PROT'. Did you mean HEARTLINK_PORT?"


def test_an_error_names_the_source_that_was_used() -> None:
    assert refusal(HEARTLINK_PORT="tcp://10.0.0.1").startswith("HEARTLINK_PORT is 'tcp://10.0.0.1'")
    assert "for example HEARTLINK_PORT=8000." in refusal(HEARTLINK_PORT="x")


def test_a_value_that_is_overruled_is_not_complained_about() -> None:
    assert read_settings(["--port=1"], {"HEARTLINK_PORT": "x"}).port == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "chat.example.org"])
def test_the_demo_refuses_every_host_but_loopback(host: str) -> None:
    assert "Use --host=127.0.0.1 with --demo" in refusal("--demo", f"--host={host}")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_the_demo_runs_on_loopback(host: str) -> None:
    assert is_loopback(host)
    assert read_settings(["--demo", f"--host={host}"], {}).demo


def test_secrets_are_never_shown() -> None:
    url = "mongodb://ann:hunter2@db.example/heartlink"
    settings = read_settings([f"--secret={SECRET}", f"--mongo-url={url}"], {})
    assert (settings.secret, settings.mongo_url) == (SECRET, url)
    assert SECRET not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in refusal("--mongo-url=mongo://ann:hunter2@db.example")
    assert "short" not in refusal("--secret=short").replace("shorter", "")
    assert "hunter2\\x00" not in refusal("--secret=hunter2\0" + SECRET)


def test_every_setting_can_be_given_by_flag_environment_and_file(tmp_path: Path) -> None:
    assert len(entries()) > 25
    for entry in entries():
        text = {"secret": SECRET, "config": in_file(tmp_path, "")[9:]}.get(entry.name, entry.default_text)
        by_flag = read_settings([f"{entry.flag}={text}"], {})
        by_variable = read_settings([], {entry.variable: text})
        assert by_flag == by_variable
        assert getattr(by_flag, entry.name) == getattr(
            Settings(**{entry.name: getattr(by_flag, entry.name)}), entry.name
        )
        if entry.name not in ("config", "secret"):
            assert getattr(by_flag, entry.name) == entry.default


def test_help_and_documents_list_every_setting() -> None:
    for entry in entries():
        assert f"  {entry.flag}" in help_text()
        assert f"| `{entry.flag}` | `{entry.variable}`, `{entry.name}` |" in markdown_table()
        assert entry.help.endswith(".")
    assert max(len(line) for line in help_text().splitlines()) <= 140
