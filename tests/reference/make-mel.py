#!/usr/bin/env python3
"""Make tests/reference/mel.txt: log-mel spectra of a seeded waveform by numpy, as Whisper's feature extractor defines them.

    pip install numpy
    tests/reference/make-mel.py > tests/reference/mel.txt

The waveform: 16 frames of 160 samples; sample i is 0.3 x sin(2 pi 523.25 i / 16000) from frame 4 on, and everywhere
0.05 x u, u uniform in -1 ... 1 from SplitMix64 with seed 7. Each line is one frame of 80 bands.
"""
import numpy as np

RATE, N, HOP, BANDS, FRAMES = 16000, 400, 160, 80, 16
MASK = (1 << 64) - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def to_mel(hz):
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1) / 1000) * 27 / np.log(6.4))


def to_hz(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def filters():
    edges = to_hz(np.linspace(to_mel(np.array(0.0)), to_mel(np.array(RATE / 2)), BANDS + 2))
    hz = np.fft.rfftfreq(N, 1 / RATE)
    up = (hz[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - hz[None]) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def main():
    i = np.arange(FRAMES * HOP)
    noise = np.array([mix((7 + (k + 1) * 0x9E3779B97F4A7C15) & MASK) >> 40 for k in i.tolist()]) / 2**23 - 1
    wave = (0.05 * noise + np.where(i >= 4 * HOP, 0.3 * np.sin(2 * np.pi * 523.25 * i / RATE), 0)).astype(np.float32)
    padded = np.pad(wave.astype(np.float64), N // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N) / N)
    power = np.abs(np.fft.rfft([padded[f * HOP:f * HOP + N] * window for f in range(FRAMES)])) ** 2
    mel = np.log10(np.maximum(power @ filters().T, 1e-10))
    mel = (np.maximum(mel, mel.max() - 8) + 4) / 4
    for row in mel:
        print(" ".join("%.6f" % v for v in row))


main()
