//! The job of the demonstration: a chart and a summary of `sales.csv`.
//!
//! It works as an agent would: looks at the data, writes a program, runs it, meets the missing library, asks, and
//! either goes on in the new image or does what it can without and says why.

use crate::job::{How, Job, Turn};
use std::convert::Infallible;

type End = Result<Infallible, Turn>;

const ANALYSE: &str = include_str!("demo_analyse.py");
const WITHOUT_CHART: &str = include_str!("demo_without_chart.py");
const RUN: &str = "python3 analyse.py";
const REASON: &str = "analyse.py draws the chart with matplotlib, which is not installed (ModuleNotFoundError).";

pub(super) fn chart(job: &mut Job<'_>) -> End {
    job.begin();
    job.exec("I look at the data first.", "wc -l sales.csv && head -n 4 sales.csv")?;
    job.write("I write a program that sums up the sales and draws them.", "analyse.py", ANALYSE)?;
    let first = job.exec("I run it.", RUN)?;
    if first.contains("ModuleNotFoundError") {
        let decided =
            job.request("The chart needs a library that is not here. I ask for it.", &["pip:matplotlib"], REASON)?;
        if decided.how != How::Approved {
            return without_chart(job, &decided.text);
        }
        let again = job.exec("The library was granted. I run the program again.", RUN)?;
        if !again.contains("wrote chart.png") {
            return without_chart(job, &format!("The library was granted, but the program failed:\n{again}"));
        }
    }
    job.exec("I check what it wrote.", "cat report.md && ls -l chart.png")?;
    let summary = "The sales by region are summed up in report.md and drawn in chart.png.";
    job.submit(summary, &["report.md", "chart.png"])?;
    Err(Turn::say(summary))
}

/// The totals without the chart, with what the model was told in the report.
fn without_chart(job: &mut Job<'_>, told: &str) -> End {
    job.write("I cannot draw. I keep what I was told.", "decision.txt", told)?;
    job.write("I write the summary without the chart.", "summarise.py", WITHOUT_CHART)?;
    job.exec("", "python3 summarise.py && cat report.md")?;
    let summary = "The sales by region are in report.md. There is no chart; the report says why.";
    job.submit(summary, &["report.md"])?;
    Err(Turn::say(summary))
}
