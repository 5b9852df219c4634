"""A link shows what its maker saw; pictures, films and tables hold what the page shows."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow.parquet
from playwright.sync_api import Browser, Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage
from tests.browser.recordings import png_pixels, share_of_differing_pixels
from tests.browser.test_replay import menu, save

from livelens.bench.server_process import ServerProcess

PROMPT = "The cat sat on the mat and"
_VIEW = """() => {
    const { store, scene } = window.livelens;
    return { selection: store.selection.value, pos: store.current_pos.value, channel: store.display_channel.value,
        camera: scene.camera(), follow: store.follow.value, layers: store.layer_range.value };
}"""
_PICKED = """layers => layers.map(layer => {
    const { scene } = window.livelens;
    const at = scene.screen_position({ kind: "head", layer, index: 0 });
    return at && scene.pick(at.x, at.y);
})"""


def hash_of(page: Page) -> dict[str, list[str]]:
    return parse_qs(page.evaluate("() => location.hash.slice(1)"))


def canvas_size(page: Page) -> tuple[int, int]:
    """Width and height, CSS pixels."""
    width, height = page.evaluate(
        "() => { const c = document.querySelector('canvas'); return [c.clientWidth, c.clientHeight]; }"
    )
    return width, height


def looked_at(page: Page) -> None:
    """A view unlike a fresh one."""
    page.evaluate(
        """() => {
            const { store, scene } = window.livelens;
            store.selection.value = { kind: "neuron", layer: 7, index: 1404 };
            store.follow.value = false;
            store.current_pos.value = 6;
            store.display_channel.value = "direct_logit";
            scene.orbit(0.4, 0.1);
            scene.zoom(1.5);
        }"""
    )
    driving.at_rest(page)
    page.wait_for_function(
        """() => {
            const keys = new URLSearchParams(location.hash.slice(1));
            const pose = window.livelens.scene.camera().pose?.map((value) => Number(value.toFixed(3))).join(",");
            return keys.get("pos") === "6" && pose !== undefined && keys.get("cam") === pose;
        }"""
    )


def test_a_link_shows_what_its_maker_saw(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Camera, selection, channel, layers, token; the prompt only when asked; the server's token never; no history."""
    page = open_page(fake_server)
    n_history = page.evaluate("() => history.length")
    driving.run_to_end(page, PROMPT, length=6)
    page.get_by_label("First layer shown").fill("5")
    page.keyboard.press("Enter")
    page.get_by_label("Last layer shown").fill("9")
    page.keyboard.press("Enter")
    looked_at(page)
    seen = page.evaluate(_VIEW)
    keys = hash_of(page)
    assert keys["sel"] == ["L7N1404"] and keys["show"] == ["direct_logit"] and "prompt" not in keys
    assert keys["layers"] == ["5-9"]
    assert fake_server.token not in page.url
    assert page.evaluate("() => history.length") == n_history

    other = open_page(fake_server, fragment=page.evaluate("() => location.hash"))
    other.wait_for_function("() => window.livelens.store.current_pos.value === 6")
    driving.at_rest(other)
    shown = other.evaluate(_VIEW)
    assert {name: shown[name] for name in ("selection", "pos", "channel", "follow", "layers")} == {
        name: seen[name] for name in ("selection", "pos", "channel", "follow", "layers")
    }
    expect(other.get_by_label("Last layer shown")).to_have_value("9")
    assert math.dist(shown["camera"]["pose"], seen["camera"]["pose"]) < 0.01
    other.evaluate("() => { location.hash = location.hash.replace('L7N1404', 'L3H2'); }")
    other.wait_for_function("() => window.livelens.store.selection.value?.kind === 'head'")


