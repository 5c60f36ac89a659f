//! What the operating system tells of this process and its machine, as files of `/proc`.
//!
//! Where there is no `/proc`, sizes read as 0 and names fall back to what the program was built
//! for.

use std::fs;

/// Size of a page as `/proc` counts them.
const PAGE: u64 = 4096;

/// Resident memory of the process in bytes; 0 where the operating system does not say.
pub fn resident_memory() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Memory of the machine in bytes; 0 where the operating system does not say.
pub fn machine_memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// Name and release of the operating system and the kind of processor, as `uname` shows them.
pub fn operating_system() -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let kind = read("ostype").unwrap_or_else(|_| std::env::consts::OS.to_owned());
    let release = read("osrelease").unwrap_or_default();
    format!("{} {} {}", kind.trim(), release.trim(), std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_plausible() {
        assert!(resident_memory() > 100_000);
        assert!(machine_memory() > resident_memory());
        assert!(operating_system().ends_with(std::env::consts::ARCH));
    }
}
