"""``python -m stack.exporter --config exporter.json``: watch replicas and gateways, serve what was seen."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry

from stack.exporter.access import AccessLogs
from stack.exporter.alerts import Alerts
from stack.exporter.app import app
from stack.exporter.config import Config
from stack.exporter.memory import MemoryCollector
from stack.exporter.readiness import Readiness
from stack.exporter.synthetic import Synthetic
from stack.gateway import kind


async def serve(config: Config) -> None:
    """Run until a signal ends the server; a watcher that fails takes the process with it: no silent gaps."""
    registry = CollectorRegistry()
    readiness = Readiness(config.synthetic_fall)
    synthetic, logs = Synthetic(registry, readiness), AccessLogs(registry)
    registry.register(MemoryCollector(config.own_groups))
    server = uvicorn.Server(
        uvicorn.Config(
            app(registry, Alerts()),
            host=config.host,
            port=config.port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
    )
    async with asyncio.TaskGroup() as group:
        watchers = [
            group.create_task(
                synthetic.watch(name, url, config.deployment, config.synthetic_period_s, config.synthetic_deadline_s)
            )
            for name, url in config.replicas.items()
        ]
        watchers += [
            group.create_task(logs.watch(name, kind(config.gateway_kinds[name]), Path(path)))
            for name, path in config.gateway_logs.items()
        ]
        watchers.append(group.create_task(readiness.serve(config.host, config.agent_port)))
        await server.serve()
        for watcher in watchers:
            watcher.cancel()


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m stack.exporter", description="Drillyard's own metrics and alerts")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON, written by stack.config")
    asyncio.run(serve(Config.read(parser.parse_args(arguments).config)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
