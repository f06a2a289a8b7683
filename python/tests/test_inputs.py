"""What isn't an input is refused, by its place and with what to do; what has an obvious meaning is taken."""

from __future__ import annotations

import json
import shutil
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
    Scorer,
    SparseEmbedder,
    Tagger,
    TaskError,
    TextError,
    ZeroShot,
    quantize_embeddings,
)

from .conftest import TASKS, Rq

Converted = Callable[[str], Path]
Call = Callable[[Any], Any]
MASKED = "She opened the <mask> and walked in."
HALF = "a\ud800b"


@pytest.fixture(scope="module")
def calls(converted: Converted) -> dict[str, Call]:
    """What takes several texts."""
    demo = Model.demo()
    nli, relevance = Model.open(converted("nli")), Model.open(converted("relevance"))
    zero_shot, encoder = ZeroShot(nli), CrossEncoder(relevance)
    answerer = Answerer(Model.open(converted("answers")))
    return {
        "fill": FillMask(demo),
        "score": Scorer(demo),
        "encode": Embedder(demo).encode,
        "tokens": lambda texts: Embedder(demo).encode(texts, output_value="token_embeddings"),
        "encode_arrow": Embedder(demo).encode_arrow,
        "sparse": SparseEmbedder(demo).encode,
        "classify": Classifier(nli),
        "zero_shot": lambda texts: zero_shot(texts, "sports"),
        "labels": lambda labels: zero_shot("a", labels),
        "targets": lambda targets: FillMask(demo)(MASKED, targets=targets),
        "rank": lambda documents: encoder.rank("q", documents),
        "predict": encoder.predict,
        "tag": Tagger(Model.open(converted("tags"))),
        "answer": answerer.batch,
    }


def good(name: str) -> Any:
    """An input of one text."""
    return {"predict": ("q", "d"), "answer": {"question": "q", "context": "d"}, "fill": MASKED}.get(name, "a")


def test_what_is_not_a_text_is_refused_with_its_place(calls: dict[str, Call]) -> None:
    for name, call in calls.items():
        for bad in (5, b"a", ["a"], *([] if name == "encode_arrow" else [None])):
            with pytest.raises((TypeError, ValueError), match=r"\b3 of 4\b"):
                call([good(name), good(name), bad, good(name)])


def test_half_a_character_is_refused_with_its_place(calls: dict[str, Call]) -> None:
    for name, call in calls.items():
        bad = {"predict": ("q", HALF), "answer": {"question": HALF, "context": "d"}}.get(name, HALF)
        with pytest.raises(TextError, match=r"\b2 of 2\b.*'\\ud800' at 1"):
            call([good(name), bad])


def test_what_is_not_several_texts_is_refused(calls: dict[str, Call]) -> None:
    for name, call in calls.items():
        for bad in ({"a": "b"}, b"a", 5, {"a"}):
            with pytest.raises((TypeError, ValueError)):
                call(bad)
    for name in ("rank", "predict", "sparse", "encode_arrow", "answer"):
        with pytest.raises(TypeError, match="several"):
            calls[name]("Appl")


def test_an_iterator_counts_on() -> None:
    texts: list[Any] = ["a"] * 5 + [None]
    with pytest.raises(TypeError, match="text 6 is None"):
        list(Scorer(Model.demo())(iter(texts), batch_size=2))


