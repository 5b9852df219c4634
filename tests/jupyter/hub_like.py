"""Lets in whom a JupyterHub's single-user server would: read by the Jupyter server of `test_hub_checks.py`.

JupyterHub 5 (`_xsrf_utils.py`): with a cookie alone, what a page could read is given to pages that carry the key.
"""

from __future__ import annotations

from jupyter_server.auth.identity import PasswordIdentityProvider, User
from jupyter_server.base.handlers import JupyterHandler


class HubLike(PasswordIdentityProvider):
    """Jupyter's own login, and a hub's check of the key after it."""

    async def _get_user(self, handler: JupyterHandler) -> User | None:
        user: User | None = await super()._get_user(handler)
        headers = handler.request.headers
        mode, site = headers.get("Sec-Fetch-Mode", "navigate"), headers.get("Sec-Fetch-Site")
        is_free = mode in ("navigate", "websocket") or (mode == "no-cors" and site == "same-origin")
        key = headers.get("X-Xsrftoken")
        return user if is_free or (key is not None and key == handler.get_cookie("_xsrf")) else None
