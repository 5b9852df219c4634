"""What heads and neurons do: against plain Hugging Face, TransformerLens's detector, and products multiplied out."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.families import D_MLP, D_VOCAB, FAMILIES, N_HEADS, N_LAYERS, save_tiny_model
from tests.model.questions import answered, parts_of, segments_of
from tests.model.reference import Edit, Reference
from transformer_lens import head_detector
from transformers import AutoModelForCausalLM

from livelens.analysis import head_profile as profiles
from livelens.analysis import neuron_profile as neurons
from livelens.analysis.head_profile import head_profile
from livelens.analysis.head_scores import detection_patterns, head_scores, random_texts
from livelens.analysis.neuron_profile import neuron_profile
from livelens.model.engine import AnalysisRefusedError
from livelens.model.frozen import FrozenLayer, FrozenModel
from livelens.model.loading import load_torch_engine
from livelens.model.neuron_contexts import N_CONTEXTS
from livelens.model.part_weights import NeuronWeights, embedding, head_weights, neuron_weights, read_through
from livelens.model.replay import ModelParts
from livelens.model.sources import ModelSource
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    NeuronProfileReady,
    ReadToken,
    RequestHeadProfile,
    RequestHeadScores,
    RequestNeuronProfile,
)
from livelens.protocol.tensors import reconstruct

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
EDITS = (Edit(start=3, stop=100, heads={(0, 1): 0.0}, mlp={0: 0.5}),)
RUN = {"request_id": 3, "run_id": "r"}


def tokens_of(family: str, n: int = 12) -> list[int]:
    return random.Random(family).sample(range(3, D_VOCAB), n)


@pytest.fixture
def unbiased(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], TorchEngine]:
    """`unbiased(family)`: a tiny model without biases, where weights alone say what is read."""

    def engine_of(family: str) -> TorchEngine:
        folder = tmp_path / family
        shutil.copytree(tiny_folder(family), folder)
        save_tiny_model(family, folder)
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
        model.save_pretrained(str(folder))
        return load_torch_engine(ModelSource(model_name=family, folder=folder, weights_sha256="1" * 64), device="cpu")

    return engine_of


def normed(stream: torch.Tensor, *, is_centred: bool) -> torch.Tensor:
    centred = stream - stream.mean(-1, keepdim=True) if is_centred else stream
    return centred / centred.square().mean(-1, keepdim=True).sqrt()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_by_head_and_neuron_give_what_the_model_computes(
    unbiased: Callable[[str], TorchEngine], family: str
) -> None:
    """At the first position rotary embeddings turn nothing: queries, keys and values are products of weights alone."""
    engine = unbiased(family)
    parts = parts_of(engine)
    run = FrozenModel(engine.model, engine.anatomy).run([5])
    is_centred = parts.weights.final_norm.is_centred
    for layer, ran in enumerate(run.layers):
        heads, mine = head_weights(parts, layer), neuron_weights(parts, layer)
        read = normed(ran.attn_in.detach()[0, 0], is_centred=is_centred)
        n_shared = N_HEADS // ran.attention.key.shape[1]
        for weight, seen, times in (
            (heads.query, ran.attention.query, 1),
            (heads.key, ran.attention.key, n_shared),
            (heads.value, ran.attention.value, n_shared),
        ):
            made, there = read @ weight, seen.detach()[0, :, 0].repeat_interleave(times, 0)
            if family == "qwen3" and weight is not heads.value:  # normed: only the direction is left
                made, there = made / made.norm(dim=-1, keepdim=True), there / there.norm(dim=-1, keepdim=True)
            assert torch.allclose(made, there, rtol=1e-3, atol=1e-4)
        z = ran.z.detach()[0, 0].view(N_HEADS, 1, -1)
        written = (z @ heads.output).sum(0)[0]
        if ran.attn_raw is not None:
            written = written / ran.attn_raw.detach()[0, 0].square().mean().sqrt()
        assert torch.allclose(written, ran.attn_out.detach()[0, 0], rtol=1e-3, atol=1e-4)
        assert_neurons(parts, layer, mine, normed(ran.mlp_in.detach()[0, 0], is_centred=is_centred), ran)


def assert_neurons(parts: ModelParts, layer: int, mine: NeuronWeights, read: torch.Tensor, ran: FrozenLayer) -> None:
    activation = parts.anatomy.layers[layer].activation
    made = activation(read @ mine.into) if mine.gate is None else activation(read @ mine.gate) * (read @ mine.into)
    assert torch.allclose(made, ran.neurons.detach()[0, 0], rtol=1e-3, atol=1e-4)
    written = made @ mine.output
    if ran.mlp_raw is not None:
        written = written / ran.mlp_raw.detach()[0, 0].square().mean().sqrt()
    assert torch.allclose(written, ran.mlp_out.detach()[0, 0], rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------- head scores


def test_detection_patterns_are_those_of_transformer_lens() -> None:
    ids = [1, 5, 6, 7, 5, 5, 6, 9, 7, 1]
    ours, tokens = detection_patterns(ids), torch.tensor([ids])
    assert torch.equal(ours["previous_token"], head_detector.get_previous_token_head_detection_pattern(tokens))
    assert torch.equal(ours["duplicate_token"], head_detector.get_duplicate_token_head_detection_pattern(tokens))
    assert torch.equal(ours["induction"], head_detector.get_induction_head_detection_pattern(tokens))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_those_worked_out_the_long_way(
    tiny: Tiny, tiny_reference: TinyReference, family: str, tmp_path: Path
) -> None:
    engine, reference = tiny(family), tiny_reference(family)
    parts = parts_of(engine)
    _, answer = answered(head_scores(RequestHeadScores(**RUN), parts, cache=tmp_path))
    texts = random_texts(parts)
    assert all(text[0] == 1 and text[1:41] == text[41:] and len(set(text)) == 41 for text in texts)
    runs = [reference.run(text).pattern for text in texts]
    unembed = read_through(parts.weights.final_norm, (parts.weights.unembed - parts.weights.unembed.mean(0)).T)
    for score in answer.scores:
        patterns = torch.stack([run[score.layer][score.head_index] for run in runs])
        induction = torch.stack([patterns[:, 41 + i, 2 + i] for i in range(40)]).mean()
        duplicate = torch.stack([patterns[:, 41 + i, 1 + i] for i in range(40)]).mean()
        previous = torch.stack([patterns[:, i, i - 1] for i in range(1, 81)]).mean()
        assert score.induction == pytest.approx(float(induction), abs=1e-4)
        assert score.duplicate_token == pytest.approx(float(duplicate), abs=1e-4)
        assert score.previous_token == pytest.approx(float(previous), abs=1e-4)
    heads = head_weights(parts, 1)
    circuit = embedding(parts) @ heads.value[2] @ heads.output[2] @ unembed
    eigenvalues = torch.linalg.eigvals(circuit.double())
    expected = float(eigenvalues.real.sum() / eigenvalues.abs().sum())
    assert answer.scores[1 * N_HEADS + 2].copying == pytest.approx(expected, abs=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_scores_are_measured_once_and_again_when_the_file_is_damaged(tiny: Tiny, tmp_path: Path) -> None:
    parts, question = parts_of(tiny("llama")), RequestHeadScores(**RUN)
    progress, first = answered(head_scores(question, parts, cache=tmp_path))
    assert progress[-1].done == progress[-1].total
    (file,) = tmp_path.iterdir()
    assert answered(head_scores(question, parts, cache=tmp_path)) == ([], first)
    whole = file.read_bytes()
    for damaged in (b"", whole[:-20], whole.replace(b'"layer":2', b'"layer":1'), b'{"scores": []}', b"\xff" * 99):
        file.write_bytes(damaged)
        progress, again = answered(head_scores(question, parts, cache=tmp_path))
        assert progress, "a damaged file was believed"
        assert again == first
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == whole


@pytest.mark.usefixtures("one_thread")
def test_a_folder_that_cannot_be_written_to_costs_the_file_only(tiny: Tiny, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    _, answer = answered(head_scores(RequestHeadScores(**RUN), parts_of(tiny("llama")), cache=blocked))
    assert len(answer.scores) == N_LAYERS * N_HEADS


def test_the_induction_heads_of_the_shipped_model(shipped: TorchEngine, tmp_path: Path) -> None:
    _, answer = answered(head_scores(RequestHeadScores(**RUN), parts_of(shipped), cache=tmp_path))
    best = sorted(answer.scores, key=lambda score: -score.induction)[:4]
    found = {f"L{score.layer}H{score.head_index}": score.induction for score in best}
    print(found)
    for name in ("previous_token", "duplicate_token", "copying"):
        top = sorted(answer.scores, key=lambda score: -getattr(score, name))[:4]
        print(name, [(f"L{s.layer}H{s.head_index}", round(getattr(s, name), 2)) for s in top])
    assert list(found) == ["L18H6", "L17H3", "L17H4", "L18H7"]
    # As found by hand on other random tokens: within 0.05.
    assert found == pytest.approx({"L18H6": 0.89, "L17H3": 0.77, "L17H4": 0.72, "L18H7": 0.59}, abs=0.05)


# ---------------------------------------------------------------------- one head


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_profile_equals_the_reference(
    tiny: Tiny, tiny_reference: TinyReference, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under interventions; all words of all keys together are the head's direct effect on every logit."""
    monkeypatch.setattr(profiles, "N_WORDS", D_VOCAB)
    monkeypatch.setattr(profiles, "N_READS", 50)
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    question = RequestHeadProfile(**RUN, layer=1, head_index=3, query_pos=8)
    segments = segments_of(EDITS, len(ids), engine)
    _, answer = answered(head_profile(question, ids, segments, parts_of(engine), cache=tmp_path))
    full = reference.run(ids, EDITS)
    pattern = full.pattern[1][3]
    assert np.abs(reconstruct(answer.pattern) - pattern.numpy()).max() < 1e-3
    entropy = -(pattern * pattern.clamp_min(1e-30).log()).sum(-1)
    assert reconstruct(answer.entropy) == pytest.approx(entropy.numpy(), abs=1e-4)
    assert (answer.score.layer, answer.score.head_index, answer.query_pos) == (1, 3, 8)
    weights = {read.key_pos: read.weight for read in answer.reads}
    seen = {key: float(pattern[8, key]) for key in range(9) if float(pattern[8, key]) > 0}
    assert weights == pytest.approx(seen, abs=1e-4)
    logits = np.zeros(D_VOCAB)
    for read in answer.reads:
        assert [t.token_id for t in read.promoted] == [t.token_id for t in reversed(read.suppressed)]
        for token in read.promoted:
            logits[token.token_id] += token.prob
    for target in (0, 17, 599):
        direct = float(reference.direct(full, 8, target, None, EDITS)["heads"][1, 3])
        assert logits[target] == pytest.approx(direct, abs=2e-4)


