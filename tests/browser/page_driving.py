"""What a person does on the page, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from playwright.sync_api import Browser, Page

from livelens.bench.server_process import ServerProcess

OpenPage = Callable[..., Page]
SLOW_MS = 240_000  # for answers of the shipped model: machines are shared
STORY = "When Mary and John went to the store, John gave a drink to"
AXE = Path(__file__).parents[2] / "client" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def opened_pages(browser: Browser) -> Iterator[OpenPage]:
    """Open pages in fresh contexts; at the end none may have logged an error or a CSP report."""
    problems: list[str] = []
    contexts = []

    def opened(
        server: ServerProcess, *, fragment: str = "", width: int = 1100, height: int = 700, **options: object
    ) -> Page:
        options.setdefault("reduced_motion", "reduce")  # the camera jumps, so that a place on the screen is final
        context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
        page.goto(server.url + fragment)
        page.wait_for_function("() => window.livelens?.store.model_info.value && window.livelens.scene")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


def open_run(open_page: OpenPage, server: ServerProcess, run_id: str) -> Page:
    """A page that goes by its address to a run that has ended."""
    page = open_page(server, fragment=f"#run={run_id}")
    wait_whole(page)
    return page


def start_run(page: Page, prompt: str, *, length: int = 24, button: str = "Run") -> None:
    """Type a prompt, set the length, press Run; until the page watches that run, whatever it watched before."""
    before = page.evaluate("() => window.livelens.store.run.value?.run_id ?? null")
    page.get_by_label("length").fill(str(length))
    page.get_by_role("textbox", name="Prompt").fill(prompt)
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_function("before => (window.livelens.store.run.value?.run_id ?? null) !== before", arg=before)


def run_to_end(page: Page, prompt: str, *, length: int) -> None:
    """A run from its prompt to its end, until the page holds all of it."""
    start_run(page, prompt, length=length)
    wait_whole(page)


def wait_whole(page: Page) -> None:
    """Until the run has ended and the page holds every position of it with what was computed there."""
    wait_state(page, "finished")
    page.wait_for_function(
        """() => {
            const { history, tokens } = window.livelens.store;
            const is_whole = (pos) => Object.keys(history.get(pos)?.tensors ?? {}).length > 0;
            return history.size >= tokens.value.length - 1 && history.positions().every(is_whole);
        }"""
    )


def hold_run(page: Page, prompt: str, *, length: int, n_tokens: int = 2) -> None:
    """A run that is held `n_tokens` behind its prompt. It never ran by itself, so it cannot end before it is held."""
    start_run(page, prompt, length=length, button="Step")
    wait_state(page, "paused")
    page.wait_for_function(  # the prompt's last position waits for its choice
        "() => window.livelens.store.history.size >= window.livelens.store.run.value.n_prompt_tokens - 1"
    )
    for _ in range(n_tokens):
        step(page)


def step(page: Page) -> int:
    """Make exactly one token; the position of the newest step then."""
    before = page.evaluate("() => window.livelens.store.history.newest_pos")
    page.get_by_role("button", name="Step", exact=True).click()
    page.wait_for_function("before => window.livelens.store.history.newest_pos > before", arg=before)
    wait_state(page, "paused")
    return int(page.evaluate("() => window.livelens.store.history.newest_pos"))


def wait_state(page: Page, state: str) -> None:
    """Until the run is in `state`."""
    page.wait_for_function("wanted => window.livelens.store.run.value?.state === wanted", arg=state)


def wait_steps(page: Page, n_steps: int) -> None:
    """Until the page holds this many positions."""
    page.wait_for_function("wanted => window.livelens.store.history.size >= wanted", arg=n_steps)


def text(page: Page) -> str:
    """The generated text."""
    return str(page.evaluate("() => window.livelens.store.run.value.text"))


def run_id(page: Page) -> str:
    """The run being watched."""
    return str(page.evaluate("() => window.livelens.store.run.value.run_id"))


def token_ids(page: Page) -> list[int]:
    """Every token of the text strip, prompt included."""
    return list(page.evaluate("() => window.livelens.store.tokens.value.map((chip) => chip.token_id)"))


def select(page: Page, kind: str, layer: int, index: int = 0) -> None:
    """Have a component selected, as a click on it does."""
    page.evaluate(
        "component => (window.livelens.store.selection.value = component)",
        {"kind": kind, "layer": layer, "index": index},
    )


def ablate(page: Page, kind: str, layer: int, index: int = 0) -> None:
    """Select a component and switch it off by key, until the run that goes on is under the set with it."""
    n_before, revision = page.evaluate(
        """() => {
            const { interventions, run: { value: run } } = window.livelens.store;
            return [interventions.value.length, run && run.state !== "finished" ? run.revision : null];
        }"""
    )
    select(page, kind, layer, index)
    page.keyboard.press("a")
    wait_set(page, n_before + 1)
    if revision is not None:  # a second set on the heels of this one would be carried out in its place
        wait_revision(page, revision + 1)


def wait_set(page: Page, n: int) -> None:
    """Until the page's set has this many interventions."""
    page.wait_for_function("n => window.livelens.store.interventions.value.length === n", arg=n)


