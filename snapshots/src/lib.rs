//! The versioned key space: datasets, epochs, map pages, clones, diff and reclaim.
