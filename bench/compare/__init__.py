"""The comparison bench. cli runs scenarios; each asks peers, origin, load and measure for one round at a time;
figures makes medians and ratios of the rounds; table and plot show them."""
