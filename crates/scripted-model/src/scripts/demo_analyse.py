"""Sums up sales.csv by region, draws the sums, and writes a report."""
import csv
from collections import defaultdict
from decimal import Decimal

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

totals = defaultdict(Decimal)
rows = 0
with open("sales.csv", newline="") as source:
    for row in csv.DictReader(source):
        totals[row["region"]] += Decimal(row["amount"])
        rows += 1
regions = sorted(totals)
grand_total = sum(totals.values())

figure, axes = plt.subplots(figsize=(8, 4.5))
bars = axes.bar(regions, [float(totals[region]) for region in regions], color="#2a6f97")
axes.bar_label(bars, labels=[f"{totals[region]:.2f}" for region in regions])
axes.set_title("Sales by region")
axes.set_ylabel("amount")
figure.tight_layout()
figure.savefig("chart.png", dpi=120)
print("wrote chart.png")

with open("report.md", "w") as report:
    report.write("# Sales report\n\n")
    report.write("| region | total |\n|---|---:|\n")
    for region in regions:
        report.write(f"| {region} | {totals[region]:.2f} |\n")
    report.write(f"\nGrand total: {grand_total:.2f} in {rows} rows.\n\n![Sales by region](chart.png)\n")
print("wrote report.md")
