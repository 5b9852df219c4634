"""What a scene says in words: everything of the model's escaped, the strongest edges first."""

from __future__ import annotations

from livelens.notebook.words import attribution_table, token_text
from livelens.protocol.attribution import AttributionPart, AttributionReady, Edge, Metric


def test_white_space_is_seen_and_nothing_turns_the_line_round() -> None:
    assert token_text("\n") == "\u23ce" and token_text("  ") == "\u2423\u2423"
    assert token_text(" Mary") == " Mary" and token_text("a\u202eb\x00c") == "abc"


def test_the_table_names_the_strongest_writers_of_each_part_and_how_many_are_left_out() -> None:
    edges = [Edge(writer=f"L0H{i}@3", reader="L5H1@9", part="value", weight=1.0 - i / 10) for i in range(10)]
    part = AttributionPart(part="value", value=4.25, edges=edges, rest=0.5, n_rest=7, bias=0.0, error=0.0)
    metric = Metric(
        pos=9, target_id=1, target_text="<b>&\n", distractor_id=2, distractor_text=" John", value=3.0, notice=None
    )
    answer = AttributionReady(
        request_id="r", metric=metric, node="L5H1@9", direction="incoming", relevance=-0.5, parts=[part], run_id="run"
    )
    table = attribution_table(answer)
    assert "L5H1@9" in table and "-0.500 logits" in table and "value +4.250" in table
    assert "&lt;b&gt;&amp;\u23ce" in table and "<b>&" not in table
    assert [table.index(f"L0H{i}@3") for i in range(8)] == sorted(table.index(f"L0H{i}@3") for i in range(8))
    assert "L0H8@3" not in table and "9 more" in table and "+0.300" in table
