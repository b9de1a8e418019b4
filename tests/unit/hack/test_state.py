import os
import subprocess
from pathlib import Path

import pytest

from hack.plane.__main__ import main
from hack.plane.state import (
    AlreadyUp,
    MinioFacts,
    PlaneFacts,
    PostgresFacts,
    State,
    claimed,
    own_state,
    read_state,
    runs,
    started_at,
    write_state,
)


def facts() -> PlaneFacts:
    return PlaneFacts(
        root="/tmp/plane",  # noqa: S108 - a name, nothing is made there
        ca_pem="",
        servers=[],
        kubernetes=None,
        postgres=PostgresFacts("127.0.0.1", 5432, "postgres", "18", None, password="hunter2"),
        minio=MinioFacts("https://127.0.0.1:9000", "root", secret_key="hunter2"),
        qdrant=None,
        meilisearch=None,
        platform=None,
        gateway=None,
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    state = own_state(facts())
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_a_folder_without_a_plane_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_the_state_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write_state(tmp_path, own_state(facts()))
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(own_state(facts()))


def test_this_process_runs() -> None:
    assert runs(own_state())


def test_a_process_that_was_given_the_id_of_one_that_ended_is_another() -> None:
    own = own_state()
    assert not runs(State(own.pid, own.started - 1))


def test_a_process_that_ended_but_was_not_reaped_does_not_run() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert started_at(child.pid) is None


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(AlreadyUp, match="already up"), claimed(tmp_path):
        pass


def test_down_leaves_a_stranger_with_the_same_id_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        started = started_at(stranger.pid)
        assert started is not None
        write_state(tmp_path, State(stranger.pid, started - 1, facts()))
        assert main(["down", "--state", str(tmp_path)]) == 0
        assert stranger.poll() is None
        stranger.kill()
