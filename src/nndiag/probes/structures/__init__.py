"""Structures of a network, recognised by what the program computes."""
