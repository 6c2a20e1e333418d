"""GPU clocks through leases: a pure core, the node agent around it, and the capper's side."""
