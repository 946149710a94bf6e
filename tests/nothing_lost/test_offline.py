"""Nothing is contacted that was not asked for: an audit without a network is an audit."""

import socket

import pytest

from tests.nothing_lost.conftest import Run


def test_an_audit_opens_no_connection(audit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(*given: object) -> None:
        tried.append(given)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    audit("--out", "run")
    assert tried == []
