"""The shipped model in the page: the main job, end to end."""

from __future__ import annotations

from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_every_component_is_there_and_an_ablation_changes_the_answer(
    open_page: OpenPage, real_server: ServerProcess
) -> None:
    """30 layers, 270 heads, 46,080 neurons; without the name-moving heads the model no longer says Mary."""
    page = open_page(real_server)
    info = page.evaluate("() => window.livelens.store.model_info.value")
    assert (info["n_layers"], info["n_layers"] * info["n_heads"], info["n_layers"] * info["d_mlp"]) == (30, 270, 46080)
    driving.start_run(page, PROMPT, length=3)
    driving.wait_state(page, "finished")
    assert driving.text(page).startswith(" Mary")
    for layer, index in ((23, 3), (29, 1), (29, 0), (20, 0), (23, 0), (18, 6)):
        page.evaluate(
            "c => (window.livelens.store.selection.value = c)", {"kind": "head", "layer": layer, "index": index}
        )
        page.keyboard.press("a")
    driving.start_run(page, PROMPT, length=3)
    page.wait_for_function("() => window.livelens.store.run.value.intervention_log[0].interventions.length === 6")
    driving.wait_state(page, "finished")
    assert not driving.text(page).startswith(" Mary")
