"""The page does what its README says, in a real browser with real clicks."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "The cat sat on the mat and"


def test_a_prompt_becomes_tokens_and_the_network_lights_up(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Typing and pressing Run brings tokens one by one, and with them the pixels change."""
    page = open_page(fake_server)
    before = driving.canvas_pixels(page)
    driving.run_to_end(page, PROMPT, length=6)
    shown = driving.canvas_pixels(page)
    assert shown != before
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "() => window.livelens.store.current_pos.value === window.livelens.store.history.newest_pos - 2"
    )
    assert driving.canvas_pixels(page) != shown


def test_the_address_is_clean_after_the_first_visit(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """The token was spent on a cookie that scripts cannot read."""
    page = open_page(fake_server)
    assert page.evaluate("() => location.search") == ""
    assert fake_server.token not in page.content()
    assert page.evaluate("() => document.cookie") == ""


def test_a_click_on_a_cell_selects_that_neuron(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Known places in the canvas give exactly their components; the inspector and the table follow."""
    page = open_page(fake_server)
    driving.run_to_end(page, PROMPT, length=4)
    for kind, layer, index, name in [("head", 5, 2, "L5H2"), ("neuron", 12, 700, "L12N700"), ("neuron", 0, 0, "L0N0")]:
        driving.focus_camera(page, kind, layer, index)
        page.mouse.click(*driving.canvas_point(page, kind, layer, index))
        assert driving.selected(page) == {"kind": kind, "layer": layer, "index": index}
        expect(page.get_by_role("region", name="Inspector").or_(page.get_by_label("Inspector")).first).to_contain_text(
            name
        )


def test_ablated_mid_generation_the_text_changes(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Paused in the middle, three whole layers off by key: the list says from where, and the text parts there."""
    page = open_page(fake_server)
    driving.run_to_end(page, PROMPT, length=20)
    clean = driving.token_ids(page)

    driving.hold_run(page, PROMPT, length=20)
    for layer in (3, 9, 15, 21, 27):
        driving.ablate(page, "attn", layer)
    assert driving.run_view(page)["revision"] == 5
    from_pos = page.evaluate("() => window.livelens.store.run.value.intervention_log.at(-1).from_pos")
    expect(
        page.get_by_role("region", name="Interventions").or_(page.get_by_label("Interventions")).first
    ).to_contain_text(f"position {from_pos}")
    driving.resume(page)
    patched = driving.token_ids(page)
    assert patched[: from_pos + 1] == clean[: from_pos + 1]
    assert patched != clean


def test_a_reload_in_the_middle_comes_back_to_the_same_run(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Every token and every position's activations are there again, and the run goes on."""
    page = open_page(fake_server)
    driving.hold_run(page, PROMPT, length=20)
    run_id, tokens = driving.run_id(page), driving.token_ids(page)
    page.reload()
    page.wait_for_function("() => window.livelens?.store.run.value")
    assert driving.run_id(page) == run_id
    assert driving.token_ids(page) == tokens
    page.wait_for_function(
        "n => { const { history } = window.livelens.store;"
        " return history.size >= n && history.positions().every((pos) => history.get(pos).tensors.neurons); }",
        arg=len(tokens) - 1,
    )
    driving.resume(page)
    assert driving.token_ids(page)[: len(tokens)] == tokens


def test_two_pages_have_their_own_runs_or_join_one_by_its_link(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """A link is the address with the run in it."""
    first, second = open_page(fake_server), open_page(fake_server)
    driving.run_to_end(first, PROMPT, length=3)
    driving.run_to_end(second, "My dog likes", length=3)
    assert driving.run_id(first) != driving.run_id(second)
    joined = open_page(fake_server, fragment=first.evaluate("() => location.hash"))
    joined.wait_for_function("() => window.livelens.store.run.value")
    assert driving.run_id(joined) == driving.run_id(first)
    assert driving.token_ids(joined) == driving.token_ids(first)


def test_step_makes_exactly_one_token_and_stop_keeps_the_text(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Single step, then stop, then run again."""
    page = open_page(fake_server)
    driving.start_run(page, PROMPT, length=2000)  # more than any machine makes before it is held
    driving.press_while(page, "window.livelens.store.run.value.state === 'running'", "#pause")
    driving.wait_state(page, "paused")
    n_tokens = len(driving.token_ids(page))
    driving.step(page)
    assert len(driving.token_ids(page)) == n_tokens + 1
    page.get_by_role("button", name="Stop").click()
    driving.wait_state(page, "finished")
    assert len(driving.token_ids(page)) == n_tokens + 1
    driving.run_to_end(page, PROMPT, length=3)
    assert page.evaluate("() => window.livelens.store.run.value.finish_reason") == "max_new_tokens"


def test_a_selected_head_shows_what_it_reads_as_numbers(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """The listed weights are the exact row: they sum to one."""
    page = open_page(fake_server)
    driving.run_to_end(page, PROMPT, length=3)
    before = driving.canvas_pixels(page)
    driving.select(page, "head", 11, 4)
    attended = page.get_by_label("Attention of L11H4").first
    expect(attended).to_be_visible()
    driving.at_rest(page)
    assert driving.canvas_pixels(page) != before  # arcs


def _keyboard_ablates(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.locator("#component-search")).to_be_focused()
    page.keyboard.type("L7H3")
    expect(page.locator("[role=grid] [role=row]").nth(1)).to_contain_text("L7H3")
    page.keyboard.press("Enter")  # selects the first row found, and gives the table the keys
    page.wait_for_function("() => window.livelens.store.selection.value?.kind === 'head'")
    assert driving.selected(page) == {"kind": "head", "layer": 7, "index": 3}
    page.keyboard.press("a")


def test_keyboard_alone_ablates_a_head(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """No mouse: prompt, run, search, select, ablate."""
    page = open_page(fake_server)
    page.get_by_role("textbox", name="Prompt").focus()
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.livelens.store.run.value")
    page.keyboard.press("Escape")
    _keyboard_ablates(page)
    page.wait_for_function("() => window.livelens.store.touched.value.has('head:7:3')")


def test_axe_finds_nothing(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """In both themes, with a selection and an intervention on the page."""
    page = open_page(fake_server, color_scheme="dark")
    driving.run_to_end(page, PROMPT, length=4)
    driving.ablate(page, "head", 2, 1)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=scheme)
        driving.drawn(page)
        assert driving.axe_violations(page) == []


def test_every_control_is_within_the_window(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """The top bar and the interventions wrap where the window is narrow."""
    page = open_page(fake_server)
    for width in (1280, 1000, 860, 700):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_function("width => innerWidth === width", arg=width)
        driving.drawn(page)
        beyond = page.evaluate(
            "() => [...document.querySelectorAll('.top-bar :is(button, input, textarea, summary),"
            " .interventions button')].filter((control) => control.checkVisibility()"
            " && control.getBoundingClientRect().right > innerWidth).map((control) => control.textContent)"
        )
        assert beyond == [], f"beyond the edge of a window of {width} pixels"


def test_hostile_text_stays_text(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Prompts that are markup are shown, not run; open_page fails on any CSP report."""
    page = open_page(fake_server)
    page.evaluate("() => (window.__owned = 0)")
    for hostile in (
        "<img src=x onerror=window.__owned=1>",
        "<script>window.__owned=1</script>",
        '"><svg onload=window.__owned=1>',
        "javascript:window.__owned=1",
        "{{constructor.constructor('window.__owned=1')()}}",
    ):
        driving.run_to_end(page, hostile, length=2)
        assert driving.run_view(page)["prompt"] == hostile
    assert page.evaluate("() => window.__owned") == 0
    assert page.locator("img, script:not([src])").count() == 0


def test_a_lost_webgl_context_comes_back(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Five times; the picture is the same afterwards."""
    page = open_page(fake_server)
    driving.run_to_end(page, PROMPT, length=4)
    page.evaluate("() => window.livelens.scene.fit()")
    for count in range(1, 6):
        page.evaluate(
            """() => new Promise(resolve => {
                const canvas = document.querySelector("canvas");
                const gl = canvas.getContext("webgl2");
                const lose = gl.getExtension("WEBGL_lose_context");
                canvas.addEventListener("webglcontextrestored", () => resolve(), { once: true });
                const restore = () => setTimeout(() => lose.restoreContext());
                canvas.addEventListener("webglcontextlost", restore, { once: true });
                lose.loseContext();
            })"""
        )
        assert page.evaluate("() => window.livelens.scene.stats().context_losses") == count
    frames = page.evaluate("() => window.livelens.scene.stats().frames")
    page.evaluate("() => window.livelens.scene.request_redraw()")
    page.wait_for_function("n => window.livelens.scene.stats().frames > n", arg=frames)
    picked = page.evaluate(
        "() => { const c = {kind: 'head', layer: 3, index: 3}; const p = window.livelens.scene.screen_position(c);"
        " return window.livelens.scene.pick(p.x, p.y); }"
    )
    assert picked == {"kind": "head", "layer": 3, "index": 3}


def test_without_webgl_the_table_and_the_text_still_work(browser: Browser, fake_server: ServerProcess) -> None:
    """And the page says so."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.startsWith("webgl") ? null : get.call(this, kind, ...rest);
        };"""
    )
    page.goto(fake_server.url)
    page.wait_for_function("() => window.livelens?.store.model_info.value")
    expect(page.get_by_text("WebGL").first).to_be_visible()
    driving.run_to_end(page, PROMPT, length=4)
    page.get_by_role("gridcell", name="L0H0", exact=True).click()
    assert driving.selected(page) == {"kind": "head", "layer": 0, "index": 0}
    context.close()


SET_VISIBILITY = """(state) => {
    Object.defineProperty(document, "visibilityState", { get: () => state, configurable: true });
    Object.defineProperty(document, "hidden", { get: () => state === "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_hidden_tab_takes_tokens_only_and_is_whole_again_when_shown(
    open_page: OpenPage, fake_server: ServerProcess
) -> None:
    """Nothing is captured for nobody; what came meanwhile is text, and what the server has comes after."""
    page = open_page(fake_server)
    driving.hold_run(page, PROMPT, length=12, n_tokens=1)
    newest = (
        "() => { const { history } = window.livelens.store; return !!history.get(history.newest_pos).tensors.neurons; }"
    )

    def step() -> bool:
        """One token; whether it came with its neurons."""
        driving.step(page)
        return bool(page.evaluate(newest))

    assert step()
    page.evaluate(SET_VISIBILITY, "hidden")
    assert [step() for _ in range(3)] == [False] * 3
    page.evaluate(SET_VISIBILITY, "visible")
    assert step()
    driving.resume(page)
    n_tokens = len(driving.token_ids(page))
    assert n_tokens == page.evaluate("() => window.livelens.store.run.value.n_prompt_tokens") + 12
