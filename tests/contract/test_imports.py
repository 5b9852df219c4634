"""Who may import whom, read from the source; and what importing livelens must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "server" / "livelens"
# folder or module -> what of livelens it may import, itself aside
ALLOWED = {
    "protocol": set(),
    "model": {"protocol", "analysis"},
    "analysis": {"protocol", "model"},
    "run": {"protocol", "model"},
    "session": {"protocol", "model", "run"},
    "transport": {"protocol", "model", "run", "session"},
    "library": {"protocol", "model", "transport", "client", "serving", "notebook"},  # that when it is asked for
    "notebook": {"protocol", "client", "library"},
    "jupyter": {"protocol", "model", "session", "transport"},
}
HEAVY = {"torch", "transformers", "transformer_lens"}
OF_JUPYTER = {"jupyter_server", "jupyter_core", "tornado", "traitlets"}  # the extra, which need not be installed


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, *, at_import_time: bool) -> set[str]:
    """Dotted names a file imports; at_import_time leaves out those inside functions and TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if at_import_time:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def part_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_imports_only_what_lies_below_it(path: Path) -> None:
    part = part_of(path)
    names = imports(path, at_import_time=False)
    if part in ALLOWED:
        own = {name.split(".")[1] for name in names if name.startswith("livelens.")}
        assert own <= ALLOWED[part] | {part}, own - ALLOWED[part] - {part}
    tops = {name.split(".")[0] for name in imports(path, at_import_time=True)}
    if part not in ("model", "analysis"):
        assert not tops & HEAVY, f"only model/ and analysis/ import {tops & HEAVY} at module level"
    if path != PACKAGE / "model" / "bridge.py" and part != "bench":
        assert "transformer_lens" not in {name.split(".")[0] for name in names}
    if part != "jupyter":
        assert not {name.split(".")[0] for name in names} & OF_JUPYTER, "only jupyter/ imports the extra's packages"
    if part in ("session", "protocol", "run"):
        assert not tops & {"asyncio", "websockets", "socket", "ssl"}, "no I/O here"
    if part == "session":
        assert not tops & {"time", "threading", "queue"}, "no clock and no thread here"


@pytest.mark.parametrize(
    "code",
    [
        "import livelens",
        "import livelens.client",
        "import livelens.session.session",
        "import livelens.transport.websocket_server",
        "import livelens.serving",
        "import livelens.jupyter.extension",
        "import livelens; livelens.view",
        "import livelens.model.fake",
        "import sys; sys.argv = ['livelens', '--help']\nfrom livelens.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_loaded_before_a_model_is(code: str) -> None:
    check = f"{code}\nimport sys\nheavy = {HEAVY!r} & set(sys.modules)\nassert not heavy, heavy"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_jupyter_handler_asks_for_login_and_authorization() -> None:
    """jupyter-server lets a stranger into a handler that does not ask by itself, a websocket above all."""
    asks = {("web.authenticated", "authorized"), ("ws_authenticated",)}
    methods = []
    for path in sorted((PACKAGE / "jupyter").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_method = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_method and node.name in ("get", "head", "post", "put", "delete", "patch", "options"):
                decorators = tuple(ast.unparse(item) for item in node.decorator_list)
                methods.append(decorators)
                assert decorators in asks, f"{path.name}:{node.lineno}: {decorators}"
                if decorators == ("ws_authenticated",):
                    assert "authorizer.is_authorized" in ast.unparse(node), f"{path.name}:{node.lineno}"
    assert len(methods) >= 6


def test_tokens_are_compared_in_constant_time_only() -> None:
    """`hmac.compare_digest` is the only thing that meets the token and the cookie."""
    source = (PACKAGE / "transport" / "security.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            assert "_token" not in text and "_cookie" not in text.replace("_cookie_name", ""), text
    assert source.count("hmac.compare_digest(") == 3  # the token, the cookie, the key of a frame


def test_no_command_can_name_a_path_or_an_address() -> None:
    from livelens.protocol import messages

    fields = {name for command in messages.Command.__args__ for name in command.__struct_fields__}
    assert not {name for name in fields if any(word in name for word in ("path", "url", "file", "model", "address"))}
