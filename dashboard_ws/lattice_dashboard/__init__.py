"""The page, its data for scripts (`routes`, `events`, `preferences`), and its `socket`."""
