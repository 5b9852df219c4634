"""The shipped model in the page: the main job, end to end."""

from __future__ import annotations

from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "When Mary and John went to the store, John gave a drink to"


def test_every_component_is_there_and_an_ablation_changes_the_answer(
    open_page: OpenPage, real_server: ServerProcess
) -> None:
    """30 layers, 270 heads, 46,080 neurons; without four attention layers the model no longer says Mary."""
    page = open_page(real_server)
    info = page.evaluate("() => window.livelens.store.model_info.value")
    assert (info["n_layers"], info["n_layers"] * info["n_heads"], info["n_layers"] * info["d_mlp"]) == (30, 270, 46080)
    driving.start_run(page, PROMPT, length=3)
    driving.wait_state(page, "finished")
    clean_run = driving.run_id(page)
    assert driving.text(page).startswith(" Mary")
    for layer in (18, 20, 23, 24):
        page.evaluate(
            "layer => (window.livelens.store.selection.value = { kind: 'attn', layer, index: 0 })",
            layer,
        )
        page.keyboard.press("a")
    driving.start_run(page, PROMPT, length=3)
    page.wait_for_function("before => window.livelens.store.run.value.run_id !== before", arg=clean_run)
    page.wait_for_function("() => window.livelens.store.run.value.finish_reason === 'max_new_tokens'")
    log = page.evaluate("() => window.livelens.store.run.value.intervention_log")
    assert [len(entry["interventions"]) for entry in log] == [4]
    assert driving.text(page).startswith(" each")
