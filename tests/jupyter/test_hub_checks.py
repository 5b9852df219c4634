"""Below a JupyterHub: its check of the key that pages carry, and its policy on frames.

`hub_like.py` has that check; a hub of two users was tried by hand, see docs/jupyter.md.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.serving import Reply
from tests.jupyter.jupyter_process import JupyterProcess, jupyter_server
from tests.jupyter.test_auth import cookie_of, request

HUB_POLICY = "frame-ancestors 'none'"
FETCHES = ({"Sec_Fetch_Mode": "cors"}, {"Sec_Fetch_Mode": "same-origin"})  # a module and its imports; a worker


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    folder = tmp_path_factory.mktemp("hub")
    shutil.copy(Path(__file__).with_name("hub_like.py"), folder)
    settings = {"headers": {"Content-Security-Policy": HUB_POLICY}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
        with jupyter_server(
            folder,
            "--ServerApp.identity_provider_class=hub_like.HubLike",
            f"--ServerApp.tornado_settings={settings}",
        ) as server:
            yield server


async def test_scripts_and_workers_of_the_page_are_given_to_who_is_logged_in(hub: JupyterProcess) -> None:
    """None of them can carry the key; what says something of somebody is given with it only."""
    cookie = await cookie_of(hub)
    page = await request(hub, "livelens/", Cookie=cookie, Sec_Fetch_Mode="navigate")
    files = re.findall(r'(?:src|href)="\./([^"]+)"', page.body.decode())
    assert any(name.endswith(".js") for name in files)

    async def fetched(path: str, **headers: str) -> Reply:
        return await request(hub, f"livelens/{path}", **headers)

    for name in files:
        for mode in FETCHES:
            own = {**mode, "Sec_Fetch_Site": "same-origin"}
            assert (await fetched(name, Cookie=cookie, **own)).status == 200, name
            assert (await fetched(name, **own)).status == 302, name  # a stranger
            assert (await fetched(name, Cookie=cookie, **{**own, "Sec_Fetch_Site": "same-site"})).status == 302, name
    for name in ("models", "health"):
        own = {"Sec_Fetch_Mode": "cors", "Sec_Fetch_Site": "same-origin"}
        assert (await fetched(name, Cookie=cookie, **own)).status == 302, name
        assert (await fetched(name, Cookie=f"{cookie}; _xsrf=key", X_Xsrftoken="key", **own)).status == 200, name


async def test_our_page_may_be_framed_by_its_own_server(hub: JupyterProcess) -> None:
    cookie = await cookie_of(hub)
    policy = (await request(hub, "livelens/", Cookie=cookie)).headers["Content-Security-Policy"]
    assert policy.startswith("frame-ancestors 'self';") and "'none'" not in policy.split(";")[0]
    assert (await request(hub, "api/status", Cookie=cookie)).headers["Content-Security-Policy"].startswith(HUB_POLICY)
