//! Definitions and versions in the store: apps, functions, routes, archives; changed by compare-and-swap.
