"""`livelens replay` and `livelens record`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from livelens.cli_errors import fail

if TYPE_CHECKING:
    from livelens.protocol.messages import Component, TwinMode

RECORDING_COMMANDS = ("replay", "record")
_TWINS: dict[str, TwinMode] = {"off": "off", "same": "teacher_forced", "free": "free_running"}


def add_recording_commands(app: typer.Typer) -> None:
    """Put the commands into the command line."""
    app.command("replay")(replay)
    app.command("record")(record)


def replay(
    file: Annotated[Path, typer.Argument(help="A recording: FILE.livelens.", show_default=False)],
    html: Annotated[
        Path | None,
        typer.Option(help="Write page and recording into this one file, which opens anywhere; serve nothing."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Default: 8765 or the next free one; 0: any.", show_default=False),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready, nothing else.")] = False,
) -> None:
    """Show a recording: the page with a time line, no model and nothing of torch behind it."""
    from livelens.recordings import RecordingError
    from livelens.recordings.replaying import ReplaySettings, run_replay, write_page
    from livelens.serving import ServeError

    settings = ReplaySettings(file=file, host=host, port=port, open_browser=not no_browser, as_json=json)
    try:
        if html is not None:
            typer.echo(write_page(file, html))
            return
        code = run_replay(settings)
    except RecordingError as error:
        fail(f"{file}: {error}", code=2)
    except ServeError as error:
        fail(str(error), code=2)
    except OSError as error:
        name = error.filename if error.filename is not None else file
        fail(f"{name}: {error.strerror or error}", code=2)
    raise SystemExit(code)


def record(
    prompt: Annotated[str, typer.Argument(help="Text for the model to continue.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)],
    model: Annotated[str, typer.Option(help="As for serve --model.")] = "smollm2",
    length: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most tokens to generate.")] = 64,
    temperature: Annotated[float, typer.Option(min=0, max=100, help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same text.")] = 0,
    max_mb: Annotated[int, typer.Option(min=1, help="Most megabytes of the file.")] = 1024,
    ablate: Annotated[
        list[str] | None,
        typer.Option(help="Switch this component off in the whole run: L12H3, L7N1404, L5.attn or L5.mlp. Repeatable."),
    ] = None,
    twin: Annotated[
        Literal["off", "same", "free"],
        typer.Option(help="Carry the clean twin: fed the same text, or free to write its own."),
    ] = "off",
) -> None:
    """Run a prompt and write everything captured to one file."""
    from livelens.client.errors import LivelensError
    from livelens.model.source_errors import ModelSourceError
    from livelens.protocol.messages import Sampling
    from livelens.recordings.command import RecordedRun, run_record

    sampling = Sampling(temperature=temperature, seed=seed, max_new_tokens=length)
    asked = RecordedRun(
        prompt=prompt,
        sampling=sampling,
        twin=_TWINS[twin],
        ablate=_components(ablate or []),
        max_bytes=max_mb * 1_000_000,
    )
    try:
        note = run_record(asked, output, model=model)
    except (ModelSourceError, RuntimeError) as error:
        fail(f"--model {model}: {error}", code=1)
    except LivelensError as error:
        fail(str(error), code=1)
    except OSError as error:
        fail(f"{output}: {error.strerror or error}", code=1)
    typer.echo(str(output))
    if note is not None:
        typer.secho(f"livelens: {note}", err=True, fg="yellow")


def _components(names: list[str]) -> tuple[Component, ...]:
    from livelens.protocol.components import parse_component

    try:
        return tuple(parse_component(name) for name in names)
    except ValueError as error:
        fail(f"--ablate: {error}", code=2)
