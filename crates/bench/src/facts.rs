//! What the machine is, without names that tell whose it is.

use std::{fs, process::Command, thread::available_parallelism};

/// Facts that a figure depends on.
pub(crate) struct Facts {
    cores: usize,
    memory_gb: f64,
    kernel: String,
    engine: String,
    date: String,
    load: String,
}

impl Facts {
    /// Reads them from the system; what cannot be read is said to be unknown.
    pub(crate) fn read() -> Self {
        let unknown = || "unknown".to_owned();
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = file("/proc/sys/kernel/osrelease");
        let load = file("/proc/loadavg");
        Self {
            cores: available_parallelism().map_or(0, Into::into),
            memory_gb: status_kib(&file("/proc/meminfo"), "MemTotal:").unwrap_or_default() as f64 / (1 << 20) as f64,
            // The release only: what follows is often the name of a build.
            kernel: kernel.trim().split('-').next().filter(|k| !k.is_empty()).map_or_else(unknown, str::to_owned),
            engine: engine().unwrap_or_else(unknown),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            load: load.split(' ').next().filter(|l| !l.is_empty()).map_or_else(unknown, str::to_owned),
        }
    }

    /// One sentence.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "Written on {} by `make bench` on {} cores with {:.0} GB of memory, Linux {}, Docker Engine {}; \
             load average at the end {}.\n",
            self.date, self.cores, self.memory_gb, self.kernel, self.engine, self.load
        )
    }
}

fn engine() -> Option<String> {
    let out = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|t| out.status.success() && !t.is_empty())
}

/// A line of /proc/…/status or meminfo, in KiB.
pub(crate) fn status_kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Memory that a process holds, in MB.
pub(crate) fn rss_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status_kib(&text, "VmRSS:")? as f64 * 1024.0 / 1e6)
}
