"""Preset files -> the rows of a C table (preset_table.h). Run by the build: presets.py OUT ROOT FILE..."""
import os
import sys


def literal(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(f'\t"{line}\\n"' for line in escaped.splitlines())


with open(sys.argv[1], "w", encoding="utf-8") as out:
    for path in sys.argv[3:]:
        with open(path, encoding="ascii") as source:
            name = os.path.relpath(path, sys.argv[2]).removesuffix(".yaml")
            out.write('{ "%s",\n%s },\n' % (name, literal(source.read())))
