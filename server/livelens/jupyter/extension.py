"""The extension app: its configuration, and which addresses it answers below `{base_url}livelens`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Dict, Enum, Float, Integer, TraitError, Unicode, validate

from livelens.jupyter.handlers import HealthHandler, ModelsHandler, PageHandler, RedirectHandler
from livelens.jupyter.kernel_views import KernelViews
from livelens.jupyter.models import LazyModel, Watched
from livelens.jupyter.viewer_socket import ViewerSocket
from livelens.model.engine import Engine
from livelens.model.loading import Device, DTypeName, load_engine
from livelens.session.session import DEFAULT_GRACE_SECS
from livelens.transport.http_assets import load_assets
from livelens.transport.hub import MAX_CONNECTIONS
from livelens.transport.kernel_files import VIEW_ID, ServerFile, server_path, write_file

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp
    from traitlets import Bunch

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# `livelens/` is the first model's page, `model/NAME/` below it each one's, `kernel/ID/` that of a kernel's view
_PLACE: Final = rf"livelens/(?:(?P<place>model/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}|kernel/{VIEW_ID})/)?"


class LivelensExtension(ExtensionApp):
    """Serves the page and the protocol under Jupyter's own login, Origin and Host checks."""

    name = "livelens"
    extension_url = "/livelens/"
    load_other_extensions = True

    models = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        default_value={"smollm2": "smollm2"},
        help="The models that may be watched: name (in the address) -> what `livelens serve --model` takes. The first "
        "is at livelens/. No request can name any other.",
    ).tag(config=True)
    device = Enum(get_args(Device), default_value="auto", help="Where models run.").tag(config=True)
    dtype = Enum(get_args(DTypeName), default_value="auto", help="float32 on a CPU, else the model's own.").tag(
        config=True
    )
    threads = Integer(None, allow_none=True, min=1, help="Most threads of a model on a CPU; none: all.").tag(
        config=True
    )
    trust_remote_code = Bool(False, help="Run code that a model brings.").tag(config=True)
    grace_secs = Float(
        DEFAULT_GRACE_SECS, min=0, max=86400, help="Seconds after which a run that nobody watches ends."
    ).tag(config=True)
    max_connections = Integer(MAX_CONNECTIONS, min=1, help="Viewers of one model at once.").tag(config=True)

    @validate("models")
    def _check_models(self, proposal: Bunch) -> dict[str, str]:
        models: dict[str, str] = proposal["value"]
        bad = [name for name in models if _NAME.fullmatch(name) is None]
        if bad or not models:
            raise TraitError(f"LivelensExtension.models: a name has letters, digits and . _ -; got {bad or 'no model'}")
        return models

    def initialize_settings(self) -> None:
        """Nothing is loaded here: that waits for the first viewer."""
        self.lazy_models = {
            name: LazyModel(
                name, self._loader(source), grace_secs=self.grace_secs, max_connections=self.max_connections
            )
            for name, source in self.models.items()
        }

    def initialize_handlers(self) -> None:
        """The addresses, the most special first."""
        shared = {"watched": Watched(self.lazy_models, KernelViews(self._runtime_folder))}
        page = {**shared, "assets": load_assets()}
        self.handlers.extend(
            [
                (r"livelens", RedirectHandler),
                (r"livelens/models", ModelsHandler, shared),
                (_PLACE + "ws", ViewerSocket, shared),
                (_PLACE + "health", HealthHandler, shared),
                (_PLACE + "(?P<path>.*)", PageHandler, page),
            ]
        )

    @property
    def _runtime_folder(self) -> Path:
        assert self.serverapp is not None
        return Path(self.serverapp.runtime_dir)

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        """Jupyter serves: let its kernels know."""
        file = server_path(self._runtime_folder, os.getpid())
        try:
            write_file(file, ServerFile(base_url=serverapp.base_url))
        except OSError as error:  # the models are served all the same
            self.log.warning("livelens: kernels will not find this server, %s cannot be written: %s", file, error)

    async def stop_extension(self) -> None:
        """Jupyter is going: so do the viewers and the model threads."""
        server_path(self._runtime_folder, os.getpid()).unlink(missing_ok=True)
        await asyncio.gather(*(model.close() for model in self.lazy_models.values()))

    def _loader(self, source: str) -> Callable[[], Engine]:
        return partial(
            load_engine,
            source,
            device=cast("Device", self.device),
            dtype=cast("DTypeName", self.dtype),
            n_threads=self.threads,
            trust_remote_code=self.trust_remote_code,
        )
