"""The words of mountfs: frozen types, the error tree, and the ports for whatever lies outside."""
