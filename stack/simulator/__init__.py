"""A small vLLM look-alike: same API, metrics and failure semantics, and defects that can be switched on.

============== ===============================================================================
options.py     what is given on the command line
behaviour.py   what can be switched while it runs, defects among it
tokens.py      text to tokens and back
answers.py     what the «model» says
sequence.py    one request inside the engine
blocks.py      the KV cache as a count of blocks
engine.py      queue, batch and step loop
metrics.py     vLLM's metric names
protocol.py    request bodies, answers, chunks and errors, as vLLM 0.32 writes them
stream.py      server-sent events, from an open sequence to the socket
app.py         the routes
__main__.py    the process: start-up, signals, shutdown
============== ===============================================================================

``tests/contract/engine`` holds it to what real vLLM does.
"""