def test_a_layer_range_leaves_the_other_layers_out(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Of picture, picking and table; the camera frames the rest; "All" brings back the very same picture."""
    page = open_page(fake_server)
    driving.run_to_end(page, PROMPT, length=6)
    driving.at_rest(page)
    n_calls = page.evaluate("() => window.livelens.scene.stats().draw_calls")
    before, layers = driving.canvas_pixels(page), [2, 4, 5, 9, 10, 12]
    assert [picked and picked["layer"] for picked in page.evaluate(_PICKED, layers)] == layers
    page.get_by_label("First layer shown").fill("5")
    page.keyboard.press("Enter")
    page.get_by_label("Last layer shown").fill("9")
    page.keyboard.press("Enter")
    driving.at_rest(page)
    assert page.evaluate("() => window.livelens.scene.stats().draw_calls") == n_calls
    shown = page.evaluate(_PICKED, layers)
    assert [picked and picked["layer"] for picked in shown] == [None, None, 5, 9, None, None]
    width = page.evaluate("() => document.querySelector('canvas').clientWidth")
    middle = page.evaluate("() => window.livelens.scene.screen_position({ kind: 'mlp', layer: 7, index: 0 }).x")
    assert abs(middle - width / 2) < 0.1 * width  # of the whole model it is far on the left
    assert share_of_differing_pixels(driving.canvas_pixels(page), before) > 0.2
    page.get_by_role("button", name="Show all layers").click()
    page.wait_for_function("() => !location.hash.includes('layers=')")
    assert share_of_differing_pixels(driving.canvas_pixels(page), before) < 0.001


def test_a_copied_link_carries_the_prompt_only_when_asked(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """And the interventions, for a page that has no run yet."""
    page = open_page(fake_server, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("textbox", name="Prompt").fill("My dog likes")
    page.keyboard.press("Escape")
    driving.ablate(page, "attn", 9)
    links = []
    for name, said in (
        ("Copy link", "The link is copied."),
        ("Copy link with prompt", "The link is copied, the prompt is in it."),
    ):
        page.locator("#share").click()
        page.locator(".share-menu").get_by_role("button", name=name, exact=True).click()
        expect(page.locator(".toast").get_by_text(said, exact=True)).to_be_visible()
        links.append(page.evaluate("() => navigator.clipboard.readText()"))
    assert "dog" not in links[0] and "dog" in links[1]
    assert all(fake_server.token not in link for link in links)
    other = open_page(fake_server, fragment="#" + links[1].partition("#")[2])
    driving.wait_set(other, 1)
    expect(other.get_by_role("textbox", name="Prompt")).to_have_value("My dog likes")
    driving.run_to_end(other, "My dog likes", length=3)
    log = other.evaluate("() => window.livelens.store.run.value.intervention_log")
    assert [spec["components"][0]["layer"] for spec in log[0]["interventions"]] == [9]


def test_a_picture_has_its_scale_its_labels_and_its_legend(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """Three times the canvas's size; at the legend's place there is a ramp; the page's own picture is as before."""
    page = open_page(fake_server, accept_downloads=True)
    driving.run_to_end(page, PROMPT, length=8)
    before = driving.canvas_pixels(page)
    page.locator("#share").click()
    page.get_by_label("Pixels of the picture").select_option("3")
    page.keyboard.press("Escape")
    path = save(page, "Save picture", tmp_path)
    assert path.suffix == ".png"
    pixels = png_pixels(path.read_bytes())
    width, height = canvas_size(page)
    assert pixels.shape[:2] == (3 * height, 3 * width)
    ramp = pixels[-3 * 140 :, -3 * 312 : -3 * 100, :3].reshape(-1, 3)
    assert len({tuple(colour) for colour in ramp[::7]}) > 60
    assert share_of_differing_pixels(driving.canvas_pixels(page), before) < 0.001


def played(browser: Browser, film: bytes) -> tuple[int, int, int]:
    """Width, height, and the number of colours of its last picture, once a browser has played it."""
    page = browser.new_page()
    found = page.evaluate(
        """async (base64) => {
            const video = document.createElement("video");
            const played = new Promise((done, failed) => {
                video.onended = done;
                video.onerror = () => failed(new Error(video.error.message));
            });
            video.muted = true;
            video.src = "data:video/webm;base64," + base64;
            await video.play();
            await played;
            const { videoWidth: width, videoHeight: height } = video;
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(video, 0, 0);
            const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
            return [width, height, new Set(pixels).size];
        }""",
        base64.b64encode(film).decode(),
    )
    page.close()
    return found[0], found[1], found[2]


def test_a_film_is_a_webm_of_what_moved(
    open_page: OpenPage, browser: Browser, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """It begins as every WebM does, plays in the browser, and has the picture's size."""
    page = open_page(fake_server, accept_downloads=True)
    driving.run_to_end(page, PROMPT, length=8)
    menu(page, "Begin a film")
    page.wait_for_function("() => document.querySelector('#share').textContent === 'Filming'")
    n_frames = page.evaluate("() => window.livelens.scene.stats().frames")
    for _ in range(4):
        page.keyboard.press("[")
        driving.drawn(page)
    page.wait_for_function("n => window.livelens.scene.stats().frames > n + 12", arg=n_frames)  # a film has a length
    path = save(page, "End and save the film", tmp_path)
    data = path.read_bytes()
    assert data[:4] == b"\x1a\x45\xdf\xa3" and b"webm" in data[:64]
    size = canvas_size(page)
    width, height, colours = played(browser, data)
    assert [width, height] == [2 * math.ceil(side / 2) for side in size]
    assert colours > 60, "there is a picture in it"


def test_the_table_of_tokens_is_what_the_page_holds(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """Row by row, with spaces to be seen and nothing that a spreadsheet would run; the same as Parquet, typed."""
    page = open_page(fake_server, accept_downloads=True)
    driving.run_to_end(page, '=1+1, "quoted"\nline', length=5)
    path = save(page, "Save table of tokens", tmp_path)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    chips = page.evaluate("() => window.livelens.store.tokens.value")
    assert [(int(row["position"]), int(row["token_id"]), json.loads(row["token"])) for row in rows] == [
        (chip["pos"], chip["token_id"], chip["text"]) for chip in chips
    ]
    assert all(row["token"].startswith('"') for row in rows)
    for row, chip in zip(rows, chips, strict=True):
        assert row["logprob"] == "" if chip["logprob"] is None else float(row["logprob"]) == chip["logprob"]
    assert float(rows[-1]["top1_prob"]) >= float(rows[-1]["top2_prob"])

    page.locator("#share").click()
    page.get_by_label("Format of the table").select_option("parquet")
    page.keyboard.press("Escape")
    parquet = save(page, "Save table of tokens", tmp_path)
    assert parquet.suffix == ".parquet"
    table = pyarrow.parquet.read_table(parquet)
    types = {"position": "int32", "token_id": "int32", "token": "string", "generated": "bool", "revision": "int32"}
    assert {name: str(table.schema.field(name).type) for name in types} == types
    assert {str(field.type) for field in table.schema if field.name not in types} == {"double", "string"}
    assert table.column_names == list(rows[0])
    assert [{name: csv_text(value) for name, value in row.items()} for row in table.to_pylist()] == rows


def csv_text(value: object) -> str:
    """A value of the typed table as the CSV has it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return repr(value) if value != int(value) else str(int(value))  # as JavaScript writes whole numbers
    return str(value).lower()
