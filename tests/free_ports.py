"""Ports for the servers and coordinators of tests."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback that nothing uses now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]
