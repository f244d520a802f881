"""The process of one simulated replica: load, serve, and on SIGTERM abort what is in flight, as vLLM does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from types import FrameType

import uvicorn

from stack.simulator.app import Server
from stack.simulator.engine import Engine
from stack.simulator.metrics import Metrics
from stack.simulator.options import Options, parse


class _HttpServer(uvicorn.Server):
    """uvicorn, with vLLM's end: it goes on listening while the engine drains, then waits for clients to leave."""

    def __init__(self, config: uvicorn.Config, engine: Engine, drain_s: float) -> None:
        super().__init__(config)
        self._engine, self._drain_s = engine, drain_s
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler: hands over to the loop, which may be in the middle of anything."""
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._engine.drain(), self._drain_s)
        self._engine.end()
        self.should_exit = True


async def serve(options: Options) -> None:
    """Run until a signal ends it."""
    # vLLM listens only when its model is loaded: until then connections are refused
    await asyncio.sleep(options.startup_delay_s)
    metrics = Metrics(options)
    engine = Engine(options, metrics)
    config = uvicorn.Config(
        Server(options, engine, metrics).app(),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
    )
    stepping = asyncio.create_task(engine.run())
    serving = asyncio.create_task(_HttpServer(config, engine, options.shutdown_timeout_s).serve())
    done, _ = await asyncio.wait((stepping, serving), return_when=asyncio.FIRST_COMPLETED)
    stepping.cancel()
    for task in done:
        task.result()  # an engine that died takes the process with it


def main() -> int:
    """Entry point."""
    asyncio.run(serve(parse()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
