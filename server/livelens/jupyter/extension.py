"""The extension app: its configuration, and which addresses it answers below `{base_url}livelens`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast, get_args

from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Dict, Enum, Float, Integer, TraitError, Unicode, validate

from livelens.jupyter.handlers import HealthHandler, ModelsHandler, PageHandler, RedirectHandler
from livelens.jupyter.models import LazyModel
from livelens.jupyter.viewer_socket import ViewerSocket
from livelens.model.engine import Engine
from livelens.model.loading import Device, DTypeName, load_engine
from livelens.session.session import DEFAULT_GRACE_SECS
from livelens.transport.http_assets import load_assets
from livelens.transport.hub import MAX_CONNECTIONS

if TYPE_CHECKING:
    from traitlets import Bunch

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# `livelens/` is the first model's page, `livelens/model/NAME/` each one's
_MODEL: Final = r"livelens/(?:model/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})/)?"


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
        shared = {"models": self.lazy_models}
        page = {**shared, "assets": load_assets()}
        self.handlers.extend(
            [
                (r"livelens", RedirectHandler),
                (r"livelens/models", ModelsHandler, shared),
                (_MODEL + "ws", ViewerSocket, shared),
                (_MODEL + "health", HealthHandler, shared),
                (_MODEL + "(?P<path>.*)", PageHandler, page),
            ]
        )

    async def stop_extension(self) -> None:
        """Jupyter is going: so do the viewers and the model threads."""
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
