"""Ports on the loopback interface that stay ours while the server behind them is down."""

import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"


class Ports:
    """Ports that nobody else is given until `release`.

    Each is held by a bound socket that never listens: the kernel gives its port to no other `bind` to port 0 and to no
    outgoing connection, and yet a server that sets SO_REUSEADDR, as all servers of a plane do, can listen there. So two
    planes never pick the same port, and an engine that was killed comes back where it was.
    """

    def __init__(self) -> None:
        self._holders: list[socket.socket] = []

    def reserve(self) -> int:
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._holders.append(holder)
        holder.bind((LOOPBACK, 0))
        # After bind, not before: two holders that both had it at bind could be given the same port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return int(holder.getsockname()[1])

    def release(self) -> None:
        for holder in self._holders:
            holder.close()
        self._holders.clear()
