"""Tables made from results folders."""
