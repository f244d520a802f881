"""What an engine answers to: the paths that drills use, and nothing else that vLLM has, whoever asks."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.engine.running import TOKEN, RunningEngine

#: Of vLLM 0.32: development and training endpoints, what --api-key does not guard, and spellings of them.
CLOSED = (
    "/collective_rpc", "/sleep", "/wake_up", "/is_sleeping", "/server_info", "/reset_mm_cache", "/reset_encoder_cache",
    "/pause", "/resume", "/update_weights", "/init_weight_transfer_engine", "/scale_elastic_ep", "/invocations",
    "/ping", "/load", "/tokenize", "/detokenize", "/v1/load_lora_adapter", "/start_profile", "/inference/v1/generate",
    "/v1/responses", "/v1/messages", "/docs", "/openapi.json", "/reset_prefix_cache/", "//collective_rpc",
    "/%63ollective_rpc", "/v1/../collective_rpc", "/v1/models/../../collective_rpc", "/metrics/../collective_rpc",
)  # fmt: skip


@pytest.mark.parametrize("path", CLOSED)
def test_other_routes_are_closed(engine: RunningEngine, path: str) -> None:
    """404 for GET and POST, with the token, too."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = httpx.URL(engine.client.base_url, raw_path=path.encode())  # not normalised
    for method in ("GET", "POST"):
        answer = engine.client.request(method, url, json={"method": "check_health"}, headers=headers)
        assert answer.status_code == 404, (method, answer.text)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN])
def test_a_cache_is_reset_for_the_token_alone(engine: RunningEngine, header: str | None) -> None:
    """Without it 401, with it whether no block is held."""
    headers = {} if header is None else {"Authorization": header}
    assert engine.client.post("/reset_prefix_cache", headers=headers).status_code == 401
    assert engine.client.get("/reset_prefix_cache").status_code == 404
    assert engine.reset_prefix_cache()
