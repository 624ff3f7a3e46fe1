"""A debugger for neural-network training in JAX."""
