"""``python -m tests.mutation.record``: keep real runs as fixtures, in a compact form.

``keep FOLDER…`` keeps runs that have ended: a PASS is the drill's green run, a FAIL its red one; an INCONCLUSIVE one is
only a sample for its report (``tests/samples.py``).
``run green|red [DRILL…]`` drills real vLLM first: as shipped, or with a gateway, DNS server or replica that is really
broken (``RED``), and keeps what comes of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from harness.evidence import records_kept
from harness.evidence.record import RunFolder
from harness.judge import drill
from harness.run import outcome
from tests.drills.outcome import CHECKOUT, until_judged
from tests.mutation.stored import DOCUMENTS
from tests.mutation.survivors import COLOURS, RUNS
from tests.samples import NOT_JUDGED

#: What makes a drill's stack fail on real engines, and the check that has to be red.
RED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "cancel-storm": (
        # More streams wait for longer than a cancel may take, and the gateway notices only when it writes to a client.
        ("--defect", "no_abort_on_close", "--set", "phases.queued.faults.0.options.demand=3"),
        "cancels reach the engines in queued",
    ),
    "gateway-failover": (("--defect", "dns_health_checks_off"), "DNS fails over from gateway-a in dead"),
    "model-swap": (("--defect", "stale_model"), "rollout ends as it should"),
    "node-restart": (("--defect", "no_readiness_agent"), "impact window bounded in deaf"),
    "oom": (("--defect", "no_caps"), "oversized requests are refused in oversized"),
    "timeout-spike": (("--defect", "html_errors"), "honest errors in all-replicas"),
}
BYTES_MAX = 1_000_000  # of one fixture
_LIMIT_S = 1800.0  # of one drill, set-up and capacity included
_TABLES = ("requests.parquet", "metrics.parquet")
_FILES = ("events.jsonl", "verdict.json", records_kept.JOURNAL, *DOCUMENTS)
#: What no fixture may hold: absolute paths below somebody's home or workplace, and what looks like a key.
_PRIVATE = re.compile(r"(?:^|[\s\"'=(])/(?:work|root|home|tmp|Users)/|\bsk-\w{8,}|Bearer \w{8,}")


def keep(source: Path, root: Path = RUNS, not_judged: Path = NOT_JUDGED) -> Path:
    """Copy what the judge reads of a run to ``root/<drill>/<colour>``, or to ``not_judged/<drill>``.

    ValueError when it cannot be a fixture.
    """
    verdict, name = RunFolder(source).read_json("verdict.json"), str(RunFolder(source).plan()["drill"])
    colours = [colour for colour, status in COLOURS.items() if status == verdict["status"]]
    texts = {file: (source / file).read_text() for file in _FILES if (source / file).exists()}
    for file, text in texts.items():
        if found := _PRIVATE.search(text):
            raise ValueError(f"{source / file}: found {found[0]!r}, which no fixture may hold; record it elsewhere")
    target = root / name / colours[0] if colours else not_judged / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        made.mkdir()
        for file, text in texts.items():
            (made / file).write_text(text)
        for file in _TABLES:
            table = pq.read_table(source / file, page_checksum_verification=True)
            pq.write_table(table, made / file, compression="zstd", compression_level=19, write_page_checksum=True)
        size = sum(file.stat().st_size for file in made.iterdir())
        if size > BYTES_MAX:
            raise ValueError(f"{source.name}: {size} bytes, at most {BYTES_MAX} are kept: record a shorter run")
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    return target


def record(colour: str, name: str, instance: int) -> str:
    """Drill real vLLM and keep the run, if it came out as ``colour`` says; one line about it."""
    arguments, check = RED[name] if colour == "red" else ((), "")
    where = ("--runtime", "process", "--engine", "vllm", "--instance", str(instance))
    *_, ended = until_judged(lambda: _drilled(name, arguments, where))
    if ended.folder is None or ended.status != COLOURS[colour]:
        return f"{name} {colour}: NOT RECORDED, {ended.status}: {ended.reason}"
    verdict = ended.folder.read_json("verdict.json")
    red = [result["name"] for result in verdict["checks"] if result["status"] == "FAIL"]
    if check and check not in red:
        return f"{name} {colour}: NOT RECORDED, «{check}» is not red, but {', '.join(red)}: see {ended.folder.path}"
    return f"{_kept(ended.folder.path)}; red: {', '.join(red) or 'nothing'}"


def _kept(source: Path) -> str:
    """Keep a run; one line about it."""
    try:
        return f"{source.name}: {keep(source)}"
    except ValueError as error:
        return f"{source.name}: NOT RECORDED, {error}"


def _drilled(name: str, arguments: tuple[str, ...], where: tuple[str, ...]) -> outcome.Outcome:
    """One run on a stack of its own: a defect of the configuration lasts as long as its stack."""
    down = (sys.executable, "-m", "harness", "down", "--force", "--runtime", "process", "--instance", where[-1])
    try:
        subprocess.run(down, cwd=CHECKOUT, check=False)
        return outcome.run((name, *arguments, *where), _LIMIT_S, lambda line: print(line, flush=True))
    finally:
        subprocess.run(down, cwd=CHECKOUT, check=False)


def main() -> int:
    """Keep or drill; 1 when one could not be kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("keep").add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    drills = commands.add_parser("run")
    drills.add_argument("colour", choices=tuple(COLOURS))
    drills.add_argument("names", nargs="*", metavar="DRILL")
    drills.add_argument("--instance", type=int, default=0)
    options = parser.parse_args()
    if options.command == "keep":
        said = [_kept(folder) for folder in options.folders]
    else:
        said = [record(options.colour, name, options.instance) for name in options.names or drill.core()]
    print("\n".join(said))
    return 1 if any("NOT RECORDED" in line for line in said) else 0


if __name__ == "__main__":
    sys.exit(main())
