"""An MNIST classifier in plain JAX."""
