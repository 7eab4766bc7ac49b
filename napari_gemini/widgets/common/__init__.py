"""What all docks share: the session of a viewer, the engine, messages, forms, keys."""
