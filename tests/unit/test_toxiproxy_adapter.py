"""The adapter of toxiproxy asks toxiproxy, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.adapters.toxiproxy import Toxiproxy
from harness.model.errors import AdapterError
from tests.listener import listening

VARIABLES = [name for both in ("http_proxy", "https_proxy", "all_proxy") for name in (both, both.upper())]


def test_no_call_uses_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every kind of call reaches the server itself, without a password that the user keeps for it, and no proxy hears
    of it.
    """
    (tmp_path / "netrc").write_text("default login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}") as server:
        with listening(b"") as proxy:
            for name in VARIABLES:
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", "localhost")
            toxiproxy = Toxiproxy("127.0.0.1", server.port)
            assert toxiproxy.proxies() == {}
            toxiproxy.recreate("link", "127.0.0.1:1", "127.0.0.1:2")
        assert proxy.connections == 0
    assert server.connections == 3
    assert b"DELETE /proxies/link HTTP/1.1" in server.heard
    assert b"uthorization" not in server.heard


def test_a_server_that_is_not_there_is_an_adapter_error() -> None:
    """With where it was looked for."""
    with listening(b"") as server:
        port = server.port
    with pytest.raises(AdapterError, match=f"toxiproxy at 127.0.0.1:{port}"):
        Toxiproxy("127.0.0.1", port).proxies()
