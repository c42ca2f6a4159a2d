#!/usr/bin/env python3
"""The training steps of `memring bench` in PyTorch, as one writes them there, and the same figures as JSON.

Usage: pytorch_step.py step|step-large|rmt-step|attention [--compile] [--dtype fp32|bf16] [--threads N] [--pairs N] [--json FILE]
step: the small Llama of DESIGN.md section 10; rmt-step: the same as a recurrent memory transformer, unrolled by hand over eight
segments; attention: scaled_dot_product_attention, 4 heads of 64, 8192 tokens. Each is timed beside PyTorch's own product of
4096 x 1024 x 1024. launch/compare_pytorch.sh runs it beside memring.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "launch"))
from compare import interval  # noqa: E402  the same interval as `memring bench` prints

SMALL = {"layers": 4, "dim": 256, "heads": 4, "kv_heads": 4, "ffn": 688, "vocab": 512}
LARGE = {"layers": 8, "dim": 1024, "heads": 16, "kv_heads": 4, "ffn": 2816, "vocab": 32000}


def rotate(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, dim, heads, kv_heads, ffn, **_):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.input_norm, self.post_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
        self.q, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(dim, kv_heads * self.head_dim, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(dim, ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(ffn, dim, bias=False)

    def forward(self, x, cos, sin):
        batch, rows, dim = x.shape
        y = self.input_norm(x)
        q, k, v = (linear(y).view(batch, rows, heads, self.head_dim).transpose(1, 2)
                   for linear, heads in ((self.q, self.heads), (self.k, self.kv_heads), (self.v, self.kv_heads)))
        o = functional.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True,
                                                    enable_gqa=self.kv_heads != self.heads)
        x = x + self.o(o.transpose(1, 2).reshape(batch, rows, dim))
        y = self.post_norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Tied head; with `memory` tokens a recurrent memory transformer: read rows, text, write rows."""

    def __init__(self, rows, memory=0, **shape):
        super().__init__()
        self.embedding = nn.Embedding(shape["vocab"], shape["dim"])
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(**shape) for _ in range(shape["layers"]))
        self.norm = nn.RMSNorm(shape["dim"], eps=1e-5)
        self.memory = nn.Parameter(0.02 * torch.randn(memory, shape["dim"])) if memory else None
        half = shape["dim"] // shape["heads"] // 2
        angles = torch.arange(rows + 2 * memory, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def segment(self, tokens, targets, state):
        x, memory = self.embedding(tokens), 0
        if self.memory is not None:
            memory = self.memory.shape[0]
            if state is None:
                state = self.memory.expand(len(tokens), -1, -1)
            x = torch.cat((state, x, state), dim=1)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        x = self.norm(x)
        text = x[:, memory:memory + tokens.shape[1]]
        logits = functional.linear(text, self.embedding.weight)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        return loss, x[:, x.shape[1] - memory:] if memory else None


def training_step(arguments, shape, batch, length, segments=1, memory=0):
    torch.manual_seed(1)
    model = Llama(length // segments, memory, **shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(shape["vocab"], (batch, length + 1))
    run = torch.compile(model.segment) if arguments.compile else model.segment

    def step():
        optimizer.zero_grad(set_to_none=True)
        state, loss = None, 0
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.dtype == "bf16"):
            for ids, targets in zip(tokens[:, :-1].chunk(segments, 1), tokens[:, 1:].chunk(segments, 1)):
                one, state = run(ids, targets, state)
                loss = loss + one
        (loss / (batch * length)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    rows = length // segments + 2 * memory
    weights = sum(p.numel() for name, p in model.named_parameters() if name.startswith("layers") and p.dim() == 2)
    flops = batch * segments * (6 * weights * rows + 6 * shape["dim"] * shape["vocab"] * (length // segments)
                                + 12 * shape["layers"] * shape["dim"] * rows * (rows + 1) // 2)
    return step, flops, batch * length


def attention_step(arguments):
    kind = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    q, k, v = (torch.rand(1, 4, 8192, 64, dtype=kind, requires_grad=True) for _ in range(3))
    d_o = torch.rand(1, 4, 8192, 64, dtype=kind)

    def step():
        functional.scaled_dot_product_attention(q, k, v, is_causal=True).backward(d_o)

    return step, 12 * 256 * 8192 * 8193 // 2, 8192


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(values):
    low, high = interval(values)
    return {"median": statistics.median(values), "low": low, "high": high}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("benchmark", choices=("step", "step-large", "rmt-step", "attention"))
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    prefix = ""
    if arguments.benchmark == "step":
        step, flops, tokens = training_step(arguments, SMALL, batch=8, length=512)
    elif arguments.benchmark == "step-large":
        step, flops, tokens = training_step(arguments, LARGE, batch=1, length=2048)
    elif arguments.benchmark == "rmt-step":
        step, flops, tokens = training_step(arguments, SMALL, batch=1, length=4096, segments=8, memory=16)
        prefix = "activations kept: "
    else:
        step, flops, tokens = attention_step(arguments)
    kind = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32
    a, b = torch.rand(4096, 1024).to(kind), torch.rand(1024, 1024).to(kind)
    for _ in range(3):
        step(), a @ b

    times, ceilings, shares = [], [], []
    for _ in range(arguments.pairs):
        ceiling = 2 * 4096 * 1024 * 1024 / seconds_of(lambda: a @ b)
        times.append(seconds_of(step))
        ceilings.append(ceiling / 1e9)
        shares.append(100 * flops / times[-1] / ceiling)
    rate = ("forward and backward", "GF/s", flops / 1e9) if arguments.benchmark == "attention" else (
        prefix + "speed", "tokens/s", tokens)
    figures = [{"name": rate[0], "unit": rate[1], **spread([rate[2] / seconds for seconds in times])},
               {"name": prefix + "share of PyTorch's own product", "unit": "%", **spread(shares)},
               {"name": prefix + "PyTorch's product", "unit": "GF/s", **spread(ceilings)}]
    how = f"PyTorch {torch.__version__}, {'compiled' if arguments.compile else 'eager'}, {arguments.dtype}"
    print(f"{arguments.benchmark}: {how}, {arguments.threads} threads")
    for figure in figures:
        print(f"{figure['name']:<42} {figure['median']:>10.4g}   {figure['low']:.4g} .. {figure['high']:.4g} {figure['unit']}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"schema": 1, "benchmark": arguments.benchmark, "setting": {"program": how}, "figures": figures}, file)


if __name__ == "__main__":
    main()
