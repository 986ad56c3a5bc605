"""A kitchen's counter in one scene: a cabinet with a drawer, a blue sink, a yellow basket and an eggplant."""
