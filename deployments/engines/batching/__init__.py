"""One loop that generates for many requests: rows that share a cache and a forward pass, in a thread of their own.

    settings.py    an Ask over the model's own configuration -> how one answer is generated
    shaping.py     what that configuration bans, forces and penalises, on the scores of a row
    sampling.py    scores -> tokens
    rows.py        one answer on its way
    outlets.py     its text, from the thread to the reader's event loop
    caches.py      keys and values of several rows: grown, cut, joined
    cohorts.py     rows that go through the model together
    network.py     a loaded model, and how it wants to be called
    pace.py        how much of the prompts is read between two steps
    turns.py       one turn: who may begin, who goes on, who is at fault
    beams.py       beam search, between whose steps the others go on
    failures.py    what torch raises, in words
    loop.py        the thread that takes the turns

`deployments.engines.huggingface` imports these modules once a model is loaded, for they need torch; the engine over
vLLM reads `settings.py`, so that both mean the same.
"""
