#!/usr/bin/env python3
"""Write operations.txt, models.txt and full.txt: what PyTorch, torchvision and transformers calculate in double.

    python3 -m venv v && v/bin/pip install torch torchvision transformers
    v/bin/python tests/reference/make-references.py            # operations.txt, models.txt: a minute
    v/bin/python tests/reference/make-references.py full       # full.txt: the models at full size, in float; 30 GB

Inputs and parameters are not stored: unit(stream of a name, index) makes them here and in tests/training/opcase.c.
Stored for each tensor (outputs, loss, the gradient of every input and parameter, in the order of PyTorch's memory
layout; images as n, h, w, c): its number of elements, length, product with two seeded vectors, and four of its elements. A
wrong element anywhere changes the products, so this says as much as the numbers themselves in a hundredth of the space.
"""
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).resolve().parent
M64 = (1 << 64) - 1
STEP = np.uint64(0x9E3779B97F4A7C15)


# --- the generator ---

def stream(name, what):
    h = 0xCBF29CE484222325
    for c in ("%s#%s" % (name, what)).encode():
        h = ((h ^ c) * 0x100000001B3) & M64
    return np.uint64(h)


def mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(s, n, first=0):
    with np.errstate(over="ignore"):
        return mix(s + np.arange(first + 1, first + n + 1, dtype=np.uint64) * STEP) >> np.uint64(1)


def unit(s, n, first=0):
    return (draw(s, n, first) >> np.uint64(39)).astype(np.float64) * 2.0**-23 - 1


def tensor(values, shape):
    return torch.from_numpy(np.asarray(values, dtype=np.float64).reshape(shape).copy())


# --- what is stored ---

def write(out, name, t):
    """t: anything that flattens to the order that is compared."""
    a = t.detach().contiguous().reshape(-1).numpy()
    dots = [0.0, 0.0]
    for k in range(2):
        s = stream("product", str(k))
        for i in range(0, a.size, 1 << 22):
            part = a[i:i + (1 << 22)].astype(np.float64)
            dots[k] += float(np.dot(part, unit(s, part.size, i)))
    at = [int(v) % a.size for v in draw(stream("element", name), 4)]
    norm = math.sqrt(float(np.dot(a.astype(np.float64), a.astype(np.float64))))
    out.write(" ".join([name, str(a.size)] + ["%.12g" % v for v in (norm, *dots, *a[at])]) + "\n")


