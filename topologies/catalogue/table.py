"""devices.csv -> the rows of a C table (catalogue_table.h). Run by the build: table.py IN OUT."""
import csv
import sys

with open(sys.argv[1], encoding="utf-8") as source, open(sys.argv[2], "w", encoding="utf-8") as out:
    for row in csv.DictReader(line for line in source if not line.startswith("#")):
        float(row["samples_per_s"]), int(row["parameters"])  # refuse what C would take differently
        out.write('{ "%s", "%s", UINT64_C(%s), %s },\n'
                  % (row["model"], row["device"], row["parameters"], row["samples_per_s"]))
