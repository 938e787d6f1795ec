"""Cut a Python process off from the network: everything but this machine answers at once as unreachable.

On PYTHONPATH it holds for every process that the tests start, notebook kernels included; conftest.py imports it for
the test process itself. Kernels talk to their clients over the loopback interface, which stays open.
"""

import errno
import ipaddress
import socket

BLOCKED = "the tests run with the network blocked"


def _is_local(host) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _require_local(sock, address) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
        raise OSError(errno.ENETUNREACH, f"Network is unreachable ({BLOCKED})")


def _guard(name):
    original = getattr(socket.socket, name)

    def guarded(self, *arguments):
        if name != "sendto" or isinstance(arguments[-1], tuple):
            _require_local(self, arguments[-1])
        return original(self, *arguments)

    setattr(socket.socket, name, guarded)


def _block() -> None:
    if getattr(socket, "blocked_for_tests", False):
        return
    socket.blocked_for_tests = True
    for name in ("connect", "connect_ex", "sendto"):
        _guard(name)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        original = getattr(socket, name)

        def guarded(host, *arguments, _original=original, **keywords):
            if not _is_local(host):
                raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known ({BLOCKED})")
            return _original(host, *arguments, **keywords)

        setattr(socket, name, guarded)


_block()
