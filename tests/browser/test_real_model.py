"""The shipped model in the page: the main job, end to end."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess


def test_every_component_is_there_and_an_ablation_changes_the_answer(
    open_page: OpenPage, real_server: ServerProcess
) -> None:
    """30 layers, 270 heads, 46,080 neurons; without four attention layers the model no longer says Mary."""
    page = open_page(real_server)
    info = page.evaluate("() => window.livelens.store.model_info.value")
    assert (info["n_layers"], info["n_layers"] * info["n_heads"], info["n_layers"] * info["d_mlp"]) == (30, 270, 46080)
    driving.run_to_end(page, driving.STORY, length=3)
    assert driving.text(page).startswith(" Mary")
    for layer in (18, 20, 23, 24):
        driving.ablate(page, "attn", layer)
    driving.run_to_end(page, driving.STORY, length=3)
    log = page.evaluate("() => window.livelens.store.run.value.intervention_log")
    assert [len(entry["interventions"]) for entry in log] == [4]
    assert driving.text(page).startswith(" each")


def test_a_prompt_token_of_a_finished_run_shows_its_lens(open_page: OpenPage, real_server: ServerProcess) -> None:
    """The prompt's lens comes once the run rests, for every token; the layer's guesses stand in the table."""
    page = open_page(real_server)
    driving.run_to_end(page, driving.STORY, length=2)
    page.get_by_role("tab", name="Logit lens").click()
    driving.look_at(page, 4)
    page.wait_for_function(
        "() => { const { history } = window.livelens.store;"
        " return history.positions().every((pos) => history.get(pos).lens_texts?.length === 30); }"
    )
    assert page.evaluate("() => window.livelens.store.current_pos.value") == 4
    page.wait_for_function("() => document.querySelector('.lens-table tbody .token').textContent === ' to'")
    expect(page.locator(".lens-table tbody tr")).to_have_count(30)
    expect(page.locator(".lens-table tbody .token").filter(has_text="–")).to_have_count(0)
    expect(page.locator(".lens-pending")).to_have_count(0)