def test_words_and_single_texts(converted: Converted) -> None:
    tag = Tagger(Model.open(converted("tags")))
    with pytest.raises(TypeError, match="text 2 of 2.*words"):
        tag.words([["a"], "b"])
    with pytest.raises(TypeError, match="text 2 of 2: word 2 of 2 is None"):
        tag.words([["a"], ["b", None]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="the question, its context, is None"):
        Answerer(Model.open(converted("answers")))("q", None)  # type: ignore[arg-type]
    with pytest.raises(TextError):
        Embedder(Model.demo()).encode("a", prompt=HALF)
    with pytest.raises(TextError):
        Model.demo().token_ids(HALF)


def test_numbers(converted: Converted) -> None:
    fill, embedder = FillMask(Model.demo()), Embedder(Model.demo())
    encoder = CrossEncoder(Model.open(converted("relevance")))
    classify = Classifier(Model.open(converted("topics")))
    answer = Answerer(Model.open(converted("answers")))
    refused: list[tuple[str, Callable[[Any], Any]]] = [
        ("top_k", lambda n: fill(MASKED, top_k=n)),
        ("top_k", lambda n: encoder.rank("q", ["a", "b"], top_k=n)),
        ("top_k", lambda n: classify("a", top_k=n)),
        ("top_k", lambda n: answer("q", "c", top_k=n)),
        ("max_answer_len", lambda n: answer("q", "c", max_answer_len=n)),
        ("batch_size", lambda n: fill([MASKED], batch_size=n)),  # type: ignore[call-overload]
        ("batch_size", lambda n: fill(iter([MASKED]), batch_size=n)),
        ("batch_size", lambda n: embedder.encode(["a"], batch_size=n)),
        ("truncate_dim", lambda n: embedder.encode(["a"], truncate_dim=n)),
        ("threads", lambda n: FillMask(Model.demo(), threads=n)),
        ("threads", lambda n: Model.convert("a", "b", threads=n)),
    ]
    for name, call in refused:
        for number in (0, -1):
            with pytest.raises(ValueError, match=f"^{name} is {number}, and is at least 1$"):
                call(number)
        with pytest.raises(TypeError, match=name):
            call(1.5)
        with pytest.raises(ValueError, match=name):
            FillMask(Model.demo(), threads=1 << 70) if name == "threads" else call(1 << 70)


def test_labels_of_one_name(tmp_path: Path, rq: Rq) -> None:
    shutil.copytree(TASKS / "nli", tmp_path / "nli")
    config = json.loads((tmp_path / "nli/config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "x", "1": "x", "2": "y"}, {"x": 1, "y": 2}
    (tmp_path / "nli/config.json").write_text(json.dumps(config))
    plain = CrossEncoder(Model.convert(TASKS / "nli", tmp_path / "plain.rq"))
    double = CrossEncoder(Model.convert(tmp_path / "nli", tmp_path / "double.rq"))
    pairs = [("A man is sleeping.", "The man is sleeping."), ("A dog runs.", "It rains.")]
    assert double.model.labels == ["x", "x", "y"]
    assert double.predict(pairs).tobytes() == plain.predict(pairs).tobytes()
    rows = rq("classify", "-m", tmp_path / "double.rq", pairs[0][0], "--pair", pairs[0][1])[0]
    assert np.allclose(sorted(label["score"] for label in rows), sorted(double.predict(pairs)[0]))


def test_pairs(converted: Converted) -> None:
    encoder = CrossEncoder(Model.open(converted("relevance")))
    one = encoder.predict(("price", "apples"))
    assert one.shape == ()
    assert one == encoder.predict([("price", "apples")])[0] == encoder.predict(["price", "apples"])
    assert encoder.predict(np.array([["price", "apples"], ["a", "b"]])).shape == (2,)
    assert encoder.predict([]).shape == (0,)
    with pytest.raises(TypeError, match="pair 1 of 3 is of type str"):
        encoder.predict(["a", "b", "c"])
    with pytest.raises(ValueError, match="pair 2 of 2 has 3 texts"):
        encoder.predict([("a", "b"), ("a", "b", "c")])
    classify = Classifier(Model.open(converted("nli")))
    assert classify({"text": "team"}) == classify({"text": "team", "text_pair": None}) == classify("team")
    with pytest.raises(ValueError, match="'pair'; there are text, text_pair"):
        classify([{"text": "a", "pair": "b"}, "c"])  # type: ignore[arg-type]


def test_targets_and_methods() -> None:
    fill = FillMask(Model.demo())
    assert fill(MASKED, targets=(t for t in ["Ġdoor"])) == fill(MASKED, targets="Ġdoor")
    with pytest.warns(UserWarning, match="Replacing with `.*For the word, write `Ġwindow`"):
        fill(MASKED, targets="window")
    with pytest.warns(UserWarning, match="ignoring it$"):
        fill(MASKED, targets=["", "Ġdoor"])
    score = Scorer(Model.demo())
    assert score("A cat.", method="within-word-l2r") == score("A cat.", method="within_word_l2r")


def test_zero_shot_needs_a_label_of_entailment(converted: Converted) -> None:
    topics = ZeroShot(Model.open(converted("topics")))
    with pytest.raises(TaskError, match="sports.*name it with entailment_label"):
        topics("a", "b, c")
    with pytest.raises(ValueError, match="entailment_label is \"x\""):
        topics("a", "b, c", entailment_label="x")
    assert topics("a", "b, c", entailment_label="Money")["labels"]
    nli = ZeroShot(Model.open(converted("nli")))
    assert nli("a", (label for label in ["b", "c"])) == nli("a", "b, c")
    with pytest.raises(ValueError, match="no label"):
        nli("a", " , ")
    with pytest.raises(ValueError, match="label 2 of 2 is empty"):
        nli("a", ["b", " "])


def test_keywords_of_other_libraries(converted: Converted) -> None:
    demo = Model.demo()
    encoder = CrossEncoder(Model.open(converted("relevance")))
    classify = Classifier(Model.open(converted("topics")))
    wrong: list[tuple[str, Callable[[], Any]]] = [
        ("device here: it computes on the CPU", lambda: FillMask(demo, device=0)),  # type: ignore[call-arg]
        ("truncation here: .*truncate=True", lambda: classify("a", truncation=True)),  # type: ignore[call-overload]
        ("convert_to_tensor here: .*torch.from_numpy", lambda: Embedder(demo).encode("a", convert_to_tensor=True)),  # type: ignore[call-overload]
        ("return_all_scores here: top_k=None", lambda: classify("a", return_all_scores=True)),  # type: ignore[call-overload]
        ("activation_fn here: ", lambda: encoder.predict([("a", "b")], activation_fn=None)),  # type: ignore[call-overload]
        ("batch_size here: ", lambda: encoder.predict([("a", "b")], batch_size=8)),  # type: ignore[call-overload]
        ("unexpected keyword argument 'colour'", lambda: classify("a", colour=1)),  # type: ignore[call-overload]
    ]
    for message, call in wrong:
        with pytest.raises(TypeError, match=message):
            call()


def test_models(converted: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    path = converted("topics")
    with pytest.raises(TypeError, match=r"Model\.open\(path\)"):
        FillMask("x.rq")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Model\.open\(path\)"):
        Model("x.rq")  # type: ignore[arg-type]
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    assert Model.open("~/topics.rq").labels == Model.open(path).labels
    pipelines: list[Callable[[Model], object]] = [FillMask, Scorer, SparseEmbedder, Tagger, Answerer]
    for pipeline in pipelines:
        with pytest.raises(TaskError):
            pipeline(Model.open(path))
    pipelines = [Classifier, ZeroShot, CrossEncoder]
    for pipeline in pipelines:
        with pytest.raises(TaskError):
            pipeline(Model.demo())


def test_embeddings(converted: Converted) -> None:
    embedder = Embedder(Model.demo())
    with pytest.raises(ValueError, match=r'^pooling="none" gives .*token_embeddings'):
        embedder.encode(["a"], pooling="none")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"quantize_embeddings\(\.\.\., ranges=\.\.\.\)"):
        embedder.encode(["a"], precision="int8")
    rows = embedder.encode(["a", "b"])
    ranges = np.stack([rows.min(axis=0), rows.max(axis=0)])
    assert quantize_embeddings(rows[:1], "int8", ranges).tobytes() == quantize_embeddings(rows, "int8")[:1].tobytes()


def test_a_list_has_a_list_of_labels_for_each_text(converted: Converted) -> None:
    classify = Classifier(Model.open(converted("topics")))
    both = classify(["a", "b"])
    assert both == [classify("a"), classify("b")]
    assert [len(labels) for labels in both] == [1, 1]