@pytest.mark.usefixtures("one_thread")
def test_a_key_that_is_asked_for_is_read_however_little_it_is_looked_at(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As among all that is read; asked for and among the strongest it comes once."""
    ids, parts = tokens_of("llama"), parts_of(tiny("llama"))

    def reads(n_reads: int, key_pos: int | None) -> list[ReadToken]:
        monkeypatch.setattr(profiles, "N_READS", n_reads)
        question = RequestHeadProfile(**RUN, layer=1, head_index=3, query_pos=8, key_pos=key_pos)
        return answered(head_profile(question, ids, [], parts, cache=tmp_path))[1].reads

    every = reads(50, None)
    strongest, least = every[0], every[-1]
    assert strongest.weight > least.weight
    found = reads(2, least.key_pos)
    assert [read.key_pos for read in found] == [*(read.key_pos for read in every[:2]), least.key_pos]
    assert found[-1].weight == pytest.approx(least.weight, rel=1e-5)
    assert [token.token_id for token in found[-1].promoted] == [token.token_id for token in least.promoted]
    assert [t.prob for t in found[-1].promoted] == pytest.approx([t.prob for t in least.promoted], rel=1e-3)
    assert reads(2, strongest.key_pos) == reads(2, None)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_feeders_equal_products_multiplied_out(tiny: Tiny, family: str, tmp_path: Path) -> None:
    parts, ids = parts_of(tiny(family)), tokens_of(family)
    question = RequestHeadProfile(**RUN, layer=2, head_index=1)
    _, answer = answered(head_profile(question, ids, [], parts, cache=tmp_path))
    scores = {(f.component.layer, f.component.index, f.part): f.score for f in answer.feeders}
    assert len(scores) == len(answer.feeders) == 3 * min(profiles.N_FEEDERS, 2 * N_HEADS)
    mine = head_weights(parts, 2)
    attention = mine.query[1] @ mine.key[1].T
    for (layer, head, part), score in scores.items():
        writer = head_weights(parts, layer)
        circuit = (writer.value[head] @ writer.output[head]).double()
        reads = {"query": attention, "key": attention.T, "value": mine.value[1] @ mine.output[1]}[part].double()
        assert score == pytest.approx(float((circuit @ reads).norm() / circuit.norm() / reads.norm()), rel=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_heads_and_queries_that_do_not_exist_are_told_so(tiny: Tiny, tmp_path: Path) -> None:
    parts = parts_of(tiny("llama"))
    for fields, text in [
        ({"layer": 3, "head_index": 0}, "layer 3"),
        ({"layer": 0, "head_index": 4}, "head 4"),
        ({"layer": 0, "head_index": 0, "query_pos": 2}, "token 2 is outside"),
        ({"layer": 0, "head_index": 0, "query_pos": 0, "key_pos": 1}, "tokens 0 to 0, not at 1"),
    ]:
        with pytest.raises(AnalysisRefusedError, match=text):
            list(head_profile(RequestHeadProfile(**RUN, **fields), [5, 6], [], parts, cache=tmp_path))


# ---------------------------------------------------------------------- one neuron


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_neuron_profile_equals_the_reference(tiny: Tiny, tiny_reference: TinyReference, family: str) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    question = RequestNeuronProfile(**RUN, layer=1, neuron_index=7)
    segments = segments_of(EDITS, len(ids), engine)
    progress, answer = answered(neuron_profile(question, ids, segments, parts_of(engine)))
    assert progress[-1].done == progress[-1].total
    values = reference.run(ids, EDITS).neurons[1][:, 7].numpy()
    loudest = np.argsort(-np.abs(values))[:N_CONTEXTS]
    assert [context.pos for context in answer.contexts] == loudest.tolist()
    assert [context.value for context in answer.contexts] == pytest.approx(values[loudest].tolist(), rel=1e-3, abs=1e-5)
    counts, edges = np.histogram(values, bins=neurons.N_BINS)
    assert reconstruct(answer.histogram).sum() == len(ids)
    assert reconstruct(answer.histogram_edges) == pytest.approx(edges, rel=1e-3, abs=1e-5)
    assert np.abs(np.cumsum(reconstruct(answer.histogram)) - np.cumsum(counts)).max() <= 1  # a value on an edge
    assert_words(answer, reference, family)
    assert_driven(answer, reference, family)


def assert_words(answer: NeuronProfileReady, reference: Reference, family: str) -> None:
    block = reference.blocks[1]
    written = reference.w_in_out(getattr(getattr(block, reference._mlp), reference._w_out))[7].detach()
    offset = 1.0 if reference.is_gemma else 0.0
    if reference._post_mlp:
        written = written * (getattr(block, reference._post_mlp).weight.detach() + offset)
    if isinstance(reference.final_norm, torch.nn.LayerNorm):
        written = written - written.mean()
    logits = reference.model.lm_head.weight.detach() @ (written * (reference.final_norm.weight.detach() + offset))
    logits = logits - logits.mean()
    for tokens, best in ((answer.promoted, logits.topk(12)), (answer.suppressed, (-logits).topk(12))):
        assert [token.token_id for token in tokens] == best.indices.tolist(), family
        assert [abs(t.prob) for t in tokens] == pytest.approx(best.values.abs().tolist(), rel=1e-3)


@torch.no_grad()
def assert_driven(answer: NeuronProfileReady, reference: Reference, family: str) -> None:
    """The reference's own norm and MLP modules, given every token's embedding."""
    block = reference.blocks[1]
    mlp = getattr(block, reference._mlp)
    names = {"gpt2": "ln_2", "gemma2": "pre_feedforward_layernorm"}
    norm = getattr(block, names.get(family, "post_attention_layernorm"))
    kept: list[torch.Tensor] = []
    handle = getattr(mlp, reference._w_out).register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    mlp(norm(reference.model.get_input_embeddings().weight[None]))
    handle.remove()
    values = kept[0][0, :, 7]
    best = values.abs().topk(12).indices
    assert [token.token_id for token in answer.driven_by] == best.tolist()
    assert [token.prob for token in answer.driven_by] == pytest.approx(values[best].tolist(), rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_alike_are_those_of_the_whole_model(tiny: Tiny, family: str) -> None:
    parts, ids = parts_of(tiny(family)), tokens_of(family)
    _, answer = answered(neuron_profile(RequestNeuronProfile(**RUN, layer=1, neuron_index=7), ids, [], parts))
    layers = [neuron_weights(parts, layer) for layer in range(N_LAYERS)]

    def cosines(matrices: list[torch.Tensor]) -> torch.Tensor:
        every = torch.cat(matrices)
        return torch.nn.functional.cosine_similarity(every, every[D_MLP + 7][None])

    into = cosines([each.into.T for each in layers])
    if layers[0].gate is not None:
        into = (into + cosines([each.gate.T for each in layers])) / 2
    for alike, every in ((answer.alike_in, into), (answer.alike_out, cosines([each.output for each in layers]))):
        every[D_MLP + 7] = 0.0
        best = every.abs().topk(neurons.N_ALIKE)
        assert [f.component.layer * D_MLP + f.component.index for f in alike] == best.indices.tolist()
        assert [f.score for f in alike] == pytest.approx(every[best.indices].tolist(), rel=1e-3)


def test_profiles_of_the_shipped_model_say_something(shipped: TorchEngine, tmp_path: Path) -> None:
    """L18H6, an induction head, looks back at what followed the same token before."""
    parts = parts_of(shipped)
    ids = shipped.tokenize("The purple walrus sang opera. The purple walrus sang", apply_chat_template=False)
    question = RequestHeadProfile(**RUN, layer=18, head_index=6)
    _, answer = answered(head_profile(question, ids, [], parts, cache=tmp_path))
    print([(r.text, round(r.weight, 2), [t.text for t in r.promoted[:4]]) for r in answer.reads[:3]])
    print([(f.component.layer, f.component.index, f.part, round(f.score, 2)) for f in answer.feeders[:6]])
    assert shipped.token_text(ids[answer.reads[0].key_pos - 1]).endswith("ang")
    _, neuron = answered(neuron_profile(RequestNeuronProfile(**RUN, layer=28, neuron_index=1078), ids, [], parts))
    for name in ("promoted", "suppressed", "driven_by"):
        print(name, [(t.text, round(t.prob, 2)) for t in itertools.islice(getattr(neuron, name), 8)])
    print([(c.before[-20:], c.text, round(c.value, 2)) for c in neuron.contexts[:3]])
    print([(f.component.layer, f.component.index, round(f.score, 2)) for f in neuron.alike_out[:4]])
    assert all(
        context.before.endswith(shipped.token_text(ids[context.pos - 1])) for context in neuron.contexts if context.pos
    )
