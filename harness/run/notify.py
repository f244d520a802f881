"""Tells people what a night came to, over webhooks and commands.

Who cannot be told is named in a sentence, for the terminal and the log of the job. It never changes the exit code of a
night, which says what the night came to; the dead man's switch (nightly_check.py) is for nights that nobody hears of.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from harness.model import redact
from harness.model.notify import LINK_VARIABLE, Command, Event, Notify, Webhook
from stack import bounded, proxies

#: A receiver that is restarted, or a name server that is busy, may answer the second time.
TRIES = 2
PAUSE_S = 1.0
#: Of what a command writes about itself, as it is shown and as it is read: a secret is found only as a whole.
_STDERR_CHARS, _STDERR_BYTES = 300, 65_536


def send(event: Event, config: Notify, environment: Mapping[str, str] | None = None) -> list[str]:
    """Tell all receivers, if ``config`` wants this kind of event; a sentence for each who could not be told.

    Nothing is raised for a receiver. Each takes ``config.timeout`` seconds at most, a webhook twice that.
    """
    environment = os.environ if environment is None else environment
    if event.kind not in config.on:
        return []
    for webhook in config.webhooks:
        redact.learn(*_secrets(environment.get(webhook.url_env, "")))
    event = replace(event, page=environment.get(LINK_VARIABLE) or event.page)
    failed = [_posted(event, webhook, config.timeout, environment) for webhook in config.webhooks]
    failed += [_ran(event, command, config.timeout) for command in config.commands]
    return [redact.text(redact.printable(why)) for why in failed if why]


def _secrets(url: str) -> list[str]:
    """The URL and its parts that make it a secret: messages of libraries name some of them alone."""
    parts = list[str]()
    with suppress(ValueError):
        found = urlsplit(url)
        parts = [found.path, found.query, found.path.rpartition("/")[2], found.password or ""]
    return [url, *(part for part in parts if len(part) >= redact.ENVIRONMENT_CHARS_MIN)]


def _posted(event: Event, webhook: Webhook, timeout_s: float, environment: Mapping[str, str]) -> str:
    """Why the receiver could not be told, or ""."""
    who = f"the webhook of {webhook.url_env} was not told of «{event.kind}»"
    url = environment.get(webhook.url_env, "")
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        if not parts.hostname:
            raise ValueError
        httpx.URL(url)
    except (ValueError, KeyError, httpx.InvalidURL):
        found = "no http(s) URL (it is not shown)" if url else "nothing"
        return f"{who}: found {found} in that variable, expected https://HOST/…"
    try:
        via = _proxy(parts.scheme, parts.hostname, port, environment)
    except ValueError as error:
        return f"{who}: the environment names {error}"
    body = {"text": _for_slack(event.text())} if webhook.format == "slack" else event.as_data()
    why = asyncio.run(_post_twice(url, body, via, timeout_s))
    return f"{who}: {why}" if why else ""


def _proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> httpx.Proxy | None:
    """That which the environment names for the receiver, if any. ValueError for one that cannot be used."""
    if (variable := proxies.variable_for(scheme, host, port, environment)) is None:
        return None
    found = proxies.parse(environment[variable])
    told = {"Proxy-Authorization": found.authorization} if found.authorization else {}
    return httpx.Proxy(f"http://{found.host}:{found.port}", headers=told)


def _for_slack(text: str) -> str:
    """Slack reads these three as markup: links, mentions of people and of all."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _post_twice(url: str, body: Mapping[str, Any], via: httpx.Proxy | None, timeout_s: float) -> str:
    why, again = "", True
    for attempt in range(TRIES):
        if not again:
            break
        if attempt:
            await asyncio.sleep(PAUSE_S)
        why, again = await _post(url, body, via, timeout_s)
    return why


async def _post(url: str, body: Mapping[str, Any], via: httpx.Proxy | None, timeout_s: float) -> tuple[str, bool]:
    """Why it failed ("" when it did not), and whether another try may help. A redirect is not followed."""
    trusted = ssl.create_default_context()  # whom the system trusts, and SSL_CERT_FILE
    try:
        async with asyncio.timeout(timeout_s):
            async with httpx.AsyncClient(trust_env=False, proxy=via, timeout=timeout_s, verify=trusted) as client:
                answer = await bounded.ask_async(client, "POST", url, json=dict(body))
    except TimeoutError:
        return f"no answer within {timeout_s:g} s", True
    except (httpx.HTTPError, OSError) as error:
        return f"{type(error).__name__}: {error}", True
    status = answer.status_code
    if 300 <= status < 400:
        return f"HTTP {status}: a redirect, which is not followed, because it could lead the message elsewhere", False
    if 200 <= status < 300:
        return "", False
    return f"HTTP {status}", status == 429 or status >= 500


def _ran(event: Event, command: Command, timeout_s: float) -> str:
    """Why the command did not do it, or "". Of its words only the first is repeated: others may be secrets."""
    who = f"the command {command.argv[0]} was not told of «{event.kind}»"
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except (OSError, ValueError) as error:
            return f"{who}: {getattr(error, 'strerror', None) or error}"
        try:
            process.communicate(json.dumps(event.as_data(), ensure_ascii=False).encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"{who}: it had not ended within {timeout_s:g} s, and was ended"
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
                process.wait()
        if process.returncode == 0:
            return ""
        said.seek(max(0, said.seek(0, os.SEEK_END) - _STDERR_BYTES))
        last = redact.text(said.read().decode(errors="replace")).strip()[-_STDERR_CHARS:]
        return f"{who}: it ended with {process.returncode}{f': {last}' if last else ''}"


def tell(events: list[Event], config: Notify, say: Callable[[str], object]) -> bool:
    """Send all events, and ``say`` who could not be told; whether everybody was."""
    failed = [why for event in events for why in send(event, config)]
    for why in failed:
        say(f"notification failed: {why}")
    return not failed
