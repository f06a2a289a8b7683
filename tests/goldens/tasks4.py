"""Write tasks/answer.json: what the question-answering pipeline of transformers 4.57, in fp32 on the CPU, answers. Version 5
has no such pipeline. With --check, see too that the other pipelines of 4.57 agree with classify.json and tag.json.

    python3 -m venv venv4 && venv4/bin/pip install -r tests/goldens/requirements4.txt
    venv4/bin/python tests/goldens/tasks4.py [--check]

What the pipeline does, for a tokenizer of the library `tokenizers` that pads on the right:

Input. An empty question or context is an error. top_k < 1 or max_answer_len < 1 is an error. max_seq_len defaults to
min(tokenizer.model_max_length, 384), doc_stride to min(max_seq_len // 2, 128); doc_stride > max_seq_len is an error.
max_question_len is taken and not used: a question is never cut.

Windows. The pair (question, context) is encoded with truncation of the second text alone to max_seq_len tokens in all, special
tokens included; doc_stride is the number of context tokens that a window shares with the one before. So a window has room for
r = max_seq_len - question - special tokens of the context and begins r - doc_stride of them after the one before; the last is
the first that reaches the end of the context. doc_stride >= max_seq_len - 2 (the special tokens of a single text) is an error of
transformers, r <= 0 an error of tokenizers and doc_stride >= r a panic of it, the latter two if the context has to be cut. Windows are run one by one, without padding.

A window's candidates. p_mask is 0 for the tokens of the context (sequence_ids == 1) and for every token whose id is cls_token_id,
wherever it stands; 1 for the rest. Logits of tokens with p_mask 1 become -10000; then a softmax over the whole window, for the
starts and for the ends apart (float32). The first token counts in both sums. With handle_impossible_answer, the null score is the
smallest, over the windows, of start[0] * end[0], as probabilities. Then start[0] and end[0] become 0. The score of the span (s, e)
is start[s] * end[e] if s <= e < s + max_answer_len, counted in tokens, else 0.

Which are kept. n = 2 * top_k + 10 with align_to_words, else top_k. The n best of all length * length pairs (s, e); for n = 1 the
first of the greatest; for n > 1 the order of equal scores is not defined. Then those are dropped whose s or e has p_mask 1 (index 0
never counts as such). In a short context pairs of score 0 are among the n, and which of them is an accident of the sort: compare
answers of score > 0 only.

From tokens to text. With align_to_words: the word number of the first token and that of the last (token_to_word), then
word_to_chars of these numbers in sequence 1: from the beginning of the first word to the end of the last, as far as the words
are inside this window. Where this raises (a token that has no word, as the special ones), or without align_to_words: the
offsets of the two tokens, start of the first and end of the last. Offsets are those in the whole context, in every window, and
count code points. So a cls token written out in the question gives the word of its number in the context.

Merging. Candidates are taken window by window, within one by falling score. If there is already an answer whose text is the same
once both are in lower case (str.lower), wherever it is in the context, the score is added to that one, and its start, end and
text stay. Otherwise the candidate is appended. So overlapping windows count twice, and a score can exceed 1.

Result. With handle_impossible_answer, {"score": null score, "start": 0, "end": 0, "answer": ""} is appended, not merged. The
answers are sorted by falling score (stable) and the first top_k are returned: one alone as a dictionary, whatever top_k is, others
as a list, which may be empty.
"""

import argparse
import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"

import torch
import transformers
from transformers import pipeline

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
OUT = HERE / "tasks"

SHORT = "Anna lives in New York. Peter works as a taxi driver. Maria bought a red guitar."
MIXED = "José lives in São Paulo. 😀 Nobody was surprised.\nZoë came back on Sunday!  Laura lives in Zürich 👩\u200d🚀. Emma bought a blue car."
FILLER = "It was a long year. Nobody was surprised. The street is quiet at night. Many people heard about it. "
LONG = (FILLER * 2 + "Peter lives in Oslo. " + FILLER * 3 + "Clara works as a head of sales. " + FILLER * 2 + "Peter came back on Friday. "
        + FILLER + "Nora bought a white boat. " + FILLER)
TWICE = "Anna lives in Paris. " + FILLER + "Anna lives in paris. " + FILLER + "Anna lives in PARIS."
QUESTIONS = [("Where does Anna live?", SHORT), ("What does Peter do?", SHORT), ("What did Maria buy?", SHORT), ("Where does Maria live?", SHORT),
             ("When did Victor come back?", SHORT), ("Where does José live?", MIXED), ("When did Zoë come back?", MIXED), ("Where does Laura live?", MIXED),
             ("What did Emma buy?", MIXED), ("Where does Peter live?", LONG), ("What does Clara do?", LONG), ("When did Peter come back?", LONG),
             ("What did Nora buy?", LONG), ("Where does Nora live?", LONG), ("Where does Anna live?", TWICE),
             ("Where does <s> Anna live?", "Anna <s> lives in </s> New York <mask>."), ("?", "A"), ("Where?", "  \n ")]
