//! The program's entry: the allocator, then the command line, which opens the window unless a command is given.

/// Keeps freed activation buffers with the process: faulting fresh pages in costs more than the products.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
