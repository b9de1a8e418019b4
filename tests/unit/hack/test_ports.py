import socket
from collections.abc import Iterator

import pytest

from hack.plane.ports import LOOPBACK, Ports


@pytest.fixture
def ports() -> Iterator[Ports]:
    reserved = Ports()
    yield reserved
    reserved.release()


def test_a_port_is_given_once(ports: Ports) -> None:
    assert len({ports.reserve() for _ in range(50)}) == 50


def test_a_server_can_listen_on_a_reserved_port_and_come_back(ports: Ports) -> None:
    number = ports.reserve()
    for _ in range(2):
        with socket.create_server((LOOPBACK, number)), socket.create_connection((LOOPBACK, number)):
            pass


def test_nobody_else_is_given_a_reserved_port(ports: Ports) -> None:
    number = ports.reserve()
    with socket.socket() as stranger, pytest.raises(OSError, match="Address already in use"):
        stranger.bind((LOOPBACK, number))


def test_a_released_port_is_free(ports: Ports) -> None:
    number = ports.reserve()
    ports.release()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, number))
