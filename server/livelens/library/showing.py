"""`view.show()`: the whole page in the output cell, on the view's own session; and what is shown where that cannot be.

A frame is told the view's share key in the part of its address that no server sees, so it looks at the same run and
the same component as the view.
"""

from __future__ import annotations

import base64
import os
import sys
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from livelens.library.progress import is_notebook
from livelens.library.registration import runtime_folder

if TYPE_CHECKING:
    from livelens.library.live_view import LiveView

_FRAME: Final = (
    '<iframe src="{address}" title="livelens" width="100%" height="{height}" '
    'style="border:0;border-radius:6px;display:block" allow="fullscreen; clipboard-write"></iframe>'
)
_STILL_SIZE: Final = (960, 420)
_CAPTION: Final = '<div style="font-size:12px;opacity:.75;margin-top:2px">{text}</div>'
_ELSEWHERE: Final = "If the frame stays empty, this {frontend} does not run on the machine of the kernel: "
_LOCAL_HINT: Final = _ELSEWHERE.format(frontend="browser") + (
    'pip install "livelens[jupyter]" beside Jupyter and restart it, and the page comes through Jupyter.'
)
_VS_CODE_HINT: Final = _ELSEWHERE.format(frontend="editor") + (
    "forward port {port} to the same port here (the panel Ports), and run the cell again."
)
_PICTURE: Final = (
    '<details style="font-size:12px;opacity:.75"><summary>The newest token as a picture</summary>{image}</details>'
)
_NOTHING: Final = "Nothing interactive can be shown here: open {url} in a browser on this machine."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page can be framed. kind: `jupyter`, through the extension; `local`, on loopback; `none`."""

    kind: str
    address: str = ""


def show_page(view: LiveView, *, frame_url: str, height: int) -> None:
    """Put the page into the output cell; where no frame can be shown, say so, with a picture and the address."""
    place = place_here(frame_url=frame_url, jupyter_address=view.offer())
    if place.kind == "none":
        text = _NOTHING.format(url=view.url)
        show_output(still_html(still_picture(view), text), text)
        return
    run_id = None if view.generation is None else view.generation.run.run_id
    address = frame_address(place.address, share_key=view.share_key, run_id=run_id)
    picture = None if place.kind == "jupyter" else still_picture(view)
    show_output(frame_html(place, address, height=height, picture=picture), f"livelens at {view.url}")


def place_here(*, frame_url: str, jupyter_address: str | None) -> Place:
    """What this process's outputs can show.

    jupyter_address: of the registered view, below Jupyter's own address.
    """
    if not is_notebook():
        return Place(kind="none")
    if jupyter_address is not None:
        return Place(kind="jupyter", address=jupyter_address)
    if _has_frontend_here():
        return Place(kind="local", address=frame_url)
    return Place(kind="none")


def frame_address(address: str, *, share_key: str, run_id: str | None) -> str:
    """The page's address with what it is to look at, in the fragment."""
    keys = {"share": share_key} | ({} if run_id is None else {"run": run_id})
    return f"{address}#{urlencode(keys)}"


def frame_html(place: Place, address: str, *, height: int, picture: bytes | None = None) -> str:
    """The frame; under a local one, what to do where it stays empty, and the picture for that case."""
    frame = _FRAME.format(address=escape(address, quote=True), height=height)
    if place.kind == "jupyter":
        return frame
    hint = _VS_CODE_HINT.format(port=urlsplit(address).port) if _is_vs_code() else _LOCAL_HINT
    still = "" if picture is None else _PICTURE.format(image=_image(picture))
    return frame + _CAPTION.format(text=escape(hint)) + still


def still_html(picture: bytes | None, text: str) -> str:
    """A picture of what there is, and why it does not move."""
    return ("" if picture is None else _image(picture)) + _CAPTION.format(text=escape(text))


def _image(picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    alt = "the network at the newest token"
    return f'<img alt="{alt}" style="max-width:100%" src="data:image/png;base64,{data}">'


def show_output(html: str, text: str) -> None:
    """An output of the cell, or a line of a terminal."""
    if not is_notebook():
        sys.stdout.write(text + "\n")
        return
    from IPython.display import publish_display_data

    publish_display_data({"text/html": html, "text/plain": text})


def still_picture(view: LiveView) -> bytes | None:
    """PNG of the newest token; none before there is one, and without livelens[notebook]."""
    steps = view.steps if view.generation is not None else []
    if not steps:
        return None
    try:
        from livelens.notebook import camera, layout, sheet, still
    except ImportError:
        return None
    width, height = _STILL_SIZE
    blocks = layout.build_blocks(view.model_info)
    drawn = sheet.colour_sheet(blocks, steps[-1].tensors, display="activation", theme="dark", ablated=view.ablated)
    pose = camera.fit_pose(camera.whole_network(blocks), "three_quarter", width / height)
    return still.still_png(drawn, pose, "dark", width=width, height=height)


def _has_frontend_here() -> bool:
    """A notebook that somebody looks at: a Jupyter server or VS Code started this kernel, on this machine or not.

    nbconvert, nbclient and a plain `jupyter console` start kernels without either; Colab shows no loopback address.
    """
    if "google.colab" in sys.modules:
        return False
    if _is_vs_code():
        return True
    folder, parent = runtime_folder(), os.environ.get("JPY_PARENT_PID", "")
    return folder is not None and parent.isdigit() and (folder / f"jpserver-{parent}.json").exists()


def _is_vs_code() -> bool:
    return "VSCODE_PID" in os.environ or "VSCODE_IPC_HOOK_CLI" in os.environ
