"""The parts of `train_critic data=store`: a critic of the user's own recordings."""
