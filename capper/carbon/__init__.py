"""The cap as the grid's carbon intensity moves it: who tells the intensity, and what follows."""
