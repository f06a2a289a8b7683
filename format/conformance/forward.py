"""What a model computes of a sequence of tokens, as FORMAT.md says under "What is computed", in f64."""

import math


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


ACTS = {"gelu": gelu, "gelu_tanh": gelu_tanh, "tanh": math.tanh, "relu": lambda x: max(x, 0.0)}


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


class Forward:
    def __init__(self, model):
        self.config = model.config
        self.tensors = {name: tensor.rows_of() for name, tensor in model.tensors.items()}

    def product(self, name, x):
        return [dot(row, x) + bias for row, bias in zip(self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"][0])]

    def norm(self, name, x):
        mean = sum(x) / len(x)
        variance = sum((v - mean) ** 2 for v in x) / len(x)
        scale = 1 / math.sqrt(variance + self.config["layer_norm_eps"])
        weight, bias = self.tensors[f"{name}.weight"][0], self.tensors[f"{name}.bias"][0]
        return [(v - mean) * scale * w + b for v, w, b in zip(x, weight, bias)]

    def embed(self, ids, types):
        c, position, states = self.config, 0, []
        for id, type_id in zip(ids, types):
            row = c["position_offset"] + position
            if c["architecture"] in ("roberta", "mpnet") and id == c["pad_token_id"]:
                row = c["position_offset"] - 1
            else:
                position += 1
            x = add(self.tensors["embeddings.word"][id], self.tensors["embeddings.position"][row])
            if "embeddings.token_type" in self.tensors:
                x = add(x, self.tensors["embeddings.token_type"][type_id])
            x = self.norm("embeddings.norm", x)
            states.append(self.product("embeddings.projection", x) if c.get("embedding_size") is not None else x)
        return states

    def attend(self, layer, states):
        c = self.config
        heads, size = c["num_attention_heads"], c["hidden_size"] // c["num_attention_heads"]
        padded = -(-size // 16) * 16
        all_of = [self.product(f"{layer}.qkv", x) for x in states]

        def part(i, s, h):
            at = (s * heads + h) * padded
            return all_of[i][at : at + padded]

        bias = self.tensors.get("attention.relative_bias")
        contexts = []
        for i in range(len(states)):
            context = []
            for h in range(heads):
                scores = []
                for j in range(len(states)):
                    score = dot(part(i, 0, h), part(j, 1, h)) / math.sqrt(size)
                    scores.append(score + (bias[h][127 + max(-127, min(127, j - i))] if bias else 0))
                most = max(scores)
                weights = [math.exp(score - most) for score in scores]
                values = [[w / sum(weights) * v for v in part(j, 2, h)] for j, w in enumerate(weights)]
                context += [sum(column) for column in zip(*values)]
            contexts.append(context)
        return [self.norm(f"{layer}.norm", add(x, self.product(f"{layer}.output", y))) for x, y in zip(states, contexts)]

    def hidden_states(self, ids, types):
        act = ACTS[self.config["hidden_act"]]
        states = self.embed(ids, types)
        for n in range(self.config["num_hidden_layers"]):
            states = self.attend(f"layers.{n}.attention", states)
            ffn = f"layers.{n}.ffn"
            states = [
                self.norm(f"{ffn}.norm", add(x, self.product(f"{ffn}.down", [act(v) for v in self.product(f"{ffn}.up", x)])))
                for x in states
            ]
        return states

    def logits(self, states):
        """A row for each token, or one for the whole sequence."""
        c = self.config
        if c["head"] == "masked_lm":
            act = ACTS[c["hidden_act"]] if c["architecture"] in ("bert", "distilbert") else gelu
            table = self.tensors["embeddings.word" if c["tie_word_embeddings"] else "lm_head.decoder.weight"]
            bias = self.tensors["lm_head.decoder.bias"][0]
            rows = [self.norm("lm_head.norm", [act(v) for v in self.product("lm_head.dense", x)]) for x in states]
            return [[dot(row, x) + b for row, b in zip(table, bias)] for x in rows]
        if c["head"] == "none":
            return []
        rows = states[:1] if c["head"] == "sequence_classification" else states
        if c.get("classifier_act") is not None:
            act = ACTS[c["classifier_act"]]
            rows = [[act(v) for v in self.product("classifier.dense", x)] for x in rows]
        return [self.product("classifier.out", x) for x in rows]
