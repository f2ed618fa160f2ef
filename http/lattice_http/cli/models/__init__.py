"""`lattice-trio models`: what there is, what it would take, getting more, and tidying up."""
