#!/usr/bin/env python3
"""Write a file's bytes as a C array: embed.py NAME INPUT OUTPUT."""
import sys

name, source, target = sys.argv[1:]
data = open(source, "rb").read()
with open(target, "w") as out:
    out.write(f"static const unsigned char {name}[{len(data)}] = {{\n")
    for i in range(0, len(data), 20):
        out.write(" ".join(f"{b}," for b in data[i:i + 20]) + "\n")
    out.write("};\n")