def fill(name, shape):
    """As lh_fill_param."""
    count = math.prod(shape)
    centre, spread = 0.0, 0.25
    if "layer_scale" in name:
        centre = 0.5
    elif len(shape) > 1:
        spread = math.sqrt(3.0 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        centre = 1.0
    values, key = np.empty(count, np.float32), stream(name, "param")
    for i in range(0, count, 1 << 22):
        part = values[i:i + (1 << 22)]
        part[:] = centre + spread * unit(key, part.size, i)
    return values.reshape(shape)


# --- operations ---

def nchw(t):
    return t.permute(0, 3, 1, 2)


def nhwc(t):
    return t.permute(0, 2, 3, 1)


class Case:
    """One operation; x and parameters are made on demand and remembered in order."""

    def __init__(self, name, n):
        self.name, self.n, self.inputs, self.params = name, n, [], []
        self.k = 0

    def x(self, *shape):
        v = tensor(unit(stream(self.name, "x%d" % self.k), self.n * math.prod(shape)), (self.n, *shape))
        self.k += 1
        self.inputs.append(v.requires_grad_())
        return v

    def ids(self, count, limit, ignorable=False):
        d = draw(stream(self.name, "x%d" % self.k), self.n * count)
        self.k += 1
        self.inputs.append(None)
        v = (d // np.uint64(3) % np.uint64(limit)).astype(np.int64)
        if ignorable:
            v[d % np.uint64(3) == 0] = -100
        return torch.from_numpy(v.reshape(self.n, count))

    def param(self, name, *shape):
        v = torch.from_numpy(fill(name, shape).astype(np.float64)).requires_grad_()
        self.params.append(v)
        return v

    def finish(self, out, y):
        dy = tensor(unit(stream(self.name, "dy0"), y.numel()), y.shape)
        leaves = [v for v in self.inputs if v is not None] + self.params
        grads = iter(torch.autograd.grad((y * dy).sum(), leaves))
        out.write("case %s\n" % self.name)
        write(out, "y", y)
        for k, v in enumerate(self.inputs):
            if v is not None:
                write(out, "dx%d" % k, next(grads))
        for k, v in enumerate(self.params):
            write(out, "dparam%d" % k, next(grads))


def conv_case(name, n, h, w, cin, cout, kernel, bias, **how):
    def run(out):
        c = Case(name, n)
        x = c.x(h, w, cin)
        weight = c.param("op.weight", cout, cin // how.get("groups", 1), kernel, kernel)
        b = c.param("op.bias", cout) if bias else None
        c.finish(out, nhwc(F.conv2d(nchw(x), weight, b, **how)))
    return run


def simple(name, n, shape, f):
    def run(out):
        c = Case(name, n)
        c.finish(out, f(c, c.x(*shape)))
    return run


def attention_case(name, n, queries, keys, masked, causal):
    def run(out):
        c = Case(name, n)
        q, k, v = c.x(queries, 12), c.x(keys, 12), c.x(keys, 12)
        mask = c.ids(keys, 2).bool() if masked else torch.ones(n, keys, dtype=torch.bool)
        split = lambda t: t.reshape(n, -1, 3, 4).transpose(1, 2)
        s = split(q) @ split(k).transpose(2, 3) / math.sqrt(4)
        seen = mask[:, None, None, :].expand(n, 3, queries, keys)
        if causal:
            seen = seen & torch.ones(queries, keys, dtype=torch.bool).tril()
        p = torch.softmax(s.masked_fill(~seen, float("-inf")), -1)
        c.finish(out, (p @ split(v)).transpose(1, 2).reshape(n, queries, 12))
    return run


def linear(name, n, rows, cin, cout, bias):
    def f(c, x):
        w = c.param("op.weight", cout, cin)
        return F.linear(x, w, c.param("op.bias", cout) if bias else None)
    return simple(name, n, (*rows, cin), f)


def embedding(out):
    c = Case("embedding", 2)
    ids = c.ids(17, 11)
    c.finish(out, F.embedding(ids, c.param("op.weight", 11, 5), padding_idx=1))


def cross_entropy(out):
    """Loss and hits of each sample; hits have no gradient."""
    c = Case("cross_entropy", 3)
    x, t = c.x(6, 9), c.ids(6, 9, True)
    loss = torch.stack([F.cross_entropy(x[i], t[i]) for i in range(3)])
    hits = ((x.argmax(-1) == t) & (t != -100)).sum(1).to(loss.dtype)
    c.finish(out, torch.stack([loss, hits], 1))


def conv1d(out):
    c = Case("conv1d", 3)
    x = c.x(11, 5)
    w, b = c.param("op.weight", 7, 5, 3), c.param("op.bias", 7)
    c.finish(out, F.conv1d(x.transpose(1, 2), w, b, stride=2, padding=1).transpose(1, 2))


def batchnorm(c, x):
    g, b = c.param("op.weight", 6), c.param("op.bias", 6)
    return nhwc(F.batch_norm(nchw(x), None, None, g, b, training=True))


OPERATIONS = [
    linear("linear", 3, (5,), 7, 11, True),
    linear("linear_no_bias", 2, (3, 3), 70, 37, False),
    conv_case("conv_3x3", 3, 7, 5, 6, 10, 3, True, padding=1),
    conv_case("conv_7x7_stride", 2, 11, 9, 3, 5, 7, False, padding=3, stride=2),
    conv_case("conv_groups", 2, 6, 7, 6, 9, 3, True, stride=2, padding=1, groups=3),
    conv_case("conv_dilated", 2, 9, 8, 3, 4, 3, False, dilation=2, padding=2),
    conv_case("conv_1x1", 3, 5, 3, 7, 6, 1, True),
    conv_case("conv_1x1_stride", 2, 5, 7, 7, 6, 1, False, stride=2),
    conv_case("conv_1x1_groups", 2, 3, 3, 8, 4, 1, False, groups=2),
    conv_case("conv_patches", 2, 8, 12, 3, 5, 4, True, stride=4),
    conv_case("depthwise", 2, 9, 6, 5, 5, 7, True, padding=3, groups=5),
    conv_case("depthwise_stride", 2, 7, 8, 3, 3, 3, False, padding=1, stride=2, dilation=2, groups=3),
    conv1d,
    simple("batchnorm", 3, (4, 5, 6), batchnorm),
    simple("layernorm", 2, (2, 3, 9),
           lambda c, x: F.layer_norm(x, (9,), c.param("op.weight", 9), c.param("op.bias", 9))),
    simple("relu", 2, (3, 5, 7), lambda c, x: F.relu(x)),
    simple("gelu", 2, (3, 5, 7), lambda c, x: F.gelu(x)),
    simple("softmax", 3, (5, 13), lambda c, x: torch.softmax(x, -1)),
    attention_case("attention", 2, 7, 7, False, False),
    attention_case("attention_causal", 2, 7, 7, False, True),
    attention_case("attention_cross_mask", 2, 5, 9, True, False),
    embedding,
    simple("add_rows", 3, (5, 7), lambda c, x: x + c.param("op.weight", 8, 7)[:5]),
    simple("add_one_row", 3, (5, 7), lambda c, x: x + c.param("op.weight", 1, 7)),
    simple("maxpool", 2, (7, 6, 5), lambda c, x: nhwc(F.max_pool2d(nchw(x), 3, 2, 1))),
    simple("avgpool", 2, (7, 6, 5), lambda c, x: nhwc(F.avg_pool2d(nchw(x), 3, 2, 1))),
    simple("global_avgpool", 2, (7, 6, 5), lambda c, x: nhwc(F.adaptive_avg_pool2d(nchw(x), 1))),
    simple("add", 2, (3, 3, 5), lambda c, x: x + c.x(3, 3, 5)),
    simple("scale", 2, (3, 3, 5), lambda c, x: x * c.param("op.layer_scale", 5, 1, 1).reshape(5)),
    cross_entropy,
]


# --- models ---

def resnet(blocks, depth, basic, wide, width, symbols):
    from torchvision.models import resnet as r

    class Narrow(r.ResNet):
        """torchvision's, from another width than 64."""

        def __init__(self):
            block = r.BasicBlock if basic else r.Bottleneck
            super().__init__(block, [1, 1, 1, 1], num_classes=symbols, width_per_group=64 * wide)
            self.inplanes = width
            self.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
            self.bn1 = torch.nn.BatchNorm2d(width)
            counts = [min(b, depth) for b in blocks]
            self.layer1 = self._make_layer(block, width, counts[0])
            for k in (1, 2, 3):
                setattr(self, "layer%d" % (k + 1), self._make_layer(block, width << k, counts[k], stride=2))
            self.fc = torch.nn.Linear((width << 3) * block.expansion, symbols)
    return Narrow()


def convnext(depth, width, symbols):
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    d = [min(b, depth) for b in (3, 3, 27, 3)]
    w = [width << k for k in range(4)] + [None]
    stages = [CNBlockConfig(w[k], w[k + 1], d[k]) for k in range(4)]
    return ConvNeXt(stages, stochastic_depth_prob=0.0, num_classes=symbols)


def roberta(layers, width, heads, length, symbols):
    from transformers import RobertaConfig, RobertaForMaskedLM
    return RobertaForMaskedLM(RobertaConfig(
        vocab_size=symbols, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * width, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
        max_position_embeddings=length + 2, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1,
        attn_implementation="eager"))


PADDING = 50257


def whisper(layers, width, heads, length, frames, symbols):
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    small = symbols <= PADDING  # the published padding is beyond a small vocabulary
    special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    m = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=symbols, num_mel_bins=80, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, d_model=width, dropout=0,
        attention_dropout=0, activation_dropout=0, max_source_positions=frames // 2, max_target_positions=length,
        attn_implementation="eager", **(special if small else {"pad_token_id": PADDING})))
    if small:
        m.model.decoder.embed_tokens.padding_idx = None
    return m


ROWS = {  # as trainer/model/zoo.c
    "resnet18": ("resnet", (2, 2, 2, 2), True, 1), "resnet50": ("resnet", (3, 4, 6, 3), False, 1),
    "resnet152": ("resnet", (3, 8, 36, 3), False, 1), "wide_resnet101_2": ("resnet", (3, 4, 23, 3), False, 2),
    "convnext_large": ("convnext",),
    "roberta-base": ("roberta", 12, 768, 12, 50265), "roberta-large": ("roberta", 24, 1024, 16, 50265),
    "xlm-roberta-large": ("roberta", 24, 1024, 16, 250002),
    "whisper-tiny": ("whisper", 4, 384, 6), "whisper-base": ("whisper", 6, 512, 8),
    "whisper-small": ("whisper", 12, 768, 12),
}


def build(spec):
    name, _, rest = spec.partition(":")
    key = dict(item.split("=") for item in rest.split(",")) if rest else {}
    row = ROWS[name]
    narrow = int(key.get("width", "1/1").split("/")[1])
    depth = int(key.get("depth", 1000))
    s = {"family": row[0]}
    if row[0] in ("resnet", "convnext"):
        s.update(length=int(key.get("image", 224)), symbols=int(key.get("symbols", 1000)))
        model = (resnet(row[1], depth, row[2], row[3], 64 // narrow, s["symbols"]) if row[0] == "resnet"
                 else convnext(depth, 192 // narrow, s["symbols"]))
    elif row[0] == "roberta":
        s.update(length=int(key.get("tokens", 512)), symbols=int(key.get("symbols", row[4])))
        model = roberta(min(row[1], depth), row[2] // narrow, row[3], s["length"], s["symbols"])
    else:
        s.update(length=int(key.get("tokens", 448)), symbols=int(key.get("symbols", 51865)),
                 frames=int(key.get("frames", 3000)))
        model = whisper(min(row[1], depth), row[2] // narrow, row[3], s["length"], s["frames"], s["symbols"])
    return model, s


def sinusoids(rows, width):
    half = width // 2
    angle = np.arange(rows)[:, None] * np.exp(-math.log(10000.0) / (half - 1) * np.arange(half))[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)


def inputs(spec, s, n, dtype):
    """As make_inputs of tests/training/test_reference.c."""
    T, V = s["length"], s["symbols"]
    if s["family"] in ("resnet", "convnext"):
        x = unit(stream(spec, "x0"), n * T * T * 3).reshape(n, T, T, 3)
        target = (draw(stream(spec, "x1"), n) % np.uint64(V)).astype(np.int64)
        return (nchw(torch.from_numpy(x)).to(dtype),), torch.from_numpy(target).reshape(n, 1)
    if s["family"] == "roberta":
        ids = (2 + draw(stream(spec, "x0"), n * T) % np.uint64(V - 2)).astype(np.int64).reshape(n, T)
        d = draw(stream(spec, "x3"), n * T).reshape(n, T)
        target = (d // np.uint64(7) % np.uint64(V)).astype(np.int64)
        target[d % np.uint64(7) != 0] = -100
        for i in range(n):  # sample i ends i eighths early
            end = T - T * i // 8
            ids[i, end:] = 1
            target[i, end:] = -100
        target[:, 0] = 2
        return (torch.from_numpy(ids),), torch.from_numpy(target)
    mel = unit(stream(spec, "x0"), n * s["frames"] * 80).reshape(n, s["frames"], 80)
    ids = (draw(stream(spec, "x1"), n * T) % np.uint64(V)).astype(np.int64).reshape(n, T)
    target = (draw(stream(spec, "x2"), n * T) % np.uint64(V)).astype(np.int64).reshape(n, T)
    for i in range(n):
        target[i, T - T * i // 8:] = -100
    return (torch.from_numpy(mel).to(dtype).transpose(1, 2), torch.from_numpy(ids)), torch.from_numpy(target)


def forward(model, s, x):
    if s["family"] == "roberta":
        return model(input_ids=x[0], attention_mask=(x[0] != 1).long()).logits
    if s["family"] == "whisper":
        return model(input_features=x[0], decoder_input_ids=x[1]).logits
    return model(x[0])[:, None, :]


def run_model(out, spec, n, dtype, every_tensor):
    model, s = build(spec)
    model = model.to(dtype)
    model.train()
    with torch.no_grad():
        for name, p in model.named_parameters():
            v = sinusoids(*p.shape) if name == "model.encoder.embed_positions.weight" else fill(name, tuple(p.shape))
            p.copy_(torch.from_numpy(v))
    x, target = inputs(spec, s, n, dtype)
    logits = forward(model, s, x)
    loss = torch.stack([F.cross_entropy(logits[i], target[i]) for i in range(n)])
    loss.sum().backward()
    if every_tensor:
        out.write("case %s\nn %d\n" % (spec, n))
        write(out, "loss", loss)
        write(out, "logits", logits)
        for name, p in model.named_parameters():
            if p.grad is not None:
                write(out, name, p.grad)
    else:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        square = sum(float(part.double().square().sum()) for g in grads for part in g.reshape(-1).split(1 << 22))
        count = sum(g.numel() for g in grads)
        out.write("%s %d %.12g %.12g\n" % (spec.partition(":")[0], count, loss.detach(), math.sqrt(square)))


def name_list(out, name):
    """How many parameters and buffers the full model has, and a hash of their names and shapes."""
    with torch.device("meta"):
        model, _ = build(name)
    lines = sorted("%s %s" % (k, "x".join(map(str, p.shape))) for k, p in model.named_parameters())
    lines += sorted("%s %s" % (k, "x".join(map(str, b.shape))) for k, b in model.named_buffers()
                    if k.endswith(("running_mean", "running_var")))
    h = 0xCBF29CE484222325
    for c in "".join(line + "\n" for line in lines).encode():
        h = ((h ^ c) * 0x100000001B3) & M64
    total = sum(p.numel() for p in model.parameters())
    out.write("names %s %d %d %016x\n" % (name, total, len(lines), h))


SMALL = {
    "resnet18": "width=1/8,image=40,symbols=11,drop=0", "resnet50": "width=1/8,image=40,symbols=11,drop=0",
    "resnet152": "width=1/16,depth=4,image=40,symbols=11,drop=0",
    "wide_resnet101_2": "width=1/16,depth=2,image=40,symbols=11,drop=0",
    "convnext_large": "width=1/16,depth=4,image=64,symbols=11,drop=0",
    "roberta-base": "width=1/16,depth=3,tokens=19,symbols=101,drop=0",
    "roberta-large": "width=1/16,depth=2,tokens=21,symbols=97,drop=0",
    "xlm-roberta-large": "width=1/32,depth=3,tokens=19,symbols=203,drop=0",
    "whisper-tiny": "width=1/16,tokens=13,frames=30,symbols=101,drop=0",
    "whisper-base": "width=1/16,depth=3,tokens=11,frames=26,symbols=97,drop=0",
    "whisper-small": "width=1/32,depth=4,tokens=11,frames=26,symbols=97,drop=0",
}


TENSORS = "tensor, elements, length, its product with two seeded vectors, four of its elements"
WHOLE = "model with drop=0, elements of its gradient, loss of sample 0 in nats, length of the gradient"


def head(out, what, columns=TENSORS):
    import torchvision
    import transformers
    out.write("# %s, by make-references.py: torch %s, torchvision %s, transformers %s.\n" % (
        what, torch.__version__.split("+")[0], torchvision.__version__.split("+")[0], transformers.__version__))
    out.write("# %s\n" % columns)


def main():
    torch.set_num_threads(1)
    full = sys.argv[1:2] == ["full"]
    if full:
        with open(HERE / "full.txt", "w") as out:
            head(out, "The models at full size, one sample, float", WHOLE)
            for name in sys.argv[2:] or ROWS:
                print(name, flush=True)
                run_model(out, name + ":drop=0", 1, torch.float32, False)
                out.flush()
        return
    with open(HERE / "operations.txt", "w") as out:
        head(out, "Operations in double")
        for run in OPERATIONS:
            run(out)
    with open(HERE / "models.txt", "w") as out:
        head(out, "Narrow models in double, and the names of the full ones")
        for name in ROWS:
            print(name, flush=True)
            name_list(out, name)
            run_model(out, name + ":" + SMALL[name], 3, torch.float64, True)


main()
