"""Talk with a model: lines in, what it says out, as it would with its own sampling.

python -m tools.tiny_model.sample [FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.tiny_model.evaluate import EMBEDDED, Chat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    torch.manual_seed(arguments.seed)
    chat = Chat(arguments.model)
    sys.stdout.write("Ask something; an empty line ends.\n")
    for line in iter(sys.stdin.readline, ""):
        if not line.strip():
            break
        sys.stdout.write(chat.answers((line.strip(),), do_sample=True, temperature=arguments.temperature)[0] + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
