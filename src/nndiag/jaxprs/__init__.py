"""How to walk and rewrite a JAX program."""
