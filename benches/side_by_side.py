#!/usr/bin/env python3
"""Times Headscope and TransformerLens in turn on the same machine: GPT-2 small's shape, random weights, f32, the CPU.

    python3 -m venv VENV && VENV/bin/pip install torch transformer_lens==3.9.0 better-abc    (6 GB; 4.x has no HookedTransformer)
    VENV/bin/python benches/side_by_side.py [forward] [edit] [sweep] [--rounds 9] [--threads 2]

Each round measures one after the other; medians of the rounds and their ratio are printed, in ms.
forward  patterns, z and residuals kept; TransformerLens computes the logits of all positions, Headscope those that are read
edit     one head of one layer changed, 64 tokens, as somebody does who moves a slider: TransformerLens by a hook
sweep    every head zeroed in turn, 16 tokens, logit difference at the last one: hook by hook, and the expert's way (from
         kept residuals at the layer, its heads as one batch)
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import time
import warnings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", nargs="*", help="forward, edit, sweep; all if none is named")
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

warnings.filterwarnings("ignore")
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
model = HookedTransformer(HookedTransformerConfig(
    n_layers=12, d_model=768, n_ctx=1024, d_head=64, n_heads=12, d_mlp=3072, d_vocab=50257, act_fn="gelu_new",
    normalization_type="LN", device="cpu", seed=0)).eval()

ours = subprocess.Popen(
    ["cargo", "bench", "--quiet", "--bench", "pairs"], cwd=pathlib.Path(__file__).parent.parent, text=True,
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)})


def headscope(what):
    ours.stdin.write(what + "\n")
    ours.stdin.flush()
    return float(ours.stdout.readline())


def timed(f):
    start = time.perf_counter()
    f()
    return (time.perf_counter() - start) * 1e3


def compare(name, theirs, our_command, rounds=args.rounds):
    theirs(), headscope(our_command)  # warm
    pairs = [(timed(theirs), headscope(our_command)) for _ in range(rounds)]
    a, b = (statistics.median(side) for side in zip(*pairs))
    ratio = statistics.median(x / y for x, y in pairs)
    print(f"{name:34} TransformerLens {a:9.1f}   Headscope {b:8.1f}   ratio {ratio:6.2f}   ({rounds} pairs)", flush=True)


def forward():
    wanted = lambda name: name.endswith(("pattern", "hook_z", "resid_pre"))
    for n in (16, 64, 256, 1024):
        x = torch.randint(0, 50257, (1, n))
        compare(f"forward, {n} tokens", lambda: model.run_with_cache(x, names_filter=wanted), f"forward {n}")


def edit():
    x = torch.randint(0, 50257, (1, 64))

    def zero(z, hook):
        z[:, :, 3] = 0
        return z

    for layer in (0, 3, 6, 9, 11):
        hooks = [(f"blocks.{layer}.attn.hook_z", zero)]
        compare(f"edit at layer {layer}", lambda: model.run_with_hooks(x, fwd_hooks=hooks), f"edit {layer}")
    whole, edits = [], []
    for _ in range(args.rounds):
        whole.append(headscope("forward 64"))
        edits.append([headscope(f"edit {layer}") for layer in range(12)])
    forward_ms = statistics.median(whole)
    by_layer = [statistics.median(layer) / forward_ms for layer in zip(*edits)]
    print(f"edit over forward, Headscope: mean of the layers {statistics.mean(by_layer):.2f}, last {by_layer[-1]:.2f}", flush=True)


def sweep():
    x = torch.randint(0, 50257, (1, 16))

    def hook_by_hook():
        for layer in range(12):
            for head in range(12):
                def zero(z, hook, head=head):
                    z[:, :, head] = 0
                    return z
                logits = model.run_with_hooks(x, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)])
                (logits[0, -1, 11] - logits[0, -1, 42]).item()

    def zero_each(z, hook):
        for head in range(12):
            z[head, :, head] = 0
        return z

    def expert():
        _, cache = model.run_with_cache(x, names_filter=lambda name: name.endswith("resid_pre"))
        for layer in range(12):
            resid = cache[f"blocks.{layer}.hook_resid_pre"].repeat(12, 1, 1)
            with model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero_each)]):
                last = model(resid, start_at_layer=layer, stop_at_layer=12)[:, -1:]
            logits = model.unembed(model.ln_final(last))
            (logits[:, -1, 11] - logits[:, -1, 42]).tolist()

    compare("sweep, against hook by hook", hook_by_hook, "sweep all", 3)
    compare("sweep, against the expert's way", expert, "sweep all", max(3, args.rounds // 2))
    compare("sweep at the read position", hook_by_hook, "sweep read", 3)
    rate = statistics.median(headscope("rate") for _ in range(9))
    took = statistics.median(headscope("sweep all") for _ in range(5))
    # Every head of layer l runs what follows its z in layer l, and the 11 - l layers after it, over 16 rows.
    layer = 16 * (2 * 768 * 2304 + 2 * 768 * 768 + 4 * 768 * 3072) + 4 * 16 * 16 * 768
    after_z = 16 * (2 * 768 * 768 + 4 * 768 * 3072)
    flop = sum(12 * (after_z + (11 - l) * layer) for l in range(12))
    print(f"sweep: {flop / 1e9:.0f} GFLOP at {rate:.0f} GFLOP/s (a product of 2,048 x 2,048) are {flop / rate / 1e6:.0f} ms; it took "
          f"{took:.0f} ms, {took / (flop / rate / 1e6):.2f} of it", flush=True)


jobs = {"forward": forward, "edit": edit, "sweep": sweep}
for name in args.what or jobs:
    jobs[name]()
