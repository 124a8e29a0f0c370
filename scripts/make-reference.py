#!/usr/bin/env python3
"""Writes a reference for a model: values that Hugging Face's implementation computes, which `headscope verify` compares with.

    scripts/make-reference.py MODEL [-o FILE] [--prompt TEXT]... [--ids 1,2,3]... [--dtype f64|f32]
                              [--values N] [--seed N]

MODEL is a folder as transformers opens it, or a .gguf that it reads. The file is headscope-reference.json beside the
model, where `headscope verify MODEL` finds it. Needs torch and transformers (tests/fixtures/requirements.txt has
versions that were tried), and nothing from the network.

What is in it: logits, attention patterns, z and resid_pre at seeded places of the first, a middle and the last layer, for
the unedited model and for a few edits of heads (zero, scale), which are made by hooks on the attention's output projection.
Prompts are the text (where there is a tokenizer.json) and seeded token ids, or what --prompt and --ids say.

Tolerances: the model runs in f64 and in f32. That distance is what rounding does to this model, so a value may be off by
8 times the largest such distance at its activation, and by 4e-6 of the largest magnitude there in any case (an f32 holds
6e-8 of a number; sums of hundreds of terms lose some of it). Inside transformers some steps run in f32 even then: norms,
softmax and rotary angles of many families. With --dtype f32, for models that do not fit twice, it is 1e-4 of the largest
magnitude.
"""
import argparse
import json
import os
import random
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers

SENTENCE = "When Mary and John went to the store, John gave a drink to"
RANDOM_TOKENS = 12
# From a block to the module that takes z of all heads side by side.
OUTPUT_PROJECTIONS = [
    "attn.c_proj", "self_attn.o_proj", "self_attn.out_proj", "self_attn.dense", "attn.attention.out_proj",
    "attention.output.dense", "attention.dense", "attention.out_lin", "attn.Wo",
]


class Model:
    def __init__(self, path, dtype):
        folder, options = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        name = (config.architectures or [""])[0]
        auto = (transformers.AutoModelForMaskedLM if name.endswith("ForMaskedLM")
                else transformers.AutoModel if name.endswith("Model") and not name.endswith("LMHeadModel")
                else transformers.AutoModelForCausalLM)
        self.module, info = auto.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", output_loading_info=True, **options)
        if missing := info["missing_keys"]:
            raise SystemExit(f"the checkpoint lacks {sorted(missing)[:5]}: transformers would make them up: {path}")
        self.module.eval()
        config = self.module.config.get_text_config()
        self.n_layers, self.n_heads, self.n_vocab = config.num_hidden_layers, config.num_attention_heads, config.vocab_size
        self.n_ctx = getattr(config, "max_position_embeddings", None) or RANDOM_TOKENS
        # RoBERTa counts positions from after its padding token's id; padding within a text would shift them.
        self.padding = config.pad_token_id
        if any(hasattr(module, "padding_idx") and hasattr(module, "position_embeddings") for module in self.module.modules()):
            self.n_ctx -= self.padding + 1
        self.blocks, self.projections = self._blocks(path)

    def _blocks(self, path):
        for module in self.module.modules():
            if isinstance(module, torch.nn.ModuleList) and len(module) == self.n_layers:
                for name in OUTPUT_PROJECTIONS:
                    try:
                        return list(module), [block.get_submodule(name) for block in module]
                    except AttributeError:
                        continue
        raise SystemExit(f"no attention output projection is known for {type(self.module).__name__}: {path}")

    def heads(self, z):
        """z of all heads side by side as [batch, pos, head, d_head]; a view."""
        return z.view(*z.shape[:2], self.n_heads, -1)

    @torch.no_grad()
    def run(self, ids, edits):
        """Activations by TransformerLens's names, batch axis first."""
        acts = {}

        def before_block(layer):
            def hook(_, args, kwargs):
                stream = args[0] if args else kwargs["hidden_states"]
                acts[f"blocks.{layer}.hook_resid_pre"] = stream.clone()
            return hook

        def before_projection(layer):
            def hook(_, args):
                z = args[0].clone()
                for of_layer, head, factor, positions in edits:
                    if of_layer == layer:
                        where = slice(None) if positions is None else positions
                        self.heads(z)[:, where, head] *= factor
                acts[f"blocks.{layer}.attn.hook_z"] = self.heads(z)
                return (z, *args[1:])
            return hook

        with hooks(
            [block.register_forward_pre_hook(before_block(i), with_kwargs=True) for i, block in enumerate(self.blocks)]
            + [out.register_forward_pre_hook(before_projection(i)) for i, out in enumerate(self.projections)]
        ):
            output = self.module(torch.tensor([ids]), output_attentions=True)
        for layer, pattern in enumerate(output.attentions or []):
            acts[f"blocks.{layer}.attn.hook_pattern"] = pattern
        if "logits" in output:
            acts["logits"] = output.logits
        return {name: value.double() for name, value in acts.items()}


