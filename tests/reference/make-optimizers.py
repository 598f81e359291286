#!/usr/bin/env python3
"""Write optimizers.txt: what torch.optim's SGD and AdamW, its schedulers and its clipping do in double; LAMB, which PyTorch
has not, from the paper's algorithm (You et al., 1904.00962, algorithm 2) in numpy.

    python3 -m venv v && v/bin/pip install torch numpy
    v/bin/python tests/reference/make-optimizers.py            # seconds

Three tensors; the gradient of update t is 0.3 p + a seeded number in [-1, 1) x the tensor's scale, so an error feeds back.
tests/training/test_optimizers.c makes the same. Stored after some updates, for each tensor: length and four elements.
"""
import math
import pathlib

import numpy as np
import torch

M64 = (1 << 64) - 1
STEP = np.uint64(0x9E3779B97F4A7C15)
# name, shape, scale of the seeded part of the gradient, first values (0: zeros)
TENSORS = [("matrix", (7, 11), 1.0, 1.0), ("bias", (11,), 10.0, 0.1), ("zeros", (5, 3), 0.01, 0.0)]
UPDATES, KEPT = 120, (1, 2, 3, 10, 40, 120)


def stream(name, what):
    h = 0xCBF29CE484222325
    for c in ("%s#%s" % (name, what)).encode():
        h = ((h ^ c) * 0x100000001B3) & M64
    return np.uint64(h)


def unit(s, n):
    with np.errstate(over="ignore"):
        x = s + np.arange(1, n + 1, dtype=np.uint64) * STEP
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = (x ^ (x >> np.uint64(31))) >> np.uint64(1)
    return (x >> np.uint64(39)).astype(np.float64) * 2.0**-23 - 1


def first_values():
    return [size * unit(stream(name, "p"), math.prod(shape)).reshape(shape) for name, shape, _, size in TENSORS]


def gradients(params, t):
    return [0.3 * p + scale * unit(stream(name, "g%d" % t), math.prod(shape)).reshape(shape)
            for p, (name, shape, scale, _) in zip(params, TENSORS)]


def keep(out, t, params):
    for p, (name, _, _, _) in zip(params, TENSORS):
        a = np.asarray(p).reshape(-1)
        at = [0, a.size // 3, a.size // 2, a.size - 1]
        out.write("%d %s %s\n" % (t, name, " ".join("%.16g" % v for v in [np.linalg.norm(a), *a[at]])))


def by_torch(out, s):
    params = [torch.from_numpy(p.copy()).requires_grad_() for p in first_values()]
    groups = [{"params": [p for p in params if p.dim() > 1], "weight_decay": s["decay"]},
              {"params": [p for p in params if p.dim() == 1], "weight_decay": 0.0}]
    if s["kind"] == "sgd":
        o = torch.optim.SGD(groups, lr=s["rate"], momentum=s["momentum"], nesterov=s["nesterov"])
    else:
        o = torch.optim.AdamW(groups, lr=s["rate"], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"])
    schedules = []
    if s["warmup"]:
        schedules.append(torch.optim.lr_scheduler.LinearLR(o, 1 / (s["warmup"] + 1), 1.0, s["warmup"]))
    if s["total"]:
        schedules.append(torch.optim.lr_scheduler.CosineAnnealingLR(o, s["total"] - s["warmup"], s["rate"] * s["floor"]))
    elif s["warmup"]:
        schedules.append(torch.optim.lr_scheduler.ConstantLR(o, 1.0))
    schedule = torch.optim.lr_scheduler.SequentialLR(o, schedules, [s["warmup"]]) if len(schedules) > 1 else \
        (schedules + [None])[0]
    for t in range(1, UPDATES + 1):
        for p, g in zip(params, gradients([p.detach().numpy() for p in params], t)):
            p.grad = torch.from_numpy(g)
        if s["clip"]:
            torch.nn.utils.clip_grad_norm_(params, s["clip"])
        o.step()
        if schedule:
            schedule.step()
        if t in KEPT:
            keep(out, t, [p.detach().numpy() for p in params])


def rate_at(s, t):
    if t <= s["warmup"]:
        return s["rate"] * t / (s["warmup"] + 1)
    if not s["total"]:
        return s["rate"]
    x = (t - 1 - s["warmup"]) / (s["total"] - s["warmup"])
    return s["rate"] * (s["floor"] + (1 - s["floor"]) * (1 + math.cos(math.pi * x)) / 2)


def by_paper(out, s):
    """Algorithm 2 with phi(z) = z; vectors are adapted with ratio 1 and do not decay, as in the authors' code."""
    x = first_values()
    m, v = [np.zeros_like(p) for p in x], [np.zeros_like(p) for p in x]
    for t in range(1, UPDATES + 1):
        g = gradients(x, t)
        if s["clip"]:
            length = math.sqrt(sum(float((a * a).sum()) for a in g))
            g = [a * min(1.0, s["clip"] / (length + 1e-6)) for a in g]
        for i in range(len(x)):
            m[i] = s["beta1"] * m[i] + (1 - s["beta1"]) * g[i]
            v[i] = s["beta2"] * v[i] + (1 - s["beta2"]) * g[i]**2
            r = (m[i] / (1 - s["beta1"]**t)) / (np.sqrt(v[i] / (1 - s["beta2"]**t)) + s["epsilon"])
            trust = 1.0
            if x[i].ndim > 1:
                r = r + s["decay"] * x[i]
                norms = np.linalg.norm(x[i]), np.linalg.norm(r)
                trust = norms[0] / norms[1] if min(norms) > 0 else 1.0
            x[i] = x[i] - rate_at(s, t) * trust * r
        if t in KEPT:
            keep(out, t, x)


KEYS = ("kind", "rate", "momentum", "nesterov", "beta1", "beta2", "epsilon", "decay", "warmup", "total", "floor", "clip")
CASES = [
    ("sgd", 0.05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    ("sgd", 0.05, 0.9, 0, 0, 0, 0, 0.01, 0, 0, 0, 0),
    ("sgd", 0.05, 0.9, 1, 0, 0, 0, 0.1, 7, 0, 0, 0),
    ("sgd", 0.1, 0.8, 1, 0, 0, 0, 0.001, 7, 120, 0.1, 0.5),
    ("adamw", 0.01, 0, 0, 0.9, 0.99, 1e-8, 0.01, 2, 0, 0, 0),
    ("adamw", 0.02, 0, 0, 0.9, 0.999, 1e-8, 0.1, 0, 120, 0, 0),
    ("adamw", 0.02, 0, 0, 0.8, 0.95, 1e-4, 0.1, 10, 120, 0.05, 2.0),
    ("lamb", 0.01, 0, 0, 0.9, 0.999, 1e-6, 0.01, 2, 0, 0, 0),
    ("lamb", 0.05, 0, 0, 0.9, 0.99, 1e-6, 0.1, 10, 120, 0.05, 2.0),
]

with open(pathlib.Path(__file__).resolve().parent / "optimizers.txt", "w") as file:
    file.write("# By make-optimizers.py: torch %s, numpy %s.\n" % (torch.__version__.split("+")[0], np.__version__))
    file.write("# case %s; then: update, tensor, length, elements 0, n / 3, n / 2, n - 1\n" % " ".join(KEYS))
    for case in CASES:
        file.write("case %s\n" % " ".join(str(v) for v in case))
        settings = dict(zip(KEYS, case))
        (by_paper if case[0] == "lamb" else by_torch)(file, dict(settings, nesterov=bool(settings["nesterov"])))
