#!/usr/bin/env python3
"""What single operators take in PyTorch: answers the questions that device_speed.cpp describes, a line each.

Usage: pytorch_speed.py cuda|cpu
Of attention's back ends the one that is fastest at a question's sizes, by its name; it is chosen when the question comes first.
SPDX-License-Identifier: Apache-2.0
"""
import math
import sys
import time

try:
    import torch
    from torch.nn import functional
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError as missing:
    print(f"none there is no PyTorch of version 2.3 or later here ({missing})", flush=True)
    sys.exit(1)

LEAST_SECONDS = 0.02  # of one measurement
DEVICE = sys.argv[1]
fastest = {}  # of a question: the back end


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds_of(work):
    def measure(repeats):
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        wait()
        return (time.perf_counter() - start) / repeats

    measure(1)
    first = measure(1)
    return measure(math.ceil(LEAST_SECONDS / first)) if first < LEAST_SECONDS else first


def uniform(*shape):
    return torch.empty(*shape, dtype=torch.bfloat16, device=DEVICE).uniform_(-1, 1)


def attention(backward, heads, head_dim, rows):
    q, k, v = (uniform(1, heads, rows, head_dim).requires_grad_(backward) for _ in range(3))
    d_o = uniform(1, heads, rows, head_dim)

    def seconds_with(backend):
        with sdpa_kernel(backend):
            if not backward:
                return seconds_of(lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True))
            o = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return seconds_of(lambda: torch.autograd.grad(o, (q, k, v), d_o, retain_graph=True))

    question = (backward, heads, head_dim, rows)
    if question not in fastest:
        times = {}
        for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
            try:
                times[name] = seconds_with(getattr(SDPBackend, name))
            except (AttributeError, RuntimeError):  # not in this PyTorch, or not at these sizes
                continue
        if not times:
            return "none no back end of PyTorch's takes this"
        fastest[question] = min(times, key=times.get)
    return f"{seconds_with(getattr(SDPBackend, fastest[question])):.6e} PyTorch {torch.__version__} {fastest[question]}"


def answer(what, *numbers):
    if what == "copy":
        of, to = (torch.zeros(numbers[0] // 4, device=DEVICE) for _ in range(2))
        return f"{seconds_of(lambda: to.copy_(of)):.6e} PyTorch {torch.__version__}"
    if what == "product":
        a, b = uniform(numbers[0], numbers[0]), uniform(numbers[0], numbers[0])
        return f"{seconds_of(lambda: a @ b):.6e} PyTorch {torch.__version__}"
    return attention(what == "backward", *numbers)


for line in sys.stdin:
    try:
        words = line.split()
        print(answer(words[0], *map(int, words[1:])), flush=True)
    except (AssertionError, RuntimeError) as error:  # also: no GPU, no memory; a device answers nothing more
        print("none", " ".join(str(error).split())[:300], flush=True)
        sys.exit(1)
