"""How truly does the load generator measure, and what does it cost? ``python -m benchmarks.load.ttft --help``.

Constant arrivals keep a given number of streams open against a server with known delays; printed are the measured TTFT,
the schedule lag, events per second and the generator's CPU, per core.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

FIRST_S = 0.2
GAP_S = 0.02
EVENTS = 64


def main() -> None:
    """Run once and print a table row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="streams open at the same time")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--address", default="127.0.16.1")
    arguments = parser.parse_args()
    figures = measure(arguments.streams, arguments.seconds, arguments.workers, arguments.address)
    print(json.dumps(figures, indent=1))


def measure(streams: int, seconds: float, workers: int, address: str) -> dict[str, Any]:
    """Keep ``streams`` open for so long against a server at ``address``; what came of it."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("stream_server.py")), address,
         str(FIRST_S), str(GAP_S), str(EVENTS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    http_port, dns_port = map(int, server.stdout.readline().split())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_load(folder, streams, workers, address, http_port, dns_port)
        generate(folder, seconds)
        told, _ = server.communicate()
        return report(folder, streams, json.loads(told))


def write_load(folder: Path, streams: int, workers: int, address: str, http_port: int, dns_port: int) -> None:
    """load.json: arrivals as often as streams end."""
    length_s = FIRST_S + GAP_S * (EVENTS - 1)
    users = {f"user-{n:03d}": f"key-{n}" for n in range(1, 65)}
    (folder / "keys.json").write_text(json.dumps({"operator": "o", "users": users}))
    cohort = {"name": "chat", "users": 64, "prompts": "long"}
    load = {"rate": streams / length_s, "arrivals": "constant", "workers": workers, "cohorts": [cohort]}
    job = {
        "zero_mono_s": time.monotonic(), "seed": 1, "load": load, "deployment": "drillyard", "drain_s": 5,
        "service": {"name": "bench.test", "port": http_port, "dns": [address, dns_port]},
        "keys_file": str(folder / "keys.json"),
    }  # fmt: skip
    (folder / "load.json").write_text(json.dumps(job))


def generate(folder: Path, seconds: float) -> None:
    """Run the generator for ``seconds`` of load."""
    process = subprocess.Popen([sys.executable, "-m", "harness.load", str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    until_s = None
    for line in process.stdout:
        if until_s is None and json.loads(line)["scheduled"] > 0:
            until_s = time.monotonic() + seconds
        if until_s is not None and time.monotonic() > until_s:
            process.send_signal(signal.SIGTERM)
            until_s = float("inf")
    if process.wait() != 0:
        raise SystemExit(f"the load generator ended with {process.returncode}")


def report(folder: Path, streams: int, server: dict[str, float]) -> dict[str, Any]:
    """What was measured; the true TTFT is FIRST_S plus the server's own lateness."""
    rows = pd.read_parquet(folder / "requests.parquet")
    summary = json.loads((folder / "load-summary.json").read_text())
    ok = rows[rows.outcome == "ok"]
    events_per_s = rows.content_events.sum() / summary["duration_s"]
    return {
        "streams": streams,
        "requests": len(rows),
        "ok": len(ok),
        "ttft_p50_ms": round(ok.ttft_ms.quantile(0.5), 1),
        "ttft_p99_ms": round(ok.ttft_ms.quantile(0.99), 1),
        "lag_p99_ms": summary["schedule_lag_p99_ms"],
        "events_per_s": round(events_per_s),
        "cpu_ratio": summary["cpu_ratio"],
        "events_per_s_and_core": round(events_per_s / summary["cpu_ratio"] / summary["workers"]),
        **server,
    }


if __name__ == "__main__":
    main()