def wait_revision(page: Page, revision: int) -> None:
    """Until the run is under its set of this number, or a later one."""
    page.wait_for_function("least => window.livelens.store.run.value.revision >= least", arg=revision)


def resume(page: Page) -> None:
    """Let a held run go on to its end."""
    page.get_by_role("button", name="Resume", exact=True).click()
    wait_state(page, "finished")


def open_panel(page: Page) -> None:
    """The panel below the picture, where it is shut."""
    if page.locator('.drawer[data-open="true"]').count() == 0:
        page.get_by_role("button", name="Open the panel").click()


def open_tab(page: Page, name: str) -> None:
    """A tab of the panel, which is opened first."""
    open_panel(page)
    page.get_by_role("tab", name=name).click()


def look_at(page: Page, pos: int) -> None:
    """Click a token of the text."""
    page.locator(".chips button").nth(pos).click()
    page.wait_for_function("pos => window.livelens.store.current_pos.value === pos", arg=pos)


def selected(page: Page) -> dict[str, object] | None:
    """The selected component."""
    found: dict[str, object] | None = page.evaluate("() => window.livelens.store.selection.value")
    return found


def canvas_point(page: Page, kind: str, layer: int, index: int) -> tuple[float, float]:
    """Where a component is on the screen, CSS pixels."""
    place = page.evaluate(
        """component => {
            const canvas = document.querySelector("canvas").getBoundingClientRect();
            const point = window.livelens.scene.screen_position(component);
            return point && [canvas.left + point.x, canvas.top + point.y];
        }""",
        {"kind": kind, "layer": layer, "index": index},
    )
    assert place is not None, "the component is not in view"
    return place[0], place[1]


def focus_camera(page: Page, kind: str, layer: int, index: int) -> None:
    """Fly to a component (the camera jumps: the pages ask for reduced motion) and let the picture be drawn."""
    page.evaluate(
        """async (component) => {
            window.livelens.scene.focus(component);
            for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
        }""",
        {"kind": kind, "layer": layer, "index": index},
    )


def canvas_pixels(page: Page) -> bytes:
    """A picture of the network alone, once nothing moves in it."""
    at_rest(page)
    return page.locator("canvas").first.screenshot()


Place = tuple[float, float]


def drawn(page: Page) -> None:
    """Until what was asked for is in the picture."""
    page.evaluate("async () => { for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame); }")


def at_rest(page: Page) -> None:
    """Until the picture stands still and is drawn in full: while it moves, a slow machine draws it coarsely."""
    drawn(page)
    page.evaluate(
        """async () => {
            const { scene } = window.livelens;
            const frame = () => new Promise(requestAnimationFrame);
            for (let before = -1; before !== scene.stats().frames; ) {
                before = scene.stats().frames;
                await new Promise((done) => setTimeout(done, 160)); // due later than the redraw in full: `surface.ts`
                await frame();
                await frame();
            }
        }"""
    )


def places(page: Page, components: list[tuple[str, int, int]]) -> list[Place]:
    """Where components are in the canvas now, CSS pixels."""
    drawn(page)
    found = page.evaluate(
        "components => components.map((component) => window.livelens.scene.screen_position(component))",
        [{"kind": kind, "layer": layer, "index": index} for kind, layer, index in components],
    )
    assert all(found), "a component is not in front of the camera"
    return [(place["x"], place["y"]) for place in found]


def run_view(page: Page) -> dict[str, object]:
    """What the server said of the run: prompt, sampling, n_prompt_tokens, ..."""
    return dict(page.evaluate("() => window.livelens.store.run.value"))


def axe_violations(page: Page) -> list[str]:
    """What axe finds wrong on the whole page: rule and elements."""
    page.evaluate(AXE.read_text())
    return list(
        page.evaluate(
            "async () => (await axe.run()).violations.map((found) => `${found.id}: ${found.nodes.map((n) => n.html)}`)"
        )
    )


def as_number(written: str) -> float:
    """A number as the page writes it."""
    return float(written.replace("\N{MINUS SIGN}", "-").replace("+", "").rstrip(" %"))


def number(page: Page, selector: str) -> float:
    """The number that stands there."""
    return as_number(page.locator(selector).first.inner_text())


def ask_why(page: Page, pos: int, distractor: str) -> None:
    """Open the Why tab at a token and ask what spoke for what follows it and against `distractor`."""
    look_at(page, pos)
    page.get_by_role("tab", name="Why", exact=True).click()
    page.get_by_label("Distractor token").fill(distractor)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "wanted => window.livelens.store.analysis.overview.slot.value.answer?.metric.distractor_text === wanted",
        arg=distractor,
    )


def press_while(page: Page, condition: str, selector: str) -> None:
    """Press what `selector` finds in the first frame in which `condition` holds: later, it may be over."""
    page.wait_for_function(
        f"selector => {{ const found = document.querySelector(selector); if (!found || !({condition})) return false;"
        " found.click(); return true; }",
        arg=selector,
    )


def until(page: Page, holds: Callable[[], bool], *, secs: float = 30) -> None:
    """Until `holds`, of what is not on the page; the page's clock is what waits."""
    ends_at = monotonic() + secs
    while not holds():
        assert monotonic() < ends_at, "it did not come about"
        page.wait_for_timeout(50)
