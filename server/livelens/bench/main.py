"""`livelens bench`: every number livelens promises, with its peer measured in the same run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from livelens.bench.measurement import Measurement
from livelens.bench.server_process import ServerProcess, serve

PARTS = ("start", "speed", "wire", "stall", "flood", "attribution", "twin", "page")


def run_bench(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 when a target is missed."""
    options = _parser().parse_args(list(arguments))
    failed = False
    for measurement in _measure(options.only or PARTS, options.model):
        failed = failed or measurement.holds is False
        line = json.dumps(measurement.as_json()) if options.json else _readable(measurement)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="livelens bench",
        description="Measure speed, bytes, latency and the page's times, each beside its peer in the same run. "
        "Takes about seven minutes; nothing else should run on the machine. Exit code 1 when a target is missed.",
    )
    parser.add_argument("--json", action="store_true", help="a JSON line a number: name, value, unit, target, holds")
    parser.add_argument("--model", default="smollm2", help="the model to measure (default: the shipped one)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be given more than once")
    return parser


def _measure(parts: Sequence[str], model: str) -> Iterator[Measurement]:
    from livelens.model.sources import resolve_source

    folder = resolve_source(model, progress=_say).folder  # fetched and converted before any clock runs
    start = time.perf_counter()
    with serve(model) as server:
        if "start" in parts:
            _fetch_page(server.url)
            yield Measurement(
                name="command_to_served_page",
                value=time.perf_counter() - start,
                unit="s",
                target=15.0,
                note="model included",
            )
        yield from _of_server(parts, server, folder)
    if "page" in parts:
        from livelens.bench.page_measures import page

        yield from page(_say)


def _of_server(parts: Sequence[str], server: ServerProcess, folder: Path) -> Iterator[Measurement]:
    from livelens.bench import attribution_measures, flood_measures, serving_measures, twin_measures

    measures: dict[str, Callable[[], list[Measurement]]] = {
        "speed": lambda: serving_measures.speed(server, folder, _say),
        "wire": lambda: serving_measures.wire_and_latency(server),
        "stall": lambda: serving_measures.stalled_viewer(server),
        "flood": lambda: flood_measures.flood(server, _say),
        "attribution": lambda: attribution_measures.attribution(server),
        "twin": lambda: twin_measures.twin(server),
    }
    for name, measure in measures.items():
        if name in parts:
            _say(f"measuring: {name}")
            yield from measure()


def _fetch_page(url: str) -> None:
    import urllib.request
    from http.cookiejar import CookieJar

    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with opener.open(url, timeout=20) as reply:
        if b"<title>" not in reply.read():
            raise RuntimeError("the server did not serve the page")


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")


def _readable(measurement: Measurement) -> str:
    verdict = {True: "holds", False: "MISSED", None: ""}[measurement.holds]
    sign = ">=" if measurement.at_least else "<="
    target = "" if measurement.target is None else f"{sign} {measurement.target:g}"
    value = f"{measurement.value:10.3f} {measurement.unit:28}"
    return f"{measurement.name:52} {value} {target:8} {verdict} {measurement.note}".rstrip()
