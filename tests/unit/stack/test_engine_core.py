"""Which process of a replica is its engine: the one that a deaf replica lacks."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from stack.runtimes import family


def test_the_engine_core_is_found_among_a_replicas_processes() -> None:
    """By the title that vLLM gives it, or by how Python's multiprocessing started it; its helpers are none."""
    code = "import multiprocessing as m, time\nif __name__ == '__main__':\n c = m.get_context('spawn').Process("
    code += "target=time.sleep, args=(60,)); c.start(); print('up', flush=True); c.join()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server_process:
        assert server_process.stdout is not None
        server_process.stdout.readline()
        deadline, found = time.monotonic() + 10, 0
        while not found and time.monotonic() < deadline:  # a child that was just forked still looks like its parent
            time.sleep(0.05)
            children = psutil.Process(server_process.pid).children(recursive=True)
            found = sum(family.is_engine_core(" ".join(child.cmdline())) for child in children)
        for process in (*children, server_process):
            process.kill()
        assert found == 1
    assert family.is_engine_core("VLLM::EngineCore_DP0")
    assert not family.is_engine_core("python -m vllm.entrypoints.openai.api_server --model x")