RANDOM = [("Who sat on the mat?", "The cat sat on the mat's edge, near the door."), ("Où est la clé ?", "Elle était sur la table 😀, à côté du pain."),
          ("Where did the people wait?", "She opened the window, looked at the street and counted the people who were waiting for the bus. " * 6),
          ("Who [SEP] sat?", "The [CLS] cat 世界 café sat.")]
OPTIONS = [{}, {"top_k": 3}, {"top_k": 3, "align_to_words": False}, {"align_to_words": False}, {"handle_impossible_answer": True},
           {"handle_impossible_answer": True, "top_k": 3}]
SOME = [{"max_answer_len": 1}, {"max_answer_len": 2, "top_k": 4, "align_to_words": False}, {"max_seq_len": 40, "doc_stride": 10},
        {"max_seq_len": 40, "doc_stride": 10, "top_k": 3, "handle_impossible_answer": True}, {"max_seq_len": 64, "top_k": 2}, {"doc_stride": 0, "top_k": 2},
        {"max_question_len": 3}, {"top_k": 20}, {"top_k": 20, "align_to_words": False, "max_answer_len": 3}]
ERRORS = [({"top_k": 0}, None), ({"max_answer_len": 0}, None), ({"max_seq_len": 20, "doc_stride": 21}, None), ({"max_seq_len": 20, "doc_stride": 19}, None),
          ({"max_seq_len": 20, "doc_stride": 15}, None), ({"max_seq_len": 100, "doc_stride": 97}, None), ({"max_seq_len": 8}, None), ({}, ("", SHORT)), ({}, ("Where does Anna live?", ""))]


def call(made, question, context, options):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"result": made(question=question, context=context, **options)}
    except BaseException as error:  # a panic of tokenizers is no Exception
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}


def answers():
    cases = []

    def add(made, model, question, context, options):
        record = {"model": model, "question": question, "context": context, "options": options} | call(made, question, context, options)
        if isinstance(record.get("result"), dict):  # how far the second best is, for those who compare with other arithmetic
            two = call(made, question, context, options | {"top_k": 2})["result"]
            two = [two] if isinstance(two, dict) else two
            record["second"] = two[1]["score"] if len(two) > 1 else None
        cases.append(record)

    for model, asked, random in (("data/tasks/answers", QUESTIONS, False), ("goldens/architectures/bert-qa", RANDOM, True)):
        made = pipeline("question-answering", model=str(TESTS / model), torch_dtype=torch.float32, device="cpu")
        made.model.set_attn_implementation("eager")
        for question, context in asked:
            for options in OPTIONS:
                add(made, model, question, context, options)
        chosen = asked if random else [QUESTIONS[i] for i in (0, 5, 9, 11, 13, 14)]
        for question, context in chosen:
            for options in SOME:
                add(made, model, question, context, options)
        for options, other in ERRORS:
            add(made, model, *(other or asked[0]), options)
    return cases


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) < 1e-5
    return a == b


def check():
    """Say where 4.57 answers otherwise than version 5."""
    made, differing = {}, 0
    for file in ("classify.json", "tag.json"):
        for case in json.loads((OUT / file).read_text())["cases"]:
            task, model = case.get("pipeline", "token-classification"), case["model"]
            if (task, model) not in made:
                try:
                    made[task, model] = pipeline(task, model=str(TESTS / model), torch_dtype=torch.float32, device="cpu")
                except Exception as error:
                    made[task, model] = None
                    print(f"4.57 does not load {model}: {error}")
            if made[task, model] is None:
                continue
            inputs = case["sequences"] if "sequences" in case else case["inputs"]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    got = {"result": made[task, model](inputs, **case["options"])}
            except BaseException as error:
                got = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            want = {key: case[key] for key in ("result", "error") if key in case}
            if not same(want, json.loads(json.dumps(got, default=lambda x: x.item()))):
                differing += 1
                print(model, case["options"], repr(inputs)[:60], "\n  5:   ", str(want)[:600], "\n  4.57:", str(got)[:600])
    print(differing, "differing")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    assert transformers.__version__.startswith("4.57."), transformers.__version__
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    if args.check:
        return check()
    packages = ("transformers", "tokenizers", "torch", "numpy")
    made_with = {package: version(package) for package in packages} | {"torch_cpu": torch.backends.cpu.get_cpu_capability()}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in answers())
    OUT.mkdir(exist_ok=True)
    (OUT / "answer.json").write_text(f'{{"made_with": {json.dumps(made_with)}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
