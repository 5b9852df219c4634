"""What is answered over HTTP: the page, which models there are, how they do. Jupyter decides who may ask."""

from __future__ import annotations

import http
import json
import os
from typing import Final
from urllib.parse import urlencode

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado import web

from livelens.jupyter.models import Watchable, Watched
from livelens.transport.http_assets import Assets

AUTH_RESOURCE: Final = "livelens"
_NO_ASSETS: Final = Assets({})
# A JupyterHub's default for all of a user's server. What the frame of a notebook or a panel is in comes from the same
# server. Where users share one address, another's page could open our websocket without any frame: only a hub with a
# subdomain for each user keeps them apart, and there 'self' is that user alone.
_HUB_POLICY: Final = "frame-ancestors 'none'"
_CONTENT_POLICY: Final = (
    "default-src 'self'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"
)


class LivelensHandler(JupyterHandler):
    """Refusals in a line of text, the page's own content policy, and a model by its name in the address."""

    auth_resource = AUTH_RESOURCE
    _watched: Watched

    def initialize(self, watched: Watched) -> None:
        """watched: every model that may be watched."""
        self._watched = watched

    def model_at(self, place: str | None) -> Watchable:
        """`model/NAME` or `kernel/ID` of the address, without one the first model; 404 for any other."""
        return self._watched.at(place)

    @property
    def content_security_policy(self) -> str:
        """Jupyter's own (who may frame it), and what the page needs, which is nothing from elsewhere."""
        policy: str = super().content_security_policy
        if policy == _HUB_POLICY and "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
            policy = "frame-ancestors 'self'"
        return f"{policy}; {_CONTENT_POLICY}"

    def set_default_headers(self) -> None:
        """Jupyter's, and what keeps addresses and contents from other sites."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def write_error(self, status_code: int, **_: object) -> None:
        """A line of text in place of Jupyter's error page."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(self._reason if self._reason else http.HTTPStatus(status_code).phrase)


class RedirectHandler(JupyterHandler):
    """`livelens` is `livelens/`, so that the page's relative addresses are right."""

    auth_resource = AUTH_RESOURCE

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Go on with a slash."""
        query = self.request.query
        self.redirect(self.request.path + "/" + ("?" + query if query else ""))


class PageHandler(LivelensHandler):
    """The page and its files, from the same table in memory as in `livelens serve`."""

    def initialize(self, watched: Watched, assets: Assets = _NO_ASSETS) -> None:
        """assets: every file there is."""
        super().initialize(watched)
        self._assets = assets
        self._etag: str | None = None

    async def prepare(self, *, _redirect_to_login: bool = True) -> None:
        """Who asks is checked as for any page.

        A JupyterHub's cookie opens to scripts and workers nothing but what they could not read, or with a key that a
        module's imports cannot carry. These files are everybody's who installed livelens: they pass as such.
        """
        headers = self.request.headers
        if headers.get("Sec-Fetch-Site") == "same-origin" and headers.get("Sec-Fetch-Mode") in ("cors", "same-origin"):
            headers["Sec-Fetch-Mode"] = "no-cors"
        await super().prepare(_redirect_to_login=_redirect_to_login)

    @web.authenticated
    @authorized
    def get(self, path: str, place: str | None = None) -> None:
        """One file, or the page at the empty path."""
        self.model_at(place)
        given = self.request.query_arguments
        if "token" in given:  # it has done its work: Jupyter has set a cookie, and the address is kept in histories
            rest = {key: value for key, value in given.items() if key != "token"}
            self.redirect(self.request.path + ("?" + urlencode(rest, doseq=True) if rest else ""))
            return
        asset = self._assets.get(path)
        if asset is None:
            raise web.HTTPError(404, reason="Nothing is here; the page is at livelens/")
        self._etag = asset.etag
        self.set_header("Content-Type", asset.content_type)
        self.set_header("Cache-Control", asset.cache_control)
        self.finish(asset.body)

    @web.authenticated
    @authorized
    def head(self, path: str, place: str | None = None) -> None:
        """As `get`; tornado leaves out the body."""
        asset = self._assets.get(path)
        self.model_at(place)
        if asset is None:
            raise web.HTTPError(404)
        self.set_header("Content-Type", asset.content_type)
        self.set_header("Content-Length", str(len(asset.body)))
        self.finish()

    def compute_etag(self) -> str | None:
        """The digest made when the file was read."""
        return self._etag


class ModelsHandler(LivelensHandler):
    """The names that may follow `livelens/model/`, the default one first; never what they are loaded from."""

    @web.authenticated
    @authorized
    def get(self) -> None:
        """JSON: [{"name", "is_loaded"}]."""
        found = [{"name": name, "is_loaded": model.hub is not None} for name, model in self._watched.models.items()]
        _finish_json(self, found)


class HealthHandler(LivelensHandler):
    """How one model's viewers and runs do."""

    @web.authenticated
    @authorized
    def get(self, place: str | None = None) -> None:
        """JSON, as of `livelens serve`."""
        _finish_json(self, self.model_at(place).health())


def _finish_json(handler: JupyterHandler, value: object) -> None:
    handler.set_header("Content-Type", "application/json")
    handler.set_header("Cache-Control", "no-store")
    handler.finish(json.dumps(value))
