"""What is configured for a mount: files, their keys, and what goes over them."""
