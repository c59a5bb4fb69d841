//! Scripts around package requests.

use crate::job::{How, Job, Turn};
use std::convert::Infallible;

type End = Result<Infallible, Turn>;

/// `import six` through the agent's own exec tool.
pub(super) fn pip(job: &mut Job<'_>) -> End {
    let check = "python3 -c 'import six; print(\"six\", six.__version__)' 2>&1 | tee pip.txt";
    needs(job, check, "pip:six", "six", "pip.txt")
}

/// A program of a Debian package.
pub(super) fn apt(job: &mut Job<'_>) -> End {
    needs(job, "hello 2>&1 | tee apt.txt", "apt:hello", "Hello, world", "apt.txt")
}

/// `require` and `import` from the workspace.
pub(super) fn npm(job: &mut Job<'_>) -> End {
    let check = "{ node -e 'console.log(require(\"left-pad\")(\"cjs\", 5))' && \
                 echo 'import p from \"left-pad\"; console.log(p(\"esm\", 5))' > check.mjs && node check.mjs; } 2>&1 \
                 | tee npm.txt";
    needs(job, check, "npm:left-pad", "  esm", "npm.txt")
}

/// Checks, asks, checks again, submits; says what it was told when the answer is no.
fn needs(job: &mut Job<'_>, check: &str, package: &str, proof: &str, file: &str) -> End {
    job.begin();
    job.exec("I look whether what I need is there.", check)?;
    let decided = job.request("It is missing, so I ask.", &[package], &format!("The task needs {package}."))?;
    if decided.how != How::Approved {
        return give_up(job, &decided.text);
    }
    let result = job.exec("It was granted; I try again.", check)?;
    if !result.contains(proof) {
        return give_up(job, &format!("{package} was granted and yet it does not work: {result}"));
    }
    finish(job, &format!("{package} works."), &[file])
}

/// Three ecosystems in one request.
pub(super) fn all_three(job: &mut Job<'_>) -> End {
    job.begin();
    let packages = ["pip:six", "apt:hello", "npm:left-pad"];
    let decided = job.request("I need three packages.", &packages, "One of each kind.")?;
    if decided.how != How::Approved {
        return give_up(job, &decided.text);
    }
    let check = "{ python3 -c 'import six; print(\"six\", six.__version__)'; hello; \
                 node -e 'console.log(require(\"left-pad\")(\"npm\", 5))'; } 2>&1 | tee all.txt";
    job.exec("", check)?;
    finish(job, "All three were granted.", &["all.txt"])
}

/// Two requests of one turn; both must be decided before it goes on.
pub(super) fn two_requests(job: &mut Job<'_>) -> End {
    job.begin();
    let asks: [(&[&str], &str); 2] = [(&["pip:six"], "Python needs six."), (&["npm:left-pad"], "Node needs left-pad.")];
    let decided = job.requests("I need two things.", &asks)?;
    let told: Vec<_> = decided.iter().map(|d| d.text.as_str()).collect();
    job.write("", "told.txt", &told.join("\n---\n"))?;
    let check = "{ python3 -c 'import six; print(\"six works\")'; \
                 node -e 'require(\"left-pad\"); console.log(\"left-pad works\")'; } 2>&1 | tee two.txt";
    job.exec("", check)?;
    finish(job, "Both requests were decided.", &["told.txt", "two.txt"])
}

/// A name that no registry has: an answer, not a hang.
pub(super) fn unknown(job: &mut Job<'_>) -> End {
    job.begin();
    let name = "pip:taskforge-no-such-package-9d1c";
    let decided = job.request("", &[name], "A package that does not exist.")?;
    job.write("", "unknown.txt", &decided.text)?;
    let decided = job.request("", &["pip:six"], "One that exists.")?;
    job.write("", "known.txt", &decided.text)?;
    finish(job, "I was told about both.", &["unknown.txt", "known.txt"])
}

/// A package named in the task (`package=…`) that resolves and cannot be installed; then one that can.
pub(super) fn failing_build(job: &mut Job<'_>) -> End {
    job.begin();
    let after = job.task().split("package=").nth(1).unwrap_or("apt:taskforge-failing");
    let package = after.split_whitespace().next().unwrap_or(after).to_owned();
    let decided = job.request("", &[&package], "Its installation fails.")?;
    job.write("", "failing.txt", &decided.text)?;
    let decided = job.request("", &["pip:six"], "This one can be installed.")?;
    job.write("", "working.txt", &decided.text)?;
    finish(job, "I was told of the failure and asked for something else.", &["failing.txt", "working.txt"])
}

/// Follows a suggestion that names a package as `ecosystem:name`.
pub(super) fn alternative(job: &mut Job<'_>) -> End {
    job.begin();
    let decided = job.request("", &["pip:simplejson"], "I want to read JSON.")?;
    job.write("", "told.txt", &decided.text)?;
    if decided.how == How::Suggested {
        let words = decided.text.split(|c: char| c.is_whitespace() || "\"'`.,;()".contains(c));
        let mut named =
            words.filter(|w| ["pip:", "apt:", "npm:"].iter().any(|e| w.starts_with(e) && w.len() > e.len()));
        if let Some(package) = named.next() {
            let second = job.request("I follow the suggestion.", &[package], "It was suggested to me.")?;
            job.write("", "second.txt", &second.text)?;
            return finish(job, "I followed the suggestion.", &["told.txt", "second.txt"]);
        }
    }
    finish(job, "I went on without it.", &["told.txt"])
}

/// Asks for the same again after a denial.
pub(super) fn ask_again(job: &mut Job<'_>) -> End {
    job.begin();
    let first = job.request("", &["pip:six"], "I need six.")?;
    job.write("", "first.txt", &first.text)?;
    let second = job.request("I ask once more.", &["pip:six"], "I still need six.")?;
    job.write("", "second.txt", &second.text)?;
    finish(job, "I asked twice.", &["first.txt", "second.txt"])
}

fn give_up(job: &mut Job<'_>, told: &str) -> End {
    job.write("I note why it cannot be done.", "report.md", &format!("Not done. I was told:\n\n{told}\n"))?;
    finish(job, "It could not be done; the reason is in report.md.", &["report.md"])
}

fn finish(job: &mut Job<'_>, summary: &str, files: &[&str]) -> End {
    job.submit(summary, files)?;
    Err(Turn::say(summary))
}
