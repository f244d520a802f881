"""The limit with a slow link leaves room for what the link itself costs: a new connection crosses it several times."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import yaml

from harness.judge import drill
from tests.certificate import self_signed

ADDRESS = "127.0.0.1"


def crossings(server: ssl.SSLContext, certificate: Path) -> int:
    """How often a first answer waits for the link: for each flight of the server's in the handshake, and for itself."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = ssl.create_default_context(cafile=str(certificate)).wrap_bio(to_client, to_server, server_hostname=ADDRESS)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    flights = 0
    while not _shakes(ours):
        _shakes(theirs)
        flights += 1
    return flights + 1


def _shakes(side: ssl.SSLObject) -> bool:
    """One step of a handshake; whether it is over."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("way", ["TLS 1.3", "TLS 1.3 with a curve that was not guessed", "TLS 1.2"])
def test_a_healthy_target_over_a_slow_link_is_within_its_limit(way: str, tmp_path: Path) -> None:
    """Also one that ends each connection (``Connection: close``), with answers so short that nothing else counts."""
    certificate, server = self_signed(tmp_path, f"IP:{ADDRESS}")
    if way == "TLS 1.2":
        server.maximum_version = ssl.TLSVersion.TLSv1_2
    if "curve" in way:
        server.set_ecdh_curve("secp521r1")
    scenario = yaml.safe_load((drill.ROOT / "scenarios" / "timeout-spike.external.yaml").read_text())
    slow = next(phase for phase in scenario["phases"] if phase["name"] == "slow-link")
    latency_ms = int(slow["faults"][0]["options"]["latency"].removesuffix("ms"))
    objective = next(slo["objective"] for slo in scenario["slos"] if slo["name"] == "end to end with a slow link")
    times, own = objective.removeprefix("<= ").split(f" * {latency_ms} ms")
    assert crossings(server, certificate) <= int(times)
    assert own == " + 2 * baseline.e2e_p90_ms"
