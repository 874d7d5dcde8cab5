"""Under which convention foreign states were captured: sites, padding, number grids, and walks along the rows."""
