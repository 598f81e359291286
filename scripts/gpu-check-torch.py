#!/usr/bin/env python3
"""One of the study's models in PyTorch on this GPU: samples/s of forward, backward and AdamW update. For scripts/gpu-check.

gpu-check-torch.py MODEL PRECISION MICROBATCH eager|compile
"""
import contextlib
import json
import sys
import time

import torch
import torch.nn.functional as F

WARM, ROUNDS = 8, 30


def images(n):
    return torch.randn(n, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last), \
        torch.randint(0, 1000, (n,), device="cuda")


def vision(name, n):
    import torchvision
    model = getattr(torchvision.models, name)().cuda().to(memory_format=torch.channels_last)
    x, y = images(n)
    return model, lambda: F.cross_entropy(model(x), y)


def text(name, n):
    import transformers
    large, xlm = "large" in name, name.startswith("xlm")
    config = transformers.RobertaConfig(
        vocab_size=250002 if xlm else 50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
        hidden_size=1024 if large else 768, num_hidden_layers=24 if large else 12, num_attention_heads=16 if large else 12,
        intermediate_size=4096 if large else 3072)
    model = transformers.RobertaForMaskedLM(config).cuda()
    ids = torch.randint(2, config.vocab_size, (n, 512), device="cuda")
    targets = torch.where(torch.rand(n, 512, device="cuda") < 0.15, ids, -100)
    mask = torch.ones_like(ids)
    return model, lambda: model(input_ids=ids, attention_mask=mask, labels=targets).loss


def speech(name, n):
    import transformers
    width, layers, heads = {"tiny": (384, 4, 6), "base": (512, 6, 8), "small": (768, 12, 12)}[name.split("-")[1]]
    config = transformers.WhisperConfig(
        d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, vocab_size=51865)
    model = transformers.WhisperForConditionalGeneration(config).cuda()
    mel = torch.randn(n, 80, 3000, device="cuda")
    tokens = torch.randint(0, 50000, (n, 448), device="cuda")
    return model, lambda: model(input_features=mel, decoder_input_ids=tokens, labels=tokens).loss


def main():
    name, precision, n, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    make = speech if name.startswith("whisper") else text if "roberta" in name else vision
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32, as in ours
    torch.backends.cudnn.benchmark = True
    model, loss_of = make(name, n)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    if mode == "compile":
        model.compile()

    def step():
        with torch.autocast("cuda", kind) if kind else contextlib.nullcontext():
            loss = loss_of()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return loss

    for _ in range(WARM):
        step()
    times = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        loss = step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    median = sorted(times)[len(times) // 2]
    print(json.dumps({"samples_per_s": n / median, "step_s": median, "memory_bytes": torch.cuda.max_memory_allocated(),
                      "loss": loss.item(), "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
                      "cuda": torch.version.cuda}))


if __name__ == "__main__":
    main()
