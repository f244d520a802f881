"""The desk of a game: the players' page and the facilitator's console, over HTTP on this machine.

Two applications on two ports, each with a token of its own. ``server.py`` serves them beside the game.
"""
