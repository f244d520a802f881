"""Asking a service of somebody else's: by its own name in Host and TLS, whatever address the connection goes to."""

from __future__ import annotations

import os
import ssl
from typing import Any

import httpx

from harness.errors import StackError
from harness.probes.page import Page
from stack.topology import Endpoint, Target, Topology


def verification(endpoint: Endpoint) -> ssl.SSLContext | bool:
    """What httpx has to check: the machine's certificate authorities (SSL_CERT_FILE names others); nothing for http."""
    return ssl.create_default_context() if endpoint.scheme == "https" else False


def request(endpoint: Endpoint, where: str, path: str = "", key: str = "") -> dict[str, Any]:
    """httpx's arguments for a request to ``where`` (address:port) that means ``endpoint``."""
    headers = {"Host": endpoint.authority} | ({"Authorization": f"Bearer {key}"} if key else {})
    url = f"{endpoint.scheme}://{where}{endpoint.path}{path}"
    return {"url": url, "headers": headers, "extensions": {"sni_hostname": endpoint.host}}


def page(endpoint: Endpoint) -> Page:
    """What is at ``endpoint``, asked at the address that it was pinned to."""
    tls = ssl.create_default_context() if endpoint.scheme == "https" else None
    headers = {"Host": endpoint.authority}
    return Page(f"{endpoint.scheme}://{endpoint.pinned}{endpoint.path}", 1.0, True, headers, tls, endpoint.host)


def key_of(target: Target) -> str:
    """The target's API key, from the environment; "" when it has none."""
    return os.environ.get(target.api_key_env, "") if target.api_key_env else ""


def served_model(topology: Topology, target: Target, deadline_s: float = 10.0) -> str:
    """The model to ask for: the one that the user named, else the first that the target lists, asked over the link.

    StackError when it does not answer, refuses the key, or lists none.
    """
    if target.model:
        return target.model
    link, service = topology.link("client-to-target"), target.service
    ask = request(service, f"{link.listen_address}:{link.listen_port}", "/v1/models", key_of(target))
    try:
        with httpx.Client(timeout=deadline_s, verify=verification(service), trust_env=False) as client:
            answer = client.get(**ask)
        if answer.status_code == 200:
            return str(answer.json()["data"][0]["id"])
        found = f"answers {answer.status_code}"
    except httpx.HTTPError as error:
        found = f"gives no answer ({error or type(error).__name__})"
    except (ValueError, LookupError, TypeError):
        found = "lists no model"
    raise StackError(
        f"{service.scheme}://{service.authority}{service.path}/v1/models {found}: look at TARGET and at the variable "
        f"that API_KEY_ENV names, or name a model with MODEL="
    )
