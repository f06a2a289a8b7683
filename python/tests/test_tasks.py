"""Each pipeline says what the command says, value by value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

from rq_runtime import (
    Answerer,
    Classifier,
    CrossEncoder,
    Embedder,
    FillMask,
    Model,
    ModelError,
    Scorer,
    Tagger,
    TaskError,
    TextError,
    ZeroShot,
)

from .conftest import Rq

Converted = Callable[[str], Path]

MASKED = ["She opened the <mask> and walked in.", "A <mask> in the hand is worth two in the <mask>."]
TEXTS = ["The team won the match with a late goal.", "Add butter and salt to the soup.", "Résumé 🎉 \u0301"]


def test_fill(rq: Rq) -> None:
    fill = FillMask(Model.demo())
    assert fill(MASKED, top_k=3) == rq("fill", "-k", 3, *MASKED)
    assert list(fill(iter(MASKED), top_k=3, batch_size=1)) == fill(MASKED, top_k=3)
    assert fill(MASKED[0], targets=["Ġdoor", "Ġroom"]) == rq("fill", "--targets", "Ġdoor,Ġroom", MASKED[0])[0]
    with pytest.warns(UserWarning, match="does not exist in the model vocabulary"):
        fill(MASKED[0], targets="not a token")
    assert fill([]) == []


def test_score(rq: Rq) -> None:
    score = Scorer(Model.demo())
    assert score(TEXTS) == rq("score", *TEXTS)
    assert score(TEXTS[0], method="within_word_l2r") == rq("score", "--method", "within-word-l2r", TEXTS[0])[0]


def test_embed(rq: Rq) -> None:
    embedder = Embedder(Model.demo())
    rows = embedder.encode(TEXTS)
    expected = np.array(rq("embed", *TEXTS), dtype=np.float32)
    assert rows.tobytes() == expected.tobytes()
    assert embedder.encode(TEXTS[1]).tobytes() == rows[1].tobytes()
    assert embedder.encode(iter(TEXTS), batch_size=2, show_progress_bar=True).tobytes() == rows.tobytes()
    normal = embedder.encode(TEXTS, normalize_embeddings=True, truncate_dim=64)
    assert normal.shape == (3, 64)
    assert np.allclose(np.linalg.norm(normal, axis=1), 1)
    assert np.allclose(np.diag(embedder.similarity(rows, rows)), 1)
    tokens = embedder.encode(TEXTS, output_value="token_embeddings")
    assert [len(one) for one in tokens] == [len(embedder.model.token_ids(text)) for text in TEXTS]
    assert embedder.encode([]).shape == (0, embedder.dimension())


@pytest.mark.parametrize("precision", ["float16", "int8", "ubinary"])
def test_precisions(tmp_path: Path, precision: Any) -> None:
    out = tmp_path / "e.npy"
    name = "f16" if precision == "float16" else precision
    rq = Path(sys.executable).parent / "rq"
    subprocess.run([rq, "embed", "--precision", name, "--out", out, *TEXTS], check=True)
    rows = Embedder(Model.demo()).encode(TEXTS, precision=precision)
    expected = np.load(out)
    assert rows.dtype == expected.dtype
    assert rows.tobytes() == expected.tobytes()


def test_classify(converted: Converted, rq: Rq) -> None:
    path = converted("topics")
    classify = Classifier(Model.open(path))
    assert classify(TEXTS, top_k=None) == rq("classify", "-m", path, *TEXTS)
    assert classify(TEXTS[0]) == rq("classify", "-m", path, "-k", 1, TEXTS[0])[0][:1]
    path = converted("nli")
    pair = {"text": "A man is sleeping in the park.", "text_pair": "The man is running."}
    expected = rq("classify", "-m", path, pair["text"], "--pair", pair["text_pair"])
    assert [Classifier(Model.open(path))(pair, top_k=None)] == expected  # type: ignore[call-overload]


def test_zero_shot(converted: Converted, rq: Rq) -> None:
    path = converted("nli")
    zero_shot = ZeroShot(Model.open(path))
    template = "This text is about {}."
    expected = rq("classify", "-m", path, "--labels", "sports,cooking", "--template", template, *TEXTS)
    assert zero_shot(TEXTS, ["sports", "cooking"], hypothesis_template=template) == expected
    expected = rq("classify", "-m", path, "--labels", "sports,cooking", "--multi-label", TEXTS[0])
    assert [zero_shot(TEXTS[0], "sports, cooking", multi_label=True)] == expected


def test_tag(converted: Converted, rq: Rq) -> None:
    path = converted("tags")
    text = "Karo Lindel lives in Port Ama."
    tag = Tagger(Model.open(path))
    for strategy in ("none", "simple", "first", "average", "max"):
        expected = rq("tag", "-m", path, "--aggregation", strategy, text)
        assert [tag(text, aggregation_strategy=strategy)] == expected
    with pytest.raises(ValueError, match="add_prefix_space"):
        tag.words([text.split()])


def test_answer(converted: Converted, rq: Rq) -> None:
    path = converted("answers")
    answer = Answerer(Model.open(path))
    context = "The red key is under the blue box. The green key is in the kitchen."
    question = "Where is the green key?"
    assert [answer(question, context)] == rq("answer", "-m", path, "--context", context, question)
    assert [answer(question, context, top_k=3)] == rq("answer", "-m", path, "-k", 3, "--context", context, question)


def test_rank(converted: Converted, rq: Rq) -> None:
    path = converted("relevance")
    encoder = CrossEncoder(Model.open(path))
    passages = ["It rained.", "The cost of apples depends on the season.", "Two apples."]
    expected = rq("classify", "-m", path, "--query", "price of apples", *passages)
    ranked = encoder.rank("price of apples", passages, return_documents=True)
    assert [{"score": one["score"], "text": one["text"]} for one in ranked] == expected
    assert encoder.rank("price of apples", passages, top_k=1) == [{k: ranked[0][k] for k in ("corpus_id", "score")}]
    assert encoder.predict([("a", "b")]).shape == (1,)


def test_errors(converted: Converted, tmp_path: Path) -> None:
    fill = FillMask(Model.demo())
    with pytest.raises(TextError, match="text 2 of 2: no mask token"):
        fill([MASKED[0], "nothing"])
    with pytest.raises(TextError, match="truncate") as raised:
        Embedder(Model.demo()).encode("word " * 1000)
    assert isinstance(raised.value, ValueError)
    assert Embedder(Model.demo()).encode("word " * 1000, truncate=True).shape == (256,)
    with pytest.raises(TaskError, match="token_classification"):
        Tagger(Model.demo())
    with pytest.raises(OSError, match=r"none\.rq: No such file or directory$"):
        Model.open(tmp_path / "none.rq")
    (tmp_path / "bad.rq").write_bytes(b"not a model")
    with pytest.raises(ModelError):
        Model.open(tmp_path / "bad.rq")
    with pytest.raises(ValueError, match="it can be original, within_word_l2r"):
        Scorer(Model.demo())("x", method="other")
    with pytest.raises(ValueError):
        fill(MASKED, top_k=0)
    with pytest.raises(TypeError):
        fill(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="at most 1024"):
        FillMask(Model.demo(), threads=100_000)
