"""Before the first start: what a machine has, what to write down of it, and what is wrong."""
