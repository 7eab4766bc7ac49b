"""Learning: objectives, augmentation, the training loop, checkpoints and prediction."""
