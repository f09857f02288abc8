"""What a model component takes, checks and answers, apart from the engine that it drives."""
