//! The `ferrodis` program: argv in, exit code out.

use std::os::unix::ffi::OsStringExt;

use ferrodis::embed::{self, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn main() {
    let args: Vec<Vec<u8>> = std::env::args_os().map(OsStringExt::into_vec).collect();
    std::process::exit(embed::run(&args, || ALLOCATOR.used()));
}
