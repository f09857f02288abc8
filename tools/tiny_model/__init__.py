"""How the embedded model is made: a corpus from templates, a training run, an evaluation."""
