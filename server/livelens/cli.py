"""The command line: `livelens serve | replay | record | bench | model`. Nothing heavy is imported early."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeVar

import typer

from livelens import __version__
from livelens.cli_errors import fail
from livelens.cli_recordings import RECORDING_COMMANDS, add_recording_commands
from livelens.config import ConfigError, env_name, read_config

if TYPE_CHECKING:
    from livelens.model.loading import Device, DTypeName

app = typer.Typer(
    add_completion=False,
    no_args_is_help=False,
    help="Watch a transformer language model think, and reach in while it does. Without a command: serve.",
)
model_app = typer.Typer(no_args_is_help=True, help="Models on this machine: list, fetch, path.")
app.add_typer(model_app, name="model")

_COMMANDS: Final = ("serve", "bench", "model", *RECORDING_COMMANDS)
_OWN_OPTIONS: Final = ("--help", "--version")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~-]{16,256}")
_DEVICES: Final[tuple[Device, ...]] = ("auto", "cpu", "cuda", "mps")
_DTYPES: Final[tuple[DTypeName, ...]] = ("auto", "float32", "bfloat16", "float16")
DEFAULT_MODEL: Final = "smollm2"


def main() -> None:
    """Entry point of `livelens` and `python -m livelens`."""
    for name in (signal.SIGINT, signal.SIGTERM):  # until the server's own handlers are there
        signal.signal(name, _leave)
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in (*_COMMANDS, *_OWN_OPTIONS):
        arguments = ["serve", *arguments]
    try:
        defaults = read_config() if arguments[0] == "serve" else {}
    except ConfigError as error:
        fail(str(error), code=2)
    app(arguments, prog_name="livelens", default_map={"serve": defaults})


def _leave(_: int, __: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"livelens {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    model: Annotated[
        str,
        typer.Option(
            envvar=env_name("model"),
            help="smollm2 (the shipped one), a folder, a GGUF file, a hub name, or fake[:LAYERSxHEADSxNEURONS].",
        ),
    ] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(envvar=env_name("device"), help="auto, cpu, cuda or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(envvar=env_name("dtype"), help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(envvar=env_name("threads"), min=1, help="Most threads of the model on a CPU; default: all."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(envvar=env_name("host"), help="Address to listen on; others than loopback are seen by others."),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            envvar=env_name("port"),
            min=0,
            max=65535,
            help="Default: 8765 or the next free one; 0: any.",
            show_default=False,
        ),
    ] = None,
    base_url: Annotated[str, typer.Option(envvar=env_name("base_url"), help="Path below which to serve.")] = "/",
    token: Annotated[
        str | None,
        typer.Option(
            envvar=env_name("token"),
            help="Instead of a random one. Others see a command line: prefer LIVELENS_TOKEN or --token-file.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(envvar=env_name("token_file"), help="File that holds the token.", show_default=False)
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(envvar=env_name("allow_host"), help="Further Host name to answer to; may be repeated."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(envvar=env_name("allow_origin"), help="Further origin whose pages may connect; may be repeated."),
    ] = None,
    allow_frame: Annotated[
        bool, typer.Option("--allow-frame", envvar=env_name("allow_frame"), help="Let other pages embed this one.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", envvar=env_name("no_browser"), help="Do not open a browser.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", envvar=env_name("json"), help="Print one JSON line when ready, nothing else.")
    ] = False,
    grace_secs: Annotated[
        float,
        typer.Option(
            envvar=env_name("grace_secs"), min=0, max=86400, help="A run that nobody watches ends after this."
        ),
    ] = 10.0,
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", envvar=env_name("trust_remote_code"), help="Run code that a model brings."),
    ] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; twice: even more.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but the address.")] = False,
) -> None:
    """Serve a model and its page; prints the address as the last line."""
    if model.startswith("fake"):
        # Two threads on matrices this small wait for each other more than they work. Read when numpy loads.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from livelens.model.source_errors import ModelSourceError
    from livelens.serving import ServeError, ServeSettings, run_serve

    settings = ServeSettings(
        model=model,
        device=_one_of("--device", device, _DEVICES),
        dtype=_one_of("--dtype", dtype, _DTYPES),
        n_threads=threads,
        host=host,
        port=port,
        base_url=base_url,
        token=_given_token(token, token_file),
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        allow_frame=allow_frame,
        open_browser=not no_browser,
        as_json=json,
        grace_secs=grace_secs,
        trust_remote_code=trust_remote_code,
        verbosity=-1 if quiet else verbose,
    )
    try:
        code = run_serve(settings)
    except ServeError as error:
        fail(str(error), code=2)
    except (ModelSourceError, RuntimeError) as error:
        fail(f"--model {model}: {error}", code=1)
    raise SystemExit(code)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Measure speed, size and latency; `livelens bench --help` tells how."""
    from livelens.bench.main import run_bench

    raise SystemExit(run_bench(context.args))


add_recording_commands(app)


@model_app.command("list")
def model_list() -> None:
    """Models that are ready on this machine, and the one that can be fetched without a hub."""
    from livelens.model.shipped import SHIPPED_MODEL_NAME, SHIPPED_NAME
    from livelens.model.sources import cache_folder

    typer.echo(f"{SHIPPED_NAME}  {SHIPPED_MODEL_NAME}, the shipped model")
    folder = cache_folder() / "models"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and (path / "config.json").is_file():
            typer.echo(str(path))


@model_app.command("fetch")
def model_fetch(name: Annotated[str, typer.Argument(help="As for serve --model.")] = DEFAULT_MODEL) -> None:
    """Fetch and convert a model now, so that serving it begins at once."""
    typer.echo(_resolved_folder(name))


@model_app.command("path")
def model_path(name: Annotated[str, typer.Argument(help="As for serve --model.")] = DEFAULT_MODEL) -> None:
    """The folder a model is loaded from; fetches it where it is not there yet."""
    typer.echo(_resolved_folder(name))


def _resolved_folder(name: str) -> str:
    from livelens.model.source_errors import ModelSourceError
    from livelens.model.sources import resolve_source

    if name.startswith("fake"):
        fail(f"{name} is computed, not fetched: livelens serve --model {name}", code=1)
    try:
        return str(resolve_source(name, progress=lambda text: typer.echo(text, err=True)).folder)
    except ModelSourceError as error:
        fail(str(error), code=1)


_Choice = TypeVar("_Choice", bound=str)


def _one_of(option: str, value: str, choices: tuple[_Choice, ...]) -> _Choice:
    for choice in choices:
        if value == choice:
            return choice
    fail(f"{option} {value} is not one of {', '.join(choices)}", code=2)


def _given_token(token: str | None, token_file: Path | None) -> str | None:
    if token is not None and token_file is not None:
        fail("give --token or --token-file, not both", code=2)
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"--token-file {token_file}: {error}", code=2)
    if token is not None and _TOKEN.fullmatch(token) is None:
        fail("a token has 16 to 256 letters, digits and . _ ~ -; leave it out for a random one", code=2)
    return token
