"""Sums up sales.csv by region with the standard library, and says in the report why there is no chart."""
import csv
from collections import defaultdict
from decimal import Decimal

totals = defaultdict(Decimal)
rows = 0
with open("sales.csv", newline="") as source:
    for row in csv.DictReader(source):
        totals[row["region"]] += Decimal(row["amount"])
        rows += 1
with open("decision.txt") as told:
    decision = told.read().strip()

with open("report.md", "w") as report:
    report.write("# Sales report\n\n")
    report.write("| region | total |\n|---|---:|\n")
    for region in sorted(totals):
        report.write(f"| {region} | {totals[region]:.2f} |\n")
    report.write(f"\nGrand total: {sum(totals.values()):.2f} in {rows} rows.\n\n")
    report.write("There is no chart: the library for it was not available. I was told:\n\n")
    for line in decision.splitlines():
        report.write(f"> {line}\n")
print("wrote report.md")