@contextmanager
def hooks(handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def spelling(edit):
    layer, head, factor, positions = edit
    at = "" if positions is None else "@" + ",".join(map(str, positions))
    return f"L{layer}H{head}=" + ("zero" if factor == 0 else f"scale({factor:g})") + at


def edit_lists(model, n_tokens, draw):
    """No edit; a head at zero; one scaled at two positions; both, in other layers."""
    head = lambda: (draw.randrange(model.n_layers), draw.randrange(model.n_heads))
    some = sorted(draw.sample(range(n_tokens), min(2, n_tokens)))
    zero, scaled, turned = (*head(), 0, None), (*head(), 2.5, some), (*head(), -1.5, None)
    return [[], [zero], [scaled], [zero, turned]]


def places(name, value, count, draw):
    """Indices that say something: the strongest cells of rows and columns, and some by chance."""
    shape = value.shape
    for i in range(count):
        index = [0] + [draw.randrange(n) for n in shape[1:]]
        if name == "logits" and i < 4:
            index[1] = shape[1] - 1
            index[2] = int(value[0, -1].topk(4).indices[i]) if shape[2] >= 4 else i % shape[2]
        elif i % 2 == 0:
            index[-1] = int(value[tuple(index[:-1])].abs().argmax())
        yield index


def case(models, ids, edits, count, draw):
    """Runs in the types of `models`, the values from the first."""
    runs = [model.run(ids, edits) for model in models]
    layers = sorted({0, models[0].n_layers // 2, models[0].n_layers - 1})
    names = ["logits"] + [f"blocks.{layer}.{site}" for layer in layers
                          for site in ("hook_resid_pre", "attn.hook_pattern", "attn.hook_z")]
    values = []
    for name in filter(runs[0].__contains__, names):
        value = runs[0][name]
        largest = float(value.abs().max())
        if len(runs) == 2:
            tolerance = max(8 * float((value - runs[1][name]).abs().max()), 4e-6 * largest)
        else:
            tolerance = 1e-4 * largest
        for index in places(name, value, count, draw):
            values.append({"site": name, "index": index, "value": float(f"{float(value[tuple(index)]):.10g}"),
                           "tolerance": float(f"{tolerance:.2g}")})
    return {"ids": ids, "edits": [spelling(edit) for edit in edits], "values": values}


def prompts(args, model, folder, draw):
    texts, tokenizer = args.prompt, folder / "tokenizer.json"
    if tokenizer.exists():
        from tokenizers import Tokenizer
        encode = Tokenizer.from_file(str(tokenizer)).encode
        found = [encode(text).ids for text in texts]
        if not texts and not args.ids:
            found.append(encode(SENTENCE).ids[:model.n_ctx])
    elif texts:
        raise SystemExit(f"--prompt needs a tokenizer.json: {folder}")
    else:
        found = []
    found += [[int(i) for i in ids.split(",")] for ids in args.ids]
    if not args.prompt and not args.ids:
        ordinary = [id for id in range(model.n_vocab) if id != model.padding]
        found.append([draw.choice(ordinary) for _ in range(min(RANDOM_TOKENS, model.n_ctx))])
    for ids in found:
        if not 0 < len(ids) <= model.n_ctx:
            raise SystemExit(f"a prompt has {len(ids)} tokens, and the model's context is {model.n_ctx}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--ids", action="append", default=[])
    parser.add_argument("--dtype", choices=["f64", "f32"], default="f64")
    parser.add_argument("--values", type=int, default=6, help="at each activation")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = args.model if args.model.is_dir() else args.model.parent
    types = [torch.float64, torch.float32] if args.dtype == "f64" else [torch.float32]
    models = [Model(args.model, dtype) for dtype in types]
    draw = random.Random(args.seed)
    cases = [case(models, ids, edits, args.values, draw) for ids in prompts(args, models[0], folder, draw)
             for edits in edit_lists(models[0], len(ids), draw)]
    reason = ("8 times the largest distance of its f32 run at the activation, at least 4e-6 of the largest magnitude there"
              if args.dtype == "f64" else "1e-4 of the largest magnitude at the activation")
    source = (f"{type(models[0].module).__name__} of transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, "
              f"{args.dtype}; tolerances: {reason}")
    output = args.output or folder / "headscope-reference.json"
    with open(output, "w", encoding="utf-8", newline="\n") as file:
        lines = lambda items, pad: (",\n" + pad).join(json.dumps(item, ensure_ascii=False) for item in items)
        file.write(f'{{"schema_version": 1, "source": {json.dumps(source)}, "cases": [\n')
        for i, entry in enumerate(cases):
            head = json.dumps({"ids": entry["ids"], "edits": entry["edits"]}, ensure_ascii=False)[:-1]
            file.write(f' {head}, "values": [\n  {lines(entry["values"], "  ")}\n ]}}{"," if i + 1 < len(cases) else ""}\n')
        file.write("]}\n")
    print(f"{sum(len(entry['values']) for entry in cases)} values in {len(cases)} cases: {output}")


if __name__ == "__main__":
    main()
