"""The external programs a stack is made of: finding them (``require``) and bringing them (``make setup``)."""

from stack.tools.tool import ORIGINS, Tool, find, require

__all__ = ["ORIGINS", "Tool", "find", "require"]
